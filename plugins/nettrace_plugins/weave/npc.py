"""
Kubernetes' network policies as weave-npc writes them: chains and sets, the same on every node.

Lives here: its fixed chains, and what each namespace and policy adds.  As the real one does, it takes no
policy with a named port, and knows no end of a port range.
Not here: what policies mean (nettrace.kube.policy).
Sources: weave, prog/weave-npc/main.go; npc/namespace.go, npc/analyser.go, npc/selector.go, npc/ipblock.go.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nettrace.kube.policy import isolating
from nettrace.kube.policy_ends import Cluster, End, cluster_of, peer_matches
from nettrace.kube.selectors import Labels, selects
from nettrace.model.addr import family_of
from nettrace.model.kube import Kube, Pod
from nettrace.model.policy import Expression, LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort
from nettrace.model.section import Known
from nettrace_plugins.weave.names import (
    ACCEPT,
    CUSTOM,
    DEFAULT,
    EGRESS,
    EGRESS_DEFAULT,
    INGRESS,
    MAIN,
    MARK,
    UPLINK,
    set_name,
)

__all__ = ["BASE_CHAINS", "Made", "made_for"]

_NEW = "-m state --state NEW"
_KNOWN = "-m state --state RELATED,ESTABLISHED -j ACCEPT"
_UNMARKED = f"-m mark ! --mark {MARK}"
_MULTICAST = "-d 224.0.0.0/4"

#: The chains that never change (createBaseRules).
BASE_CHAINS: dict[str, tuple[str, ...]] = {
    MAIN: (
        _KNOWN,
        f"{_MULTICAST} -j ACCEPT",
        f"-m physdev --physdev-out {UPLINK} --physdev-is-bridged -j ACCEPT",
        f"{_NEW} -j {DEFAULT}",
        f"{_NEW} -j {INGRESS}",
    ),
    EGRESS: (
        _KNOWN,
        f"-m physdev --physdev-in {UPLINK} --physdev-is-bridged -j RETURN",
        "-m addrtype --dst-type LOCAL -j RETURN",
        f"{_MULTICAST} -j RETURN",
        f"{_NEW} -j {EGRESS_DEFAULT}",
        f"{_NEW} {_UNMARKED} -j {CUSTOM}",
        f"{_NEW} {_UNMARKED} -j NFLOG --nflog-group 86",
        f"{_UNMARKED} -j DROP",
    ),
    ACCEPT: (f"-j MARK --set-xmark {MARK}",),
}


class Made(NamedTuple):
    """Chains with their rules, and sets: name -> (type, members with their comments)."""

    chains: dict[str, list[str]]
    sets: dict[str, tuple[str, dict[str, str]]]


class _Side(NamedTuple):
    """One end of a rule: its test, and what the comment calls it."""

    test: str
    words: str


_ANYWHERE = _Side("", "anywhere")


def made_for(kube: Kube) -> Made:
    """Return what weave-npc makes of the objects."""
    pods = [p for p in (kube.pods.value if isinstance(kube.pods, Known) else ()) if _address(p)]
    namespaces = kube.namespaces.value if isinstance(kube.namespaces, Known) else ()
    policies = kube.network_policies.value if isinstance(kube.network_policies, Known) else ()
    taken = [policy for policy in policies if not _has_named_port(policy)]
    made = Made({name: [*rules] for name, rules in BASE_CHAINS.items()}, {})
    made.chains.update({DEFAULT: [], INGRESS: [], EGRESS_DEFAULT: [], CUSTOM: []})
    for name in sorted({*(one.name for one in namespaces), *(pod.namespace for pod in pods)}):
        _namespace(made, name, pods, taken)
    world = _World(made, cluster_of(kube, {}), pods)
    for policy in taken:
        for direction in ("ingress", "egress"):
            if direction.capitalize() in policy.types:
                world.add(policy, direction)
    return made


def _address(pod: Pod) -> str:
    return "" if pod.host_network else next((a for a in pod.ips if family_of(a) == 4), "")


def _noted(pod: Pod) -> str:
    return f"namespace: {pod.namespace}, pod: {pod.name}"


def _has_named_port(policy: NetworkPolicy) -> bool:
    return any(
        isinstance(port.port, str) for rule in (*policy.ingress, *policy.egress) for port in rule.ports
    )


def _namespace(made: Made, name: str, pods: Sequence[Pod], policies: Sequence[NetworkPolicy]) -> None:
    """A namespace: the sets of its pods that no policy isolates, and the rules that let them be."""
    own = [pod for pod in pods if pod.namespace == name]
    made.sets[set_name(f"{name}:")] = ("hash:ip", {_address(pod): _noted(pod) for pod in own})
    free = {}
    for direction in ("ingress", "egress"):
        free[direction] = set_name(f"{direction}-default-allow:{name}")
        let = [pod for pod in own if not isolating(policies, pod, direction)]
        made.sets[free[direction]] = ("hash:ip", {_address(pod): _noted(pod) for pod in let})
    words = f'-m comment --comment "DefaultAllow ingress isolation for namespace: {name}"'
    made.chains[DEFAULT].append(f"-m set --match-set {free['ingress']} dst {words} -j ACCEPT")
    words = words.replace("ingress", "egress")
    for target in (ACCEPT, "RETURN"):
        made.chains[EGRESS_DEFAULT].append(f"-m set --match-set {free['egress']} src {words} -j {target}")


class _World(NamedTuple):
    """Where policies are added, and what their selectors choose from."""

    made: Made
    cluster: Cluster
    pods: Sequence[Pod]

    def add(self, policy: NetworkPolicy, direction: str) -> None:
        """Add the rules of a policy for one direction; the same rule of two policies stands once."""
        outward = direction == "egress"
        own = self.of_pods(policy.namespace, policy.pod_selector, source=outward)
        chain = self.made.chains[CUSTOM if outward else INGRESS]
        targets = (ACCEPT, "RETURN") if outward else ("ACCEPT",)
        for rule in policy.egress if outward else policy.ingress:
            peers = [self.of_peer(policy.namespace, peer, source=not outward) for peer in rule.peers]
            for peer in peers or [_ANYWHERE]:
                source, destination = (own, peer) if outward else (peer, own)
                for proto, port in _ports(rule.ports):
                    note = f'-m comment --comment "{source.words} -> {destination.words} ({direction})"'
                    tests = " ".join(
                        part for part in (proto, source.test, destination.test, port, note) if part
                    )
                    for spec in (f"{tests} -j {target}" for target in targets):
                        if spec not in chain:
                            chain.append(spec)

    def of_peer(self, namespace: str, peer: PolicyPeer, *, source: bool) -> _Side:
        """A peer: an address block, namespaces, pods in namespaces, or pods of the policy's own."""
        if peer.ip_block is not None:
            return self.of_block(peer.ip_block.cidr, sorted(peer.ip_block.excepted), source=source)
        if peer.namespace_selector is None:
            return self.of_pods(namespace, peer.pod_selector or LabelSelector(), source=source)
        spaces = _key(peer.namespace_selector)
        if peer.pod_selector is not None:
            chosen = [p for p in self.pods if peer_matches(self.cluster, namespace, peer, _end(p)) is True]
            name = set_name(f"pods: {_key(peer.pod_selector)}, namespaces: {spaces}")
            self.made.sets[name] = ("hash:ip", {_address(pod): _noted(pod) for pod in chosen})
            words = f"pods: selector: {_key(peer.pod_selector)}, namespaces: selector: {spaces}"
            return _Side(_tested(name, source=source), words)
        labels = self.cluster.namespaces or {}
        found = [
            n for n in sorted(labels) if selects(peer.namespace_selector, Labels(known=labels[n])) is True
        ]
        name = set_name(f":{spaces}")
        members = {set_name(f"{one}:"): f"namespace: {one}" for one in found}
        self.made.sets[name] = ("list:set", members)
        return _Side(_tested(name, source=source), f"namespaces: selector: {spaces}")

    def of_pods(self, namespace: str, selector: LabelSelector, *, source: bool) -> _Side:
        """Pods of one namespace."""
        key = _key(selector)
        name = set_name(f"{namespace}:{key}")
        chosen = [
            pod
            for pod in self.pods
            if pod.namespace == namespace and selects(selector, Labels(known=pod.labels)) is True
        ]
        self.made.sets[name] = ("hash:ip", {_address(pod): _noted(pod) for pod in chosen})
        return _Side(_tested(name, source=source), f"pods: namespace: {namespace}, selector: {key}")

    def of_block(self, cidr: str, excepted: Sequence[str], *, source: bool) -> _Side:
        """An address block, and the set of what is left out of it."""
        test = f"{'-s' if source else '-d'} {cidr}"
        if not excepted:
            return _Side(test, f"cidr: {cidr}")
        key = " ".join(excepted)
        name = set_name(f"ipblock-except:{key}")
        self.made.sets[name] = ("hash:net", dict.fromkeys(excepted, f"excepted from {cidr}"))
        words = f"cidr: {cidr} except [{key}]"
        return _Side(f"{test} {_tested(name, source=source, out=True)}", words)


