"""
Kubernetes' network policies as Felix writes them: chains and sets.

Lives here: a policy's two chains, and the sets that they name.  One rule of a policy becomes one of
iptables for each peer and protocol; where ports or address blocks do not fit into one rule, marks
collect what single rules found.
Not here: which pods they are for (workloads), what they mean (nettrace.kube.policy).
Sources: felix/rules/policy.go; libcalico-go/lib/backend/k8s/conversion (K8sNetworkPolicyToCalico).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nettrace.kube.policy_ends import Cluster, End, peer_matches
from nettrace.model.addr import family_of
from nettrace.model.kube import Pod
from nettrace.model.policy import IpBlock, LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule
from nettrace_plugins.calico.names import policy_chain, policy_set
from nettrace_plugins.calico.rules import ACCEPT, SCRATCH0, SCRATCH1, cleared, commented, marked

__all__ = ["Members", "policy_chains"]

#: Set -> (type, members).
Members = dict[str, tuple[str, tuple[str, ...]]]

_SLOTS = 15  # XT_MULTI_PORTS
_SET_ACCEPT = f"--jump MARK --set-mark {ACCEPT:#x}/{ACCEPT:#x}"


class _World(NamedTuple):
    """What a policy's rules look at: the cluster, its pods, and where sets are collected."""

    cluster: Cluster
    pods: Sequence[Pod]
    sets: Members


class _Ports(NamedTuple):
    """The ports of one protocol: numbers (first, last), and the sets of named ones."""

    protocol: str = ""
    numbers: tuple[tuple[int, int], ...] = ()
    named: tuple[str, ...] = ()


def policy_chains(
    policy: NetworkPolicy, cluster: Cluster, pods: Sequence[Pod]
) -> tuple[dict[str, list[str]], Members]:
    """Return the chains of a policy, for the directions that it is about, and their sets."""
    world = _World(cluster, [pod for pod in pods if not pod.host_network], {})
    found = {}
    for direction, kind in (("ingress", "pi"), ("egress", "po")):
        if direction.capitalize() not in policy.types:
            continue
        rules = policy.ingress if direction == "ingress" else policy.egress
        lines = [text for rule in rules for text in _rule(world, policy, direction, rule)]
        comment = f"Policy {policy.namespace}/knp.default.{policy.name} {direction}"
        head, *rest = lines or [""]
        found[policy_chain(kind, policy.namespace, policy.name)] = [commented(comment, head), *rest]
    return found, world.sets


def _rule(world: _World, policy: NetworkPolicy, direction: str, rule: PolicyRule) -> Iterator[str]:
    far = "src" if direction == "ingress" else "dst"
    peers: Sequence[PolicyPeer | None] = rule.peers or (None,)
    for peer in peers:
        named = _named_in(world, policy, peer if direction == "egress" else None)
        for ports in _by_protocol(named, rule.ports, world) if rule.ports else (_Ports(),):
            if peer is not None and peer.ip_block is not None:
                if family_of(peer.ip_block.cidr) == 4:
                    yield from _texts(ports, far, "", peer.ip_block)
            else:
                chosen = _peer_set(world, policy, peer) if peer is not None else ""
                yield from _texts(ports, far, chosen, None)


# --- sets ------------------------------------------------------------------------------


def _chosen(world: _World, policy: NetworkPolicy, peer: PolicyPeer) -> list[Pod]:
    return [
        pod
        for pod in world.pods
        if peer_matches(world.cluster, policy.namespace, peer, End(address="", pod=pod)) is True
    ]


def _peer_set(world: _World, policy: NetworkPolicy, peer: PolicyPeer) -> str:
    name = policy_set("s", _selector(policy, peer))
    members = [address for pod in _chosen(world, policy, peer) if (address := _address(pod))]
    world.sets[name] = ("hash:net", tuple(members))
    return name


def _address(pod: Pod) -> str:
    return next((one for one in pod.ips if family_of(one) == 4), "")


class _Named(NamedTuple):
    """Whose named ports count: the pods, and the selector that chooses them."""

    pods: Sequence[Pod]
    selector: str


def _named_in(world: _World, policy: NetworkPolicy, peer: PolicyPeer | None) -> _Named:
    if peer is None or peer.ip_block is not None:
        return _Named(world.pods, "all()")
    return _Named(_chosen(world, policy, peer), _selector(policy, peer))


