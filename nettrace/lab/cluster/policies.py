"""
Network policies on a node of the lab: the chains and sets of a policy controller.

Lives here: what kube-router's controller writes for the pods of one node (pkg/controllers/netpol of
kube-router 1.3: pod.go, policy.go, network_policy_controller.go), in its order and by its names:
KUBE-ROUTER-INPUT, -FORWARD and -OUTPUT at the head of the built-in chains, a KUBE-POD-FW chain for
each pod, a KUBE-NWPLCY chain for each policy, sets KUBE-SRC and KUBE-DST.
Not here: what the policies mean (nettrace.kube.policy).

It differs in three places where that controller does not do what the specification says: a policy
for both directions has two chains, so that its rules for one direction are not asked for the
other; each address block is a set of its own, so that what one leaves out another may hold; a
named port of an egress rule is looked up among all pods.  AdminNetworkPolicies are not realised.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from nettrace.kube.policy import isolating
from nettrace.kube.policy_chains import pod_chain, policy_chain, policy_set, top_comment
from nettrace.kube.policy_ends import End, cluster_of, peer_matches
from nettrace.model.addr import family_of
from nettrace.model.kube import Kube, Pod
from nettrace.model.policy import IpBlock, NetworkPolicy, PolicyPort, PolicyRule
from nettrace.model.section import Known, Section
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule

__all__ = ["TOP_CHAINS", "Policed", "policed"]

T = TypeVar("T")

#: The controller numbers its runs, and the number is part of each chain's name; here it is always the first.
VERSION = "1"

_DEFAULT = "KUBE-NWPLCY-DEFAULT"
#: Built-in chain -> the chain of policies that is jumped to from its head.
TOP_CHAINS = {"INPUT": "KUBE-ROUTER-INPUT", "FORWARD": "KUBE-ROUTER-FORWARD", "OUTPUT": "KUBE-ROUTER-OUTPUT"}
_PASSED = "0x10000/0x10000"  # a policy lets it through
_COMPLIES = "0x20000/0x20000"  # it has been through all chains
_NODE_PORTS = "30000:32767"


class Policed(NamedTuple):
    """The rules with policies in force, and the sets that they name as ``ipset restore`` text."""

    rules: XtRuleset
    sets: str


class _Sets:
    """Sets as they are made: name -> (type, members)."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, tuple[str, ...]]] = {}

    def addresses(self, name: str, addresses: Iterable[str]) -> str:
        self.made[name] = ("hash:ip", tuple(dict.fromkeys(a for a in addresses if family_of(a) == 4)))
        return name

    def block(self, name: str, block: IpBlock) -> str:
        members = [
            *_halves(block.cidr),
            *(f"{one} nomatch" for out in block.excepted for one in _halves(out)),
        ]
        self.made[name] = ("hash:net", tuple(members))
        return name

    def text(self) -> str:
        lines = []
        for name, (kind, members) in self.made.items():
            lines += [f"create {name} {kind} family inet timeout 0 -exist", f"flush {name}"]
            for member in members:
                prefix, *options = member.split()
                lines.append(" ".join(["add", name, prefix, "timeout 0", *options]))
        return "".join(f"{line}\n" for line in lines)


def _halves(cidr: str) -> tuple[str, ...]:
    """A set of networks cannot hold the one of all addresses."""
    return ("0.0.0.0/1", "128.0.0.0/1") if cidr == "0.0.0.0/0" else (cidr,)


def policed(
    rules: XtRuleset, kube: Kube, node: str, service_net: IPv4Network, *, always: bool = False
) -> Policed:
    """
    Add to a node's rules what a policy controller writes there, and return the sets it needs.

    Nothing is added where the objects hold no NetworkPolicy, unless *always*: then nobody runs a
    controller.
    """
    policies = kube.network_policies.value if isinstance(kube.network_policies, Known) else ()
    pods = kube.pods.value if isinstance(kube.pods, Known) else ()
    if not policies and not always:
        return Policed(rules, "")
    local = [p for p in pods if p.node_name == node and not p.host_network and _address(p)]
    sets = _Sets()
    chains: dict[str, list[str]] = {_DEFAULT: [f"{_note(_MARKS)} -j MARK --set-xmark {_PASSED}"]}
    for policy in policies:
        chains |= _policy_chains(kube, policy, pods, sets)
    for pod in local:
        chains[pod_chain(pod.namespace, pod.name, VERSION)] = list(_pod_chain(pod, policies))
    chains |= {TOP_CHAINS[name]: list(_top(name, local, service_net)) for name in TOP_CHAINS}
    return Policed(_with(rules, chains), sets.text())


