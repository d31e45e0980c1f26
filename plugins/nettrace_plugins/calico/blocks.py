"""
calico-block-blackhole: packets for a pod end in a blackhole of address blocks.

Lives here: the cause.  A block's owner has a blackhole for it; a block that changed hands, or a pod
elsewhere that has borrowed an address of it, meets the blackhole.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import route_text
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.addr import in_prefix, prefix_contains
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRoute
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Verdict
from nettrace_plugins.calico.facts import OWNER, all_pods, blocks_of

__all__ = ["CALICO_BLOCK_BLACKHOLE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedRoute) or owed.owner != OWNER or owed.subject.startswith("pod/"):
            continue
        for route in _swallowing(context, owed.netns):
            if not (prefix_contains(route.dst, owed.route.dst) or prefix_contains(owed.route.dst, route.dst)):
                continue
            place = where(context.snapshot, owed.netns)
            yield owed_candidate(
                context,
                "calico-block-blackhole",
                [difference],
                f"{place} throws away what is for {difference.about}: {route_text(route)}",
                safety=Safety.GUARDED,
                overwritten="calico-node writes its own when it next starts",
                lasting=(
                    "calicoctl ipam check says whose blocks are claimed twice or leaked; release them with "
                    "calicoctl ipam release, and keep nodes from borrowing with calicoctl ipam configure "
                    "--strictaffinity=true"
                ),
                before=_evidence(context, owed.netns, route),
            )


def _swallowing(context: Context, netns: str) -> list[Route]:
    """Return the blackholes of *netns* that failing packets ended in."""
    section = context.snapshot.section(SectionKey(netns, "routes"))
    routes = section.value if isinstance(section, Known) else ()
    found: dict[str, Route] = {}
    for failure in context.failures:
        step = failure.step
        if step is None or step.netns != netns or failure.verdict is not Verdict.BLACKHOLED:
            continue
        packet = step.before or step.after
        end = innermost(packet).dst if packet is not None else ""
        holes = [one for one in routes if one.type == "blackhole" and end and in_prefix(end, one.dst)]
        for one in sorted(holes, key=lambda route: -int(route.dst.partition("/")[2]))[:1]:
            found[one.dst] = one
    return list(found.values())


def _evidence(context: Context, netns: str, route: Route) -> tuple[Evidence, ...]:
    snapshot = context.snapshot
    owner = blocks_of(snapshot).get(route.dst)
    inside = [
        pod for pod in all_pods(snapshot) if any(":" not in a and in_prefix(a, route.dst) for a in pod.ips)
    ]
    ref = f"{netns}/routes/{route.table}/{route.dst}"
    note = f"what is there, by protocol {route.protocol}"
    found = [Evidence(ref=ref, text=route_text(route), note=note)]
    if owner is not None:
        found.append(
            Evidence(ref="kube/custom", text=f"{route.dst} belongs to {owner}", note="BlockAffinity")
        )
    elsewhere = [pod for pod in inside if where(snapshot, netns) != pod.node_name]
    found += [
        Evidence(ref="kube/pods", text=f"pod {pod.key} has {pod.ips[0]}", note=f"runs on {pod.node_name}")
        for pod in elsewhere[:1]
    ]
    return tuple(found)


CALICO_BLOCK_BLACKHOLE = Cause(
    id="calico-block-blackhole",
    title="a blackhole of Calico's address blocks swallows a pod's packets",
    what=(
        "The owner of an address block has a blackhole route for it, and routes to its pods within. Where a "
        "block has changed hands and the blackhole stayed, or a pod of another node has borrowed an address "
        "and nobody told of it, packets end there."
    ),
    shows="Some pods cannot be reached from one node, by a timeout; from others they can.",
    dies="At the routing decision of the node with the blackhole.",
    proof="`ip route show type blackhole` has a block that a pod of another node has its address from.",
    repair="The route that leads to the pod's node, in the blackhole's place or within it.",
    owner="calico-node, and its IPAM.",
    source="calico#3246, calico#4471, calico#6486, calico#6867",
    verdicts=frozenset({Verdict.BLACKHOLED}),
    candidates=_candidates,
)
