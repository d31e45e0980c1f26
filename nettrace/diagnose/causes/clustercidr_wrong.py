"""clustercidr-wrong: kube-proxy takes another network for the cluster's pods than they have."""

from collections.abc import Iterator

from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.taken_for_pods import TakenForPod, pod_networks, taken_for_pods
from nettrace.diagnose.look import where
from nettrace.model.addr import family_of
from nettrace.model.change import RuleReplace
from nettrace.model.finding import Evidence, Safety, Severity
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt_match import Negatable

__all__ = ["CLUSTERCIDR_WRONG", "held_networks", "too_wide"]

_REPAIR = "clusterCIDR: the pods' network, in kube-proxy's configuration (ConfigMap kube-system/kube-proxy)"


def _candidates(context: Context) -> Iterator[Candidate]:
    """Try the node's own podCIDR in place of the network that takes a caller for a pod."""
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        for taken in taken_for_pods(context.snapshot, failure.path):
            own = pod_networks(context.snapshot, family_of(taken.source), taken.node)
            if not own or taken.rule.src is None or (taken.netns, taken.chain) in seen:
                continue
            seen.add((taken.netns, taken.chain))
            rule = replace(taken.rule, src=Negatable(own[0], taken.rule.src.invert))
            yield Candidate(
                cause="clustercidr-wrong",
                netns=taken.netns,
                where=where(context.snapshot, taken.netns),
                subject=f"node/{taken.node}",
                message=too_wide(taken),
                changes=(
                    RuleReplace(
                        netns=taken.netns,
                        backend=taken.backend,
                        table="nat",
                        chain=taken.chain,
                        position=taken.position,
                        old=taken.rule,
                        rule=rule,
                    ),
                ),
                evidence=(taken.evidence, held_networks(context.snapshot)),
                safety=Safety.ADVICE,
                owner="kube-proxy's configuration",
                lasting=_REPAIR,
            )


def too_wide(taken: TakenForPod) -> str:
    """Say that a caller passes for a pod, and is none."""
    return (
        f"kube-proxy on {taken.node} takes {taken.tested} for the cluster's pods, and {taken.source}, "
        "which is in it, is no pod: it passes for one"
    )


def held_networks(snapshot: Snapshot) -> Evidence:
    """Return what networks of pods the Nodes have, as evidence."""
    held = (*pod_networks(snapshot, 4), *pod_networks(snapshot, 6))
    return Evidence(ref="kube/nodes", text=f"podCIDRs {', '.join(held) or 'none'}", note="the Nodes")


CLUSTERCIDR_WRONG = Cause(
    id="clustercidr-wrong",
    title="kube-proxy takes another network for the cluster's pods",
    severity=Severity.WARNING,
    what=(
        "By clusterCIDR kube-proxy tells pods from callers outside of the cluster, whose source it rewrites. "
        "One that does not hold the pods' addresses has pods masqueraded; one that holds more leaves others "
        "as they are, and their answers take another way."
    ),
    shows=(
        "Pods see the node's address instead of the pod's that calls; policies that name pods deny them. Or "
        "nodes and callers from outside pass for pods: answers come from elsewhere than was called, and "
        "externalTrafficPolicy Local does not hold for them."
    ),
    dies=(
        "Mostly nowhere: it arrives, with another source address than it should have; or its answer goes "
        "past the node that translated it."
    ),
    proof=(
        "The chain of the Service tests `! -s` of a prefix that the pods' addresses are not in, or that "
        "addresses of nodes and others are in."
    ),
    repair=_REPAIR,
    owner="kube-proxy's configuration.",
    source="kubernetes#44916, kubernetes#24224, kubeadm#102, kops#4674",
    candidates=_candidates,
)