def _by_protocol(named: _Named, ports: Sequence[PolicyPort], world: _World) -> Iterator[_Ports]:
    """Put the ports of one protocol together; one without a number is about all of them."""
    for protocol in dict.fromkeys(port.protocol.lower() for port in ports):
        own = [port for port in ports if port.protocol.lower() == protocol]
        if any(port.port is None for port in own):
            yield _Ports(protocol)
            continue
        numbers = [(p.port, p.end_port or p.port) for p in own if isinstance(p.port, int)]
        sets = []
        for port in own:
            if isinstance(port.port, str):
                name = policy_set("n", f"{named.selector},{protocol},{port.port}")
                world.sets[name] = ("hash:ip,port", tuple(_holders(named.pods, port.port, port.protocol)))
                sets.append(name)
        yield _Ports(protocol, tuple(numbers), tuple(sets))


def _holders(pods: Sequence[Pod], name: str, protocol: str) -> Iterator[str]:
    for pod in pods:
        numbers = {
            port.container_port
            for container in pod.containers
            for port in container.ports
            if (port.name, port.protocol) == (name, protocol)
        }
        if address := _address(pod):
            yield from (f"{address},{protocol.lower()}:{number}" for number in sorted(numbers))


def _selector(policy: NetworkPolicy, peer: PolicyPeer) -> str:
    """Write a peer as Calico's selector."""
    where = (
        f"projectcalico.org/namespace == '{policy.namespace}'"
        if peer.namespace_selector is None
        else _labels(peer.namespace_selector, "pcns.") or "has(projectcalico.org/namespace)"
    )
    parts = [where, "projectcalico.org/orchestrator == 'k8s'"]
    if peer.pod_selector is not None:
        parts.append(_labels(peer.pod_selector, ""))
    return " && ".join(part for part in parts if part)


def _labels(selector: LabelSelector, prefix: str) -> str:
    parts = [f"{prefix}{key} == '{value}'" for key, value in sorted(selector.match_labels.items())]
    for one in selector.match_expressions:
        values = ", ".join(f"'{value}'" for value in one.values)
        parts.append(
            {
                "In": f"{prefix}{one.key} in {{ {values} }}",
                "NotIn": f"{prefix}{one.key} not in {{ {values} }}",
                "Exists": f"has({prefix}{one.key})",
                "DoesNotExist": f"! has({prefix}{one.key})",
            }[one.operator]
        )
    return " && ".join(parts)


# --- rules -----------------------------------------------------------------------------


def _texts(ports: _Ports, far: str, chosen: str, block: IpBlock | None) -> Iterator[str]:
    """Yield the rules for one peer and protocol: what collects marks, then the rule that accepts."""
    splits = list(_splits(ports.numbers))
    protocol = f"-p {ports.protocol}" if ports.protocol else ""
    lines: list[str] = []
    matches = [protocol] if protocol else []
    source = f"--{'source' if far == 'src' else 'destination'}"
    if len(splits) + len(ports.named) > 1:
        lines.append(_initially(0))
        lines += [f"{protocol} {_multiport(one)} {_setting(SCRATCH0)}" for one in splits]
        lines += [f"-m set --match-set {one} dst,dst {_setting(SCRATCH0)}" for one in ports.named]
        splits, ports = [], ports._replace(named=())
    if block is not None:
        matches.append(f"{source} {block.cidr}")
    if block is not None and block.excepted:
        lines += [] if lines else [_initially(SCRATCH0)]
        lines += [f"{source} {one} {cleared(SCRATCH0)}" for one in block.excepted]
    if chosen:
        matches.append(f"-m set --match-set {chosen} {far}")
    matches += [_multiport(one) for one in splits]
    matches += [f"-m set --match-set {one} dst,dst" for one in ports.named]
    if lines:
        matches.append(marked(SCRATCH0))
    yield from lines
    yield " ".join([*matches, _SET_ACCEPT])
    yield f"{marked(ACCEPT)} --jump RETURN"


def _initially(bits: int) -> str:
    return f"--jump MARK --set-mark {bits:#x}/{SCRATCH0 | SCRATCH1:#x}"


def _setting(bits: int) -> str:
    return f"--jump MARK --set-mark {bits:#x}/{bits:#x}"


def _multiport(ports: Sequence[tuple[int, int]]) -> str:
    words = [str(low) if low == high else f"{low}:{high}" for low, high in ports]
    return f"-m multiport --destination-ports {','.join(words)}"


def _splits(ports: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yield as many ports at a time as one match takes; a range takes two places."""
    split: list[tuple[int, int]] = []
    room = _SLOTS
    for low, high in ports:
        needed = 1 if low == high else 2
        if room < needed:
            yield split
            split, room = [], _SLOTS
        split.append((low, high))
        room -= needed
    if split:
        yield split
