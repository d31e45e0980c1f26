"""netpol-not-enforced: policies deny a flow, and the node lets it through."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import has_chain
from nettrace.diagnose.policies import enforced
from nettrace.kube.policy_chains import is_policy_chain
from nettrace.model.finding import Evidence, Safety, Severity
from nettrace.model.policy_verdict import Decision

__all__ = ["NETPOL_NOT_ENFORCED"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for one in enforced(context.snapshot, context.walk):
        if one.verdict.decision is not Decision.DENIED or one.agrees is not False:
            continue
        steps = [s for p in context.walk.paths for s in p.request.steps]
        nodes = {n.netns: n.name for n in context.snapshot.nodes.values()}
        passed = [netns for netns in dict.fromkeys(s.netns for s in steps) if netns in nodes]
        met = [f"{s.chain} on {s.node or s.netns}" for s in steps if is_policy_chain(s.chain)]
        chain = "KUBE-ROUTER-FORWARD"
        there = [nodes[n] for n in passed if has_chain(context.snapshot, n, "nft", "filter", chain)]
        if met:
            what = f"it passes {', '.join(dict.fromkeys(met))}, which do not refuse it"
        elif there:
            what = f"no packet of it meets the chains of policies that are on {', '.join(there)}"
        else:
            what = f"there are no chains of policies on {', '.join(nodes[n] for n in passed) or 'its way'}"
        yield Candidate(
            cause="netpol-not-enforced",
            netns=passed[-1] if passed else "",
            where=nodes[passed[-1]] if passed else "",
            subject=f"pod/{one.verdict.deciding[0].pod}",
            message=f"policies deny {one.verdict.source} -> {one.verdict.destination}: it gets through",
            changes=(),
            evidence=(
                Evidence(ref="kube/network_policies", text=one.verdict.words(), note="what the objects say"),
                Evidence(ref="", text=what, note="what the node does"),
            ),
            safety=Safety.ADVICE,
            owner="the network plugin",
            lasting="run a plugin that enforces policies, or restart its agent on this node",
        )


NETPOL_NOT_ENFORCED = Cause(
    id="netpol-not-enforced",
    title="a network policy denies the flow, and the node lets it through",
    severity=Severity.WARNING,
    what="NetworkPolicy objects do nothing by themselves: without a plugin that enforces them all is open.",
    shows="Connections work that policies deny.",
    dies="It does not.",
    proof="The verdict on the objects, and a walk that meets no rule of a policy or passes them.",
    repair="none on the node: a plugin that enforces policies, or its agent restarted",
    owner="The network plugin.",
    source="flannel#558, flannel#2004, k3s#445",
    candidates=_candidates,
)
