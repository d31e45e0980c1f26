"""
The smallest NetworkPolicy that lets one denied flow through.

Lives here: the policy and its manifest.  Policies only ever add to what is allowed, so one more
changes nothing for anybody but those it names.
Not here: putting it anywhere: manifests are their owners'.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations

from msgspec import Struct
from msgspec.structs import replace

from nettrace.kube.policy import decide
from nettrace.kube.policy_ends import DEFINED, End, cluster_of
from nettrace.model.addr import canonical_prefix
from nettrace.model.kube import Kube, Pod
from nettrace.model.policy import (
    NAMESPACE_NAME,
    IpBlock,
    LabelSelector,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
)
from nettrace.model.policy_verdict import Decision, PolicyFlow
from nettrace.model.section import Known

__all__ = ["Addition", "addition"]

#: Labels that controllers give to single pods or revisions: a policy by them would not outlive a rollout.
_PASSING = (
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
)


class Addition(Struct, frozen=True, kw_only=True):
    """A policy to be added, its manifest, and the pods that it is about and that it names as peers."""

    policy: NetworkPolicy
    manifest: str
    subjects: tuple[str, ...]
    peers: tuple[str, ...]


def addition(
    kube: Kube, flow: PolicyFlow, direction: str, node_addresses: Mapping[str, str] | None = None
) -> Addition | None:
    """
    Return the policy that allows *flow* in *direction* (``ingress``, ``egress``).

    None where no NetworkPolicy can: an administrator's policy denies it, the pod has no label to
    be chosen by, the port is not known.  *node_addresses* as for decide().
    """
    cluster = cluster_of(kube, node_addresses or {})
    source, destination = cluster.end(flow.src), cluster.end(flow.dst)
    own, other = (destination, source) if direction == "ingress" else (source, destination)
    if (
        own.pod is None
        or flow.port is None
        or flow.proto not in DEFINED
        or not isinstance(kube.network_policies, Known)
    ):
        return None
    pods = kube.pods.value if isinstance(kube.pods, Known) else ()
    subject = _least(own.pod, pods)
    peer = _peer(own.pod, other, pods)
    if subject is None or peer is None:
        return None
    rule = PolicyRule(peers=(peer[0],), ports=(PolicyPort(protocol=flow.proto.upper(), port=flow.port),))
    policy = NetworkPolicy(
        name=_name(kube.network_policies.value, own.pod.namespace, source, destination),
        namespace=own.pod.namespace,
        pod_selector=subject[0],
        types=(direction.capitalize(),),
        ingress=(rule,) if direction == "ingress" else (),
        egress=(rule,) if direction == "egress" else (),
    )
    grown = replace(kube, network_policies=Known((*kube.network_policies.value, policy)))
    said = decide(grown, flow, node_addresses)
    if (said.ingress if direction == "ingress" else said.egress).decision is not Decision.ALLOWED:
        return None
    return Addition(policy=policy, manifest=_manifest(policy, direction), subjects=subject[1], peers=peer[1])


def _least(pod: Pod, pods: tuple[Pod, ...]) -> tuple[LabelSelector, tuple[str, ...]] | None:
    """Return the fewest labels that choose as few pods of the namespace as all of them do, and these pods."""
    labels = {k: v for k, v in sorted(pod.labels.items()) if k not in _PASSING}
    beside = [p for p in pods if p.namespace == pod.namespace and not p.host_network]

    def chosen(some: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(p.key for p in beside if some.items() <= p.labels.items())

    wanted = chosen(labels)
    for size in range(1, len(labels) + 1):
        for keys in combinations(labels, size):
            some = {key: labels[key] for key in keys}
            if chosen(some) == wanted:
                return LabelSelector(match_labels=some), wanted
    return None


def _peer(own: Pod, other: End, pods: tuple[Pod, ...]) -> tuple[PolicyPeer, tuple[str, ...]] | None:
    if other.pod is None:
        return PolicyPeer(ip_block=IpBlock(cidr=canonical_prefix(other.address))), (other.words,)
    least = _least(other.pod, pods)
    if least is None:
        return None
    space = None
    if other.pod.namespace != own.namespace:
        space = LabelSelector(match_labels={NAMESPACE_NAME: other.pod.namespace})
    return PolicyPeer(pod_selector=least[0], namespace_selector=space), least[1]


def _name(policies: tuple[NetworkPolicy, ...], namespace: str, source: End, destination: End) -> str:
    def word(end: End) -> str:
        return end.pod.name if end.pod is not None else end.node or end.address

    base = re.sub(r"[^a-z0-9-]+", "-", f"allow-{word(source)}-to-{word(destination)}".lower())[:240].strip(
        "-"
    )
    taken = {p.name for p in policies if p.namespace == namespace}
    return next(
        name for n in range(1, len(taken) + 2) if (name := base if n == 1 else f"{base}-{n}") not in taken
    )


def _manifest(policy: NetworkPolicy, direction: str) -> str:
    return "\n".join(_lines(policy, direction))


def _lines(policy: NetworkPolicy, direction: str) -> Iterator[str]:
    yield from ("apiVersion: networking.k8s.io/v1", "kind: NetworkPolicy", "metadata:")
    yield f"  name: {policy.name}"
    yield f"  namespace: {policy.namespace}"
    yield from ("spec:", "  podSelector:")
    yield from _labels(policy.pod_selector, "    ")
    yield f"  policyTypes: [{direction.capitalize()}]"
    rule = (*policy.ingress, *policy.egress)[0]
    yield f"  {direction}:"
    yield f"  - {'from' if direction == 'ingress' else 'to'}:"
    peer, port = rule.peers[0], rule.ports[0]
    if peer.ip_block is not None:
        yield "    - ipBlock:"
        yield f"        cidr: {json.dumps(peer.ip_block.cidr)}"
    bullet = "    - "
    named = (("namespaceSelector", peer.namespace_selector), ("podSelector", peer.pod_selector))
    for name, selector in named:
        if selector is not None:
            yield f"{bullet}{name}:"
            yield from _labels(selector, "        ")
            bullet = "      "
    yield "    ports:"
    yield f"    - protocol: {port.protocol}"
    yield f"      port: {port.port}"


def _labels(selector: LabelSelector, indent: str) -> Iterator[str]:
    yield f"{indent}matchLabels:"
    for key, value in selector.match_labels.items():
        yield f"{indent}  {key}: {json.dumps(value)}"
