"""
What was left behind: kube-proxy's rules beside its replacement, Cilium's own chains after its removal.

Source: kubernetes#119265, kubernetes#102314 (kube-proxy --cleanup), cilium's
Documentation/network/kubernetes/kubeproxy-free.rst.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import rule_ref, subject_of, where
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace_plugins.cilium.facts import CHAINS, chains, replaces_kube_proxy

__all__ = ["KUBEPROXY_LEFTOVER", "leftovers"]

#: Chains of Services: kubelet's own (KUBE-FIREWALL, KUBE-MARK-*, the canaries) are no leftover.
_SERVICES = ("KUBE-SERVICES", "KUBE-SVC-", "KUBE-SEP-", "KUBE-NODEPORTS", "KUBE-EXT-", "KUBE-SVL-")
_CLEANUP = "kube-proxy --cleanup on this node (with kube-proxy gone), or take away its chains KUBE-*"


def leftovers(snapshot: Snapshot, node: NodeState, *, there: bool) -> Iterator[Evidence]:
    """
    Yield what is left on a node, where Cilium is *there* or not.

    kube-proxy's chains are leftovers if no such process runs and a program answers for Services instead.
    """
    if not there:
        own = list(chains(snapshot, node.netns, CHAINS))
        if own:
            names = sorted({name for _, name in own})
            text = f"{len(names)} chains of Cilium's, which is not here: {', '.join(names[:2])} ..."
            yield Evidence(ref=own[0][0], text=text, note="restart the node, or take them away")
        return
    old = [ref for ref, name in chains(snapshot, node.netns, ("OLD_CILIUM_",))]
    if old:
        yield Evidence(ref=old[0], text=f"{len(old)} chains OLD_CILIUM_*", note="of the agent before")
    program = replaces_kube_proxy(snapshot, node.netns)
    if program is None or kube_proxy_runs(node) is not False:
        return
    left = list(chains(snapshot, node.netns, _SERVICES))
    if left:
        text = f"{len(left)} chains of kube-proxy, which does not run: {left[0][1]} ..."
        yield Evidence(ref=left[0][0], text=text, note=f"{program} answers for Services")


def kube_proxy_runs(node: NodeState) -> bool | None:
    """Does kube-proxy run here?  None where nobody looked."""
    if not isinstance(node.processes, Known):
        return None
    return any(process.name == "kube-proxy" for process in node.processes.value)


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, str]] = set()
    for step in context.steps:
        chain, backend = step.chain or "", step.backend or ""
        if not chain.startswith(_SERVICES) or (step.netns, backend) in seen or not step.rule:
            continue
        node = next((n for n in context.snapshot.nodes.values() if n.netns == step.netns), None)
        program = replaces_kube_proxy(context.snapshot, step.netns)
        if node is None or program is None or kube_proxy_runs(node) is not False:
            continue
        seen.add((step.netns, backend))
        place = where(context.snapshot, step.netns)
        yield Candidate(
            cause="kubeproxy-leftover-with-replacement",
            netns=step.netns,
            where=place,
            subject=subject_of(context.snapshot, step.netns),
            message=(
                f"rules that kube-proxy left on {place} still translate this; it does not run, "
                f"and {program} answers for Services"
            ),
            changes=(),
            evidence=(
                Evidence(
                    ref=rule_ref(step.netns, backend, step.table or "nat", chain, step.rule),
                    text=f"{step.table} {chain}: {step.why.text if step.why is not None else ''}",
                    note="met by these packets",
                ),
                Evidence(ref=f"node:{node.name}/processes", text="no process kube-proxy"),
                Evidence(ref=f"{step.netns}/socket_programs", text=str(program)),
            ),
            safety=Safety.ADVICE,
            owner="nobody: kube-proxy is gone",
            lasting=_CLEANUP,
        )


KUBEPROXY_LEFTOVER = Cause(
    id="kubeproxy-leftover-with-replacement",
    title="kube-proxy was replaced, and its rules are still there",
    what=(
        "Cilium answers for Services in the kernel's sockets. kube-proxy, which did so before, is gone and "
        "has left its rules of iptables, with the endpoints of that day."
    ),
    shows="Some calls of Services are refused or time out, mostly those that come from outside the node.",
    dies="At an endpoint that a rule KUBE-SEP-* leads to and that is no more.",
    proof="Chains KUBE-SVC-* with rules, no process kube-proxy, and a program cil_sock4_connect.",
    repair=_CLEANUP,
    owner="Nobody any more.",
    source="kubernetes#119265, kubernetes#102314, kubernetes#109811",
    candidates=_candidates,
)
