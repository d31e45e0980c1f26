"""
Causes in kube-proxy's rules, and in the Services they come from.

Each function says in its docstring what an engineer would type on the node to the same effect.
"""

from ipaddress import IPv4Network

from msgspec.structs import replace

from nettrace.lab.faults.scene import ALL, BACKEND, Scene
from nettrace.model.change import ChainSet, Change, RuleDelete, RuleReplace
from nettrace.model.errors import UserError
from nettrace.model.packet import PortRange
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Dnat, Jump

__all__ = [
    "kube_postrouting_missing",
    "service_jump_missing",
    "service_rules_absent",
    "stale_endpoint_rule",
    "svc_wrong_targetport",
]

_SERVICES = "KUBE-SERVICES"
_DEAD_HOST = 77
_WRONG_PORT = 9999


def kube_postrouting_missing(scene: Scene) -> list[Change]:
    """``iptables -t nat -F KUBE-POSTROUTING``."""
    return [
        ChainSet(netns=n.name, backend=BACKEND, table="nat", chain="KUBE-POSTROUTING", rules=())
        for n in scene.chosen_nodes()
        if scene.chain(n.name, "nat", "KUBE-POSTROUTING").rules
    ]


def service_jump_missing(scene: Scene) -> list[Change]:
    """``iptables -t nat -D PREROUTING N``, N the number of the jump to KUBE-SERVICES."""
    return [
        _delete(n.name, "PREROUTING", position, rule)
        for n in scene.chosen_nodes()
        for position, rule in scene.numbered(n.name, "nat", "PREROUTING")
        if isinstance(rule.target, Jump) and rule.target.chain == _SERVICES
    ]


def service_rules_absent(scene: Scene) -> list[Change]:
    """``iptables -t nat -D KUBE-SERVICES -d CLUSTERIP/32 ...``, for each port of a Service (``service``)."""
    addresses = {f"{address}/32" for address in scene.service().cluster_ips}
    return [
        _delete(n.name, _SERVICES, position, rule)
        for n in scene.chosen_nodes()
        for position, rule in scene.numbered(n.name, "nat", _SERVICES)
        if rule.dst is not None and rule.dst.value in addresses
    ]


def stale_endpoint_rule(scene: Scene) -> list[Change]:
    """
    ``iptables -t nat -R KUBE-SEP-... 2 -p tcp -m tcp -j DNAT --to-destination DEAD:PORT``.

    One endpoint of a Service (``service``) leads to an address that no pod has, 10.244.1.77 say.
    """
    found: list[Change] = []
    for node in scene.chosen_nodes():
        for chain, position, rule, target in _translations(scene, node.name)[:1]:
            dead = _dead_address(scene, target.to.lo or "")
            stale = replace(rule, target=replace(target, to=replace(target.to, lo=dead, hi=None)))
            found.append(_replace(node.name, chain, position, rule, stale))
    return found


def svc_wrong_targetport(scene: Scene) -> list[Change]:
    """
    ``iptables -t nat -R KUBE-SEP-... 2 -p tcp -m tcp -j DNAT --to-destination POD:9999``.

    For every endpoint of a Service (``service``), on all nodes unless ``node`` says which; ``port``
    is the wrong port.
    """
    text = scene.wishes.get("port", str(_WRONG_PORT))
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise UserError(f"{text!r} is no port", hint="a number from 1 to 65535")
    wrong = PortRange(int(text), int(text))
    return [
        _replace(
            node.name,
            chain,
            position,
            rule,
            replace(rule, target=replace(target, to=replace(target.to, ports=wrong))),
        )
        for node in scene.chosen_nodes(ALL)
        for chain, position, rule, target in _translations(scene, node.name)
    ]


def _translations(scene: Scene, node: str) -> list[tuple[str, int, XtRule, Dnat]]:
    """Return (chain, position, rule, target) of every DNAT that a Service's ClusterIPs may lead to."""
    addresses = {f"{address}/32" for address in scene.service().cluster_ips}
    entrances = [
        rule.target.chain
        for rule in scene.chain(node, "nat", _SERVICES).rules
        if isinstance(rule.target, Jump) and rule.dst is not None and rule.dst.value in addresses
    ]
    endpoints = dict.fromkeys(
        rule.target.chain
        for entrance in entrances
        for rule in scene.chain(node, "nat", entrance).rules
        if isinstance(rule.target, Jump) and rule.target.chain.startswith("KUBE-SEP-")
    )
    return [
        (chain, position, rule, rule.target)
        for chain in endpoints
        for position, rule in enumerate(scene.chain(node, "nat", chain).rules, 1)
        if isinstance(rule.target, Dnat)
    ]


def _dead_address(scene: Scene, endpoint: str) -> str:
    """Return an address of the endpoint's own network that no namespace of the lab has."""
    taken = {address for entry in scene.record.namespaces for address in entry.addresses}
    net = IPv4Network(f"{endpoint}/{_length(scene)}", strict=False)
    hosts = [net.network_address + number for number in range(2, net.num_addresses - 1)]
    preferred = sorted(hosts, key=lambda host: abs(int(host) - int(net.network_address) - _DEAD_HOST))
    for host in preferred:
        if str(host) not in taken:
            return str(host)
    raise UserError(f"every address of {net} is some pod's")


def _length(scene: Scene) -> int:
    nodes = scene.snapshot.kube.nodes
    cidrs = [cidr for node in getattr(nodes, "value", ()) for cidr in node.pod_cidrs]
    return IPv4Network(cidrs[0]).prefixlen if cidrs else 24


def _delete(netns: str, chain: str, position: int, rule: XtRule) -> Change:
    return RuleDelete(netns=netns, backend=BACKEND, table="nat", chain=chain, position=position, rule=rule)


def _replace(netns: str, chain: str, position: int, old: XtRule, new: XtRule) -> Change:
    return RuleReplace(
        netns=netns, backend=BACKEND, table="nat", chain=chain, position=position, old=old, rule=new
    )