def _tested(name: str, *, source: bool, out: bool = False) -> str:
    return f"-m set {'! ' if out else ''}--match-set {name} {'src' if source else 'dst'}"


def _end(pod: Pod) -> End:
    return End(address=_address(pod), pod=pod)


def _ports(ports: Sequence[PolicyPort]) -> Iterator[tuple[str, str]]:
    """Yield the test of the protocol, and that of the port; neither without ports."""
    if not ports:
        yield "", ""
    for port in ports:
        proto = port.protocol.lower()
        number = "0:65535" if port.port is None else str(port.port)
        yield f"-p {proto}", f"-m {proto} --dport {number}"


def _key(selector: LabelSelector) -> str:
    """A selector as labels.Selector.String() of apimachinery writes it, by key."""
    wanted = [*((key, f"{key}={value}") for key, value in selector.match_labels.items())]
    wanted += [(one.key, _expression(one)) for one in selector.match_expressions]
    return ",".join(text for _, text in sorted(wanted))


def _expression(one: Expression) -> str:
    values = ",".join(sorted(one.values))
    return {
        "In": f"{one.key} in ({values})",
        "NotIn": f"{one.key} notin ({values})",
        "Exists": one.key,
        "DoesNotExist": f"!{one.key}",
    }[one.operator]