_MARKS = "rule to mark traffic matching a network policy"


def _with(rules: XtRuleset, chains: dict[str, list[str]]) -> XtRuleset:
    table = _known(rules.tables["filter"])
    made: dict[str, Section[XtChain]] = dict(table.chains)
    for name, top in TOP_CHAINS.items():
        jump = parse_rule(f"{_note(top_comment(name, top))} -j {top}")
        old = _known(made[name])
        made[name] = Known(replace(old, rules=(jump, *old.rules)))
    for name, specs in chains.items():
        made[name] = Known(XtChain(rules=tuple(parse_rule(spec) for spec in specs)))
    return XtRuleset({**rules.tables, "filter": Known(XtTable(made))})


def _known(section: Section[T]) -> T:
    assert isinstance(section, Known)  # noqa: S101  (made here, not read)
    return section.value


def _note(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _address(pod: Pod) -> str:
    return next((a for a in pod.ips if family_of(a) == 4), "")


# --- pods ------------------------------------------------------------------------------


def _top(name: str, pods: Sequence[Pod], service_net: IPv4Network) -> Iterator[str]:
    if name == "INPUT":
        yield f"-d {service_net} {_note('allow traffic to cluster IP')} -j RETURN"
        for proto in ("tcp", "udp"):
            words = _note(f"allow LOCAL {proto.upper()} traffic to node ports")
            local = f"-m addrtype --dst-type LOCAL -m multiport --dports {_NODE_PORTS}"
            yield f"-p {proto} {words} {local} -j RETURN"
    for pod in pods:
        chain, address = pod_chain(pod.namespace, pod.name, VERSION), _address(pod)
        ends = f"POD name:{pod.name} namespace: {pod.namespace} to chain {chain}"
        to, of = _note(f"rule to jump traffic destined to {ends}"), _note(f"rule to jump traffic from {ends}")
        bridged = "-m physdev --physdev-is-bridged"
        if name != "INPUT":
            yield f"-d {address} {to} -j {chain}"
        if name == "FORWARD":
            yield f"-d {address} {bridged} {to} -j {chain}"
        yield f"-s {address} {of} -j {chain}"
        if name == "FORWARD":
            yield f"-s {address} {bridged} {of} -j {chain}"
    words = _note("rule to explicitly ACCEPT traffic that comply to network policies")
    yield f"{words} -m mark --mark {_COMPLIES} -j ACCEPT"


def _pod_chain(pod: Pod, policies: Sequence[NetworkPolicy]) -> Iterator[str]:
    address = _address(pod)
    words = _note("rule for stateful firewall for pod")
    yield f"{words} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    words = _note("rule to permit the traffic traffic to pods when source is the pod's local node")
    yield f"-d {address} {words} -m addrtype --src-type LOCAL -j ACCEPT"
    for direction, side in (("egress", "-s"), ("ingress", "-d")):
        own = isolating(policies, pod, direction)
        if not own:
            words = _note(f"run through default {direction} network policy chain")
            yield f"{side} {address} {words} -j {_DEFAULT}"
        for policy in reversed(own):
            words = _note(f"run through nw policy {policy.name}")
            yield f"{side} {address} {words} -j {_chain_of(policy, direction)}"
    named = f"POD name:{pod.name} namespace: {pod.namespace}"
    unmarked = f"-m mark ! --mark {_PASSED}"
    limit = "-m limit --limit 10/min --limit-burst 10"
    yield f"{_note(f'rule to log dropped traffic {named}')} {unmarked} {limit} -j NFLOG --nflog-group 100"
    refuse = "-j REJECT --reject-with icmp-port-unreachable"
    yield f"{_note(f'rule to REJECT traffic destined for {named}')} {unmarked} {refuse}"
    yield "-j MARK --set-xmark 0x0/0x10000"
    words = _note("set mark to ACCEPT traffic that comply to network policies")
    yield f"{words} -j MARK --set-xmark {_COMPLIES}"


def _chain_of(policy: NetworkPolicy, direction: str) -> str:
    second = "egress" if direction == "egress" and "Ingress" in policy.types else ""
    return policy_chain(policy.namespace, policy.name, VERSION + second)


# --- policies --------------------------------------------------------------------------


def _policy_chains(
    kube: Kube, policy: NetworkPolicy, pods: Sequence[Pod], sets: _Sets
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for direction in ("ingress", "egress"):
        if direction.capitalize() not in policy.types:
            continue
        chosen = [p for p in pods if not p.host_network and isolating([policy], p, direction)]
        side = "DST" if direction == "ingress" else "SRC"
        own = sets.addresses(
            policy_set(side, policy.namespace, policy.name), map(_address, filter(_address, chosen))
        )
        lines: list[str] = []
        rules = policy.ingress if direction == "ingress" else policy.egress
        for number, rule in enumerate(rules):
            lines += _rule_lines(
                _Place(kube, policy, direction, number, own, tuple(pods)), rule, chosen, sets
            )
        found[_chain_of(policy, direction)] = lines
    return found


class _Place(NamedTuple):
    """One rule of a policy: where it stands, and the set of the pods that the policy is for."""

    kube: Kube
    policy: NetworkPolicy
    direction: str
    number: int
    own: str
    pods: tuple[Pod, ...]

    def set_name(self, what: str, *, destination: bool) -> str:
        side = "DST" if destination else "SRC"
        policy = self.policy
        return policy_set(side, policy.namespace, policy.name, f"{self.direction}rule{self.number}{what}")


def _rule_lines(place: _Place, rule: PolicyRule, chosen: Sequence[Pod], sets: _Sets) -> Iterator[str]:
    ports = list(_ports(place, rule.ports, chosen, sets)) if rule.ports else [("", "")]
    for peers, words in _peers(place, rule, sets):
        for test, named in ports:
            if place.direction == "ingress":
                ends = [(peers, "src"), (named or place.own, "dst")]
            else:
                ends = [(place.own, "src"), (peers, "dst"), (named, "dst")]
            matched = " ".join(f"-m set --match-set {name} {side}" for name, side in ends if name)
            proto, _, rest = test.partition("|")
            spec = " ".join(part for part in (proto, _note(words), matched, rest) if part)
            yield f"{spec} -j MARK --set-xmark {_PASSED}"
            yield f"{spec} -m mark --mark {_PASSED} -j RETURN"


def _peers(place: _Place, rule: PolicyRule, sets: _Sets) -> Iterator[tuple[str, str]]:
    """Yield the set of each kind of peer, "" for everybody, with the words for its rules."""
    name = f"policy name {place.policy.name} namespace {place.policy.namespace}"
    outward = place.direction == "egress"
    if not rule.peers:
        everybody = "to all destinations" if outward else "from all sources"
        yield "", f"rule to ACCEPT traffic {everybody} selected by {name}"
        return
    cluster = cluster_of(place.kube, {})
    chosen = [
        p
        for p in place.pods
        if not p.host_network
        and any(
            one.ip_block is None
            and peer_matches(cluster, place.policy.namespace, one, End(address="", pod=p)) is True
            for one in rule.peers
        )
    ]
    if chosen:
        addresses = [_address(p) for p in chosen if _address(p)]
        yield (
            sets.addresses(place.set_name("pod", destination=outward), addresses),
            f"rule to ACCEPT traffic from source pods to dest pods selected by {name}",
        )
    blocks = [one.ip_block for one in rule.peers if one.ip_block is not None]
    for index, block in enumerate(b for b in blocks if family_of(b.cidr) == 4):
        made = sets.block(place.set_name(f"ipblock{index or ''}", destination=outward), block)
        yield (
            made,
            f"rule to ACCEPT traffic {'to' if outward else 'from'} specified ipBlocks selected by {name}",
        )


def _ports(
    place: _Place, ports: Sequence[PolicyPort], chosen: Sequence[Pod], sets: _Sets
) -> Iterator[tuple[str, str]]:
    """Yield ``-p PROTO|-m PROTO --dport PORT`` and, for a named port, the set of the pods that have it."""
    for port in ports:
        proto = port.protocol.lower()
        if port.port is None:
            yield f"-p {proto}|", ""
        elif isinstance(port.port, int):
            last = f":{port.end_port}" if port.end_port not in (None, port.port) else ""
            yield f"-p {proto}|-m {proto} --dport {port.port}{last}", ""
        else:
            holders = (
                chosen if place.direction == "ingress" else [p for p in place.pods if not p.host_network]
            )
            numbered: dict[int, list[str]] = {}
            for pod in holders:
                for number in _numbers(pod, port.port, port.protocol):
                    numbered.setdefault(number, []).append(_address(pod))
            for number, addresses in numbered.items():
                what = f"{port.port}{proto}{number}namedport"
                named = sets.addresses(place.set_name(what, destination=True), filter(None, addresses))
                yield f"-p {proto}|-m {proto} --dport {number}", named


def _numbers(pod: Pod, name: str, protocol: str) -> list[int]:
    found = [p for c in pod.containers for p in c.ports if (p.name, p.protocol) == (name, protocol)]
    return list(dict.fromkeys(p.container_port for p in found))
