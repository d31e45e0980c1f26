"""netpol-ipblock-snat: a policy allows the client, and a node has put its own address in its place."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import rule_ref, where
from nettrace.diagnose.policies import denial_by_chain, is_rewritten, path_verdict
from nettrace.model.finding import Evidence, Safety
from nettrace.model.policy_verdict import Decision
from nettrace.model.step import Verdict

__all__ = ["NETPOL_IPBLOCK_SNAT"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for failure in context.failures:
        step = denial_by_chain(failure.path)
        verdict = path_verdict(context.snapshot, context.walk, failure.path)
        if step is None or step.before is None or verdict is None or verdict.decision is not Decision.ALLOWED:
            continue
        if not is_rewritten(step, verdict):
            continue
        place, seen = where(context.snapshot, step.netns), step.before.src
        yield Candidate(
            cause="netpol-ipblock-snat",
            netns=step.netns,
            where=place,
            subject=f"pod/{verdict.ingress.pod}" if verdict.ingress.pod else "",
            message=f"policies allow {verdict.flow.src}, and {place} sees the packet come from {seen}",
            changes=(),
            evidence=(
                Evidence(
                    ref="kube/network_policies", text=verdict.words(), note="for the client's own address"
                ),
                Evidence(
                    ref=rule_ref(step.netns, step.backend or "nft", "filter", step.chain or "", step.rule),
                    text=f"{step.before.ends()}: refused by {step.chain}",
                    note="its source was rewritten before",
                ),
            ),
            safety=Safety.ADVICE,
            owner="whoever wrote the policy, or the Service",
            lasting=(
                "externalTrafficPolicy: Local keeps the client's address; "
                "else allow the nodes' addresses by an ipBlock"
            ),
        )


NETPOL_IPBLOCK_SNAT = Cause(
    id="netpol-ipblock-snat",
    title="a network policy allows a client whose address a node has rewritten",
    what=(
        "A NodePort or load balancer of a Service with externalTrafficPolicy Cluster rewrites the client's "
        "address, so that the answer comes back the same way.  Whether policies see the address before or "
        "after that is not defined; rules in FORWARD on the pod's node see it after."
    ),
    shows="Clients from outside are denied by an ipBlock that has them, when they enter by another node.",
    dies="In the pod's own chain of table filter, on the pod's node.",
    proof="conntrack of the node by which they enter: the reply goes to an address of that node.",
    repair="none on the node: externalTrafficPolicy: Local, or an ipBlock with the nodes' addresses",
    owner="Whoever wrote the policy or the Service.",
    source="calico#2660, calico#1683, antrea#280",
    verdicts=frozenset({Verdict.REJECTED, Verdict.DROPPED_BY_RULE}),
    candidates=_candidates,
)
