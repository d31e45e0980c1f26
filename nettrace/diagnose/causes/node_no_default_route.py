"""node-no-default-route: the node has no route to the Services' network."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, where
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known
from nettrace.model.step import Verdict

__all__ = ["NODE_NO_DEFAULT_ROUTE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    nodes = {node.netns for node in snapshot.nodes.values()}
    for failure in context.failures:
        step = failure.step
        if step is None or failure.verdict is not Verdict.NO_ROUTE or step.netns not in nodes:
            continue
        if step.netns != context.walk.flow.origin.netns or failure.path.failed != 0:
            continue
        place, dst = where(snapshot, step.netns), context.walk.flow.packet.dst
        if not _is_of_a_service(context, dst):
            continue
        yield Candidate(
            cause="node-no-default-route",
            netns=step.netns,
            where=place,
            subject=subject_of(snapshot, step.netns),
            message=f"{place} has no route to {dst}: it would be translated only after the routing decision",
            changes=(),
            evidence=(
                Evidence(
                    ref=f"{step.netns}/routes",
                    text=step.why.text if step.why is not None else f"no route to {dst}",
                    note="what is there",
                ),
            ),
            safety=Safety.ADVICE,
            owner="the node's network configuration",
            lasting="give the node a default route, or one for the Services' network to any device",
        )


def _is_of_a_service(context: Context, address: str) -> bool:
    """Is it an address that is translated, as far as the objects say?  To others no route is owed here."""
    services = context.snapshot.kube.services
    return isinstance(services, Known) and any(
        address in (*service.cluster_ips, *service.external_ips, *service.load_balancer_ips)
        for service in services.value
    )


NODE_NO_DEFAULT_ROUTE = Cause(
    id="node-no-default-route",
    title="the node has no route to the Services' network",
    what=(
        "The node's own packets to a Service's address need a route before they are translated; without a "
        "default route there is none."
    ),
    shows="From the node every ClusterIP is unreachable at once; from pods Services work.",
    dies="At the node's routing decision, which comes before nat OUTPUT.",
    proof="`ip route` has no default and nothing for the Services' network.",
    repair="A default route, or one for the Services' network to any device.",
    owner="The node's network configuration.",
    source="calico#3270, calico#7866",
    verdicts=frozenset({Verdict.NO_ROUTE}),
    candidates=_candidates,
)
