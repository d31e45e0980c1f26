"""
Causes in what a node itself and its network system hold: sysctls, devices, routes, flannel's state.

Each function says in its docstring what an engineer would type on the node to the same effect.
"""

from ipaddress import IPv4Network

from nettrace.lab.faults.scene import BACKEND, Scene
from nettrace.model.change import Change, FdbDelete, LinkSet, PolicySet, RouteAdd, RouteDelete, RuleDelete
from nettrace.model.change import SysctlSet as Sysctl
from nettrace.model.errors import UserError
from nettrace.model.links import FdbEntry, Link
from nettrace.model.routes import NextHop, Route
from nettrace.model.xt_target import Dnat, Masquerade

__all__ = [
    "bridge_nf_off",
    "docker_dnat_missing",
    "flannel_fdb_missing",
    "forward_policy_drop",
    "hairpin_off",
    "ip_forward_off",
    "masquerade_missing",
    "pod_route_missing",
    "rp_filter_strict",
]


def ip_forward_off(scene: Scene) -> list[Change]:
    """``sysctl -w net.ipv4.ip_forward=0``."""
    return [Sysctl(netns=n.name, name="net.ipv4.ip_forward", value="0") for n in scene.chosen_nodes()]


def bridge_nf_off(scene: Scene) -> list[Change]:
    """``sysctl -w net.bridge.bridge-nf-call-iptables=0``."""
    name = "net.bridge.bridge-nf-call-iptables"
    return [Sysctl(netns=n.name, name=name, value="0") for n in scene.chosen_nodes()]


def forward_policy_drop(scene: Scene) -> list[Change]:
    """``iptables -P FORWARD DROP``."""
    return [
        PolicySet(netns=n.name, backend=BACKEND, table="filter", chain="FORWARD", policy="DROP")
        for n in scene.chosen_nodes()
    ]


def masquerade_missing(scene: Scene) -> list[Change]:
    """
    Docker: ``iptables -t nat -D POSTROUTING -s 192.168.0.0/24 ! -o docker0 -j MASQUERADE``.

    Flannel: ``iptables -t nat -D FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment
    --comment "flanneld masq" -j MASQUERADE --random-fully``.
    """
    options = scene.record.options
    source = options.get("docker_net") or options["pod_cidr"]
    return [
        RuleDelete(netns=n.name, backend=BACKEND, table="nat", chain=chain, position=position, rule=rule)
        for n in scene.chosen_nodes()
        for chain in scene.known(n.name, f"xt/{BACKEND}/nat").chains
        for position, rule in scene.numbered(n.name, "nat", chain)
        if isinstance(rule.target, Masquerade) and rule.src is not None
        if rule.src.value == source and not rule.src.invert
    ]


def docker_dnat_missing(scene: Scene) -> list[Change]:
    """``iptables -t nat -D DOCKER N``, N the number of the rule ``--dport 8088 -j DNAT``."""
    return [
        RuleDelete(netns=n.name, backend=BACKEND, table="nat", chain="DOCKER", position=position, rule=rule)
        for n in scene.chosen_nodes()
        for position, rule in scene.numbered(n.name, "nat", "DOCKER")
        if isinstance(rule.target, Dnat)
    ]


def hairpin_off(scene: Scene) -> list[Change]:
    """``bridge link set dev VETH hairpin off`` on the port of one endpoint of a Service (``pod``)."""
    pod = scene.pod()
    links: tuple[Link, ...] = scene.known(pod.node, "links")
    for link in links:
        if link.port is not None and link.peer is not None and link.peer.netns == pod.name:
            return [LinkSet(netns=pod.node, device=link.name, attribute="hairpin", value="off")]
    raise UserError(f"{pod.node} has no bridge port that leads to {pod.name}")


def flannel_fdb_missing(scene: Scene) -> list[Change]:
    """``bridge fdb del VTEPMAC dev flannel.1 dst PEERIP``."""
    found: list[Change] = []
    for node in scene.chosen_nodes():
        peer = scene.peer_of(node)
        entries: tuple[FdbEntry, ...] = scene.known(node.name, "fdb")
        found += [
            FdbDelete(netns=node.name, entry=entry) for entry in entries if entry.dst in peer.internal_ips
        ]
    return found


def pod_route_missing(scene: Scene) -> list[Change]:
    """``ip route del PEERCIDR``."""
    found: list[Change] = []
    for node in scene.chosen_nodes():
        peer = scene.peer_of(node)
        routes: tuple[Route, ...] = scene.known(node.name, "routes")
        found += [
            RouteDelete(netns=node.name, route=route) for route in routes if route.dst in peer.pod_cidrs
        ]
    return found


def rp_filter_strict(scene: Scene) -> list[Change]:
    """
    ``sysctl -w net.ipv4.conf.all.rp_filter=1; ip route add HALF-OF-PEERCIDR via PEERIP dev eth0``.

    What comes from the peer's pods arrives by flannel.1, and the way back is eth0 now: that
    works as long as nobody insists that both be the same.
    """
    found: list[Change] = []
    for node in scene.chosen_nodes():
        peer = scene.peer_of(node)
        half = next(IPv4Network(peer.pod_cidrs[0]).subnets())
        way = NextHop(device="eth0", via=peer.internal_ips[0])
        found += [
            Sysctl(netns=node.name, name="net.ipv4.conf.all.rp_filter", value="1"),
            RouteAdd(netns=node.name, route=Route(dst=str(half), nexthops=(way,))),
        ]
    return found
