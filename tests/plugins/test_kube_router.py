"""kube-router: recognised by what it leaves, and what follows from the Nodes."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.difference import differences
from nettrace.lab.bgp_routes import announced
from nettrace.model.change import IpsetEntryAdd, RouteAdd
from nettrace.model.ipvs import VirtualServer
from nettrace.model.kube import Kube, KubeNode
from nettrace.model.links import Address, IpipAttrs, Link
from nettrace.model.owed import Owed, OwedIpset, OwedRoute, OwedRule
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, Section, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Process, Snapshot
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule, rule_text
from nettrace_plugins.kube_router import plugin
from nettrace_plugins.kube_router.facts import cni_file

CONF = "/etc/cni/net.d/10-kuberouter.conflist"
BRIDGED = json.dumps(
    {"name": "mynet", "plugins": [{"type": "bridge", "bridge": "kube-bridge"}, {"type": "portmap"}]}
)


def node(name: str, number: int, **notes: str) -> KubeNode:
    """A Node of the cluster."""
    return KubeNode(
        name=name,
        internal_ips=(f"172.18.0.{number}",),
        pod_cidrs=(f"10.244.{number}.0/24",),
        annotations=notes,
    )


def world(**changes: Any) -> Snapshot:
    """Two nodes, one of them read: its bridge, its way out, its CNI configuration."""
    netns = Netns(
        name="node-a",
        node="node-a",
        role="node",
        links=Known((Link(name="kube-bridge", index=2, kind="bridge"),)),
        addresses=Known((Address(device="eth0", address="172.18.0.11", prefixlen=24),)),
        routes=Known((Route(dst="10.244.12.0/24", nexthops=(_HOP,), protocol="17"),)),
    )
    state = NodeState(name="node-a", netns="node-a", files=Known({CONF: BRIDGED}))
    nodes: tuple[KubeNode, ...] = (node("node-a", 11), node("node-b", 12))
    return Snapshot(
        nodes={"node-a": state},
        namespaces={"node-a": replace(netns, **changes)},
        kube=Kube(nodes=Known(nodes)),
    )


_HOP = NextHop(device="eth0", via="172.18.0.12")


def owes(snapshot: Snapshot) -> tuple[Owed, ...]:
    """What kube-router owes node-a."""
    return tuple(plugin.nettrace_owes(snapshot, "node-a"))


def test_it_is_recognised_by_what_it_leaves() -> None:
    """By the CNI configuration, the bridge, its routes, its process; and by none of them it is not."""
    snapshot = world()
    process = Process(pid=7, name="kube-router", netns="node-a")
    found = plugin.nettrace_detect(
        replace(snapshot, nodes={"node-a": replace(snapshot.nodes["node-a"], processes=Known((process,)))})
    )
    assert found is not None
    assert (found.mode, found.nodes, found.owners) == ("bgp", ("node-a",), ("kube-router",))
    assert [one.text for one in found.evidence] == [
        CONF,
        "kube-bridge (bridge)",
        "10.244.12.0/24 via 172.18.0.12 dev eth0 proto 17",
        "kube-router (pid 7)",
    ]
    bare = replace(
        world(links=Known(())), nodes={"node-a": NodeState(name="node-a", netns="node-a", files=Known({}))}
    )
    assert plugin.nettrace_detect(bare) is None  # routes of protocol 17 may be anybody's
    assert owes(bare) == ()


@pytest.mark.parametrize(
    ("kind", "name", "mode"),
    [("dummy", "kube-dummy-if", "bgp, ipvs proxy"), ("ipip", "tun-1234567890a", "bgp, ipip")],
)
def test_its_other_devices_say_how_it_works(kind: str, name: str, mode: str) -> None:
    """The proxy's dummy device and the tunnels are in its mode, and have names in words."""
    links = Known((Link(name="kube-bridge", index=2, kind="bridge"), Link(name=name, index=3, kind=kind)))
    found = plugin.nettrace_detect(world(links=links))
    assert found is not None
    assert found.mode == mode
    assert plugin.nettrace_name(world(links=links), "node-a", f"links/{name}") is not None


@pytest.mark.parametrize("text", ["", "[]", "{no json", '{"plugins": 7}', '{"bridge": "cni0"}'])
def test_another_cni_configuration_is_not_its(text: str) -> None:
    """Only one that names its bridge counts."""
    snapshot = world()
    state = replace(snapshot.nodes["node-a"], files=Known({CONF: text}))
    assert cni_file(replace(snapshot, nodes={"node-a": state}), "node-a") is None


def test_a_peer_behind_a_tunnel_is_owed_a_route_into_it() -> None:
    """By the tunnel's far end, whatever its name; the device is called by the node at that end."""
    far = KubeNode(name="node-c", internal_ips=("192.168.9.9",), pod_cidrs=("10.244.3.0/24",))
    tunnel = Link(name="tun-0e1f2d", index=5, kind="ipip", ipip=IpipAttrs(remote="192.168.9.9"))
    snapshot = replace(
        world(links=Known((Link(name="kube-bridge", index=2, kind="bridge"), tunnel))),
        kube=Kube(nodes=Known((node("node-a", 11), far))),
    )
    (route,) = [o.route for o in owes(snapshot) if isinstance(o, OwedRoute)]
    assert (route.dst, route.nexthops, route.protocol) == (
        "10.244.3.0/24",
        (NextHop(device="tun-0e1f2d"),),
        "17",
    )
    assert route.prefsrc == "172.18.0.11"
    words = plugin.nettrace_name(snapshot, "node-a", "links/tun-0e1f2d")
    assert words == "kube-router's tunnel to node-c (192.168.9.9), a node of another network"
    other = replace(tunnel, ipip=IpipAttrs(remote="192.168.9.1"))
    alone = replace(snapshot, namespaces=world(links=Known((other,))).namespaces)
    assert not any(isinstance(o, OwedRoute) for o in owes(alone))
    assert plugin.nettrace_name(alone, "node-a", "links/tun-0e1f2d") is not None


def test_its_service_proxy_owes_the_sets_of_what_it_serves() -> None:
    """Of the virtual servers that are there; nothing without its dummy device."""
    servers = (
        VirtualServer(address="10.96.0.1", port=443, proto="tcp"),
        VirtualServer(address="10.96.0.10", port=53, proto="udp"),
        VirtualServer(address="10.96.0.10", port=53, proto="tcp"),
        VirtualServer(address="", port=0, proto="tcp", fwmark=7),
    )
    dummy = Link(name="kube-dummy-if", index=9, kind="dummy")
    snapshot = world(
        links=Known((Link(name="kube-bridge", index=2, kind="bridge"), dummy)), ipvs=Known(servers)
    )
    assert SectionKey("node-a", "ipvs") in plugin.nettrace_sections(snapshot)
    sets = {o.set.name: o.set for o in owes(snapshot) if isinstance(o, OwedIpset)}
    assert sets["kube-router-svip"].members == ("10.96.0.1", "10.96.0.10")
    assert sets["kube-router-svip-prt"].members == (
        "10.96.0.1,tcp:443",
        "10.96.0.10,udp:53",
        "10.96.0.10,tcp:53",
    )
    found = plugin.nettrace_detect(snapshot)
    assert found is not None
    assert "3 virtual servers" in [one.text for one in found.evidence]
    for thing in ("xt/filter/KUBE-ROUTER-SERVICES", "xt/nat/KUBE-ROUTER-HAIRPIN", "links/kube-dummy-if"):
        assert "service proxy" in (plugin.nettrace_name(snapshot, "node-a", thing) or "")
    without = world(ipvs=Known(servers))
    assert SectionKey("node-a", "ipvs") not in plugin.nettrace_sections(without)
    names = {o.set.name for o in owes(without) if isinstance(o, OwedIpset)}
    assert names == {"kube-router-pod-subnets", "kube-router-node-ips"}


def test_sets_of_pods_and_nodes() -> None:
    """What the masquerade rule looks into; an entry that is gone is put back."""
    held = {o.set.name: o.set for o in owes(world()) if isinstance(o, OwedIpset)}
    assert held["kube-router-pod-subnets"].members == ("10.244.11.0/24", "10.244.12.0/24")
    assert held["kube-router-node-ips"].members == ("172.18.0.11", "172.18.0.12")
    short = replace(held["kube-router-pod-subnets"], members=("10.244.11.0/24",))
    snapshot = world(ipsets=Known((short, held["kube-router-node-ips"])))
    (lost,) = differences(snapshot, [o for o in owes(snapshot) if isinstance(o, OwedIpset)])
    [change] = lost.restored.changes
    assert isinstance(change, IpsetEntryAdd)
    assert (change.name, change.entry) == ("kube-router-pod-subnets", "10.244.12.0/24")


def test_a_peer_of_the_same_network_is_owed_a_route() -> None:
    """By its podCIDR, or the annotation that goes before it; none across networks, and none to itself."""
    (route,) = [o for o in owes(world()) if isinstance(o, OwedRoute)]
    assert route.route == Route(dst="10.244.12.0/24", nexthops=(_HOP,), protocol="17")
    assert route.source == "podCIDR of Node node-b"
    noted = node("node-b", 12, **{"kube-router.io/pod-cidr": "10.99.0.0/24"})
    far = KubeNode(name="node-c", internal_ips=("192.168.9.9",), pod_cidrs=("10.244.3.0/24",))
    odd = KubeNode(name="node-d", internal_ips=("172.18.0.14",), pod_cidrs=("fd00::/64",))
    kube = Kube(nodes=Known((node("node-a", 11), noted, far, odd)))
    (route,) = [o for o in owes(replace(world(), kube=kube)) if isinstance(o, OwedRoute)]
    assert (route.route.dst, "annotation" in route.source) == ("10.99.0.0/24", True)
    assert not any(isinstance(o, OwedRoute) for o in owes(world(addresses=NOT_READ)))


def test_its_rules_are_owed() -> None:
    """The masquerade rule by its sets, and the accepts for the bridge and the way out."""
    rules = [o for o in owes(world()) if isinstance(o, OwedRule)]
    assert [(rule.table, rule.chain) for rule in rules] == [
        ("nat", "POSTROUTING"),
        *[("filter", "FORWARD")] * 3,
    ]
    said = " ".join(rule_text(rule.rule) for rule in rules)
    assert "! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully" in said
    for ends in ("-i kube-bridge", "-o kube-bridge", "-o eth0"):
        assert ends in said


def test_a_lost_route_comes_back_as_it_writes_it() -> None:
    """The difference is a route of protocol 17."""
    snapshot = world(routes=Known(()))
    (found,) = differences(snapshot, [o for o in owes(snapshot) if isinstance(o, OwedRoute)])
    (change,) = found.restored.changes
    assert isinstance(change, RouteAdd)
    assert change.route.protocol == "17"


def test_chains_are_named_by_what_their_rules_say() -> None:
    """A pod's chain by its pod, a policy's by the pod's chain that runs through it."""
    own = (
        '-m comment --comment "run through nw policy closed" -j KUBE-NWPLCY-ABC',
        '-m comment --comment "rule to REJECT traffic destined for POD name:web namespace: shop" -j REJECT',
    )
    chains: dict[str, Section[XtChain]] = {
        "KUBE-POD-FW-XYZ": Known(XtChain(rules=tuple(parse_rule(rule) for rule in own))),
        "KUBE-NWPLCY-ABC": Known(XtChain()),
        "KUBE-NWPLCY-OLD": Known(XtChain()),
    }
    snapshot = world(xt_nft=Known(XtRuleset({"filter": Known(XtTable(chains))})))
    names = {
        thing: plugin.nettrace_name(snapshot, "node-a", f"xt/filter/{thing}")
        for thing in (*chains, "KUBE-ROUTER-FORWARD", "OTHER")
    }
    assert names["KUBE-POD-FW-XYZ"] == "policies for pod shop/web"
    assert names["KUBE-NWPLCY-ABC"] == "policy closed"
    assert names["KUBE-NWPLCY-OLD"] is names["OTHER"] is None
    assert names["KUBE-ROUTER-FORWARD"] is not None


def test_what_bird_says_is_read() -> None:
    """The routes by the node's device, each with its next hop; others and unreachable ones are left out."""
    said = (
        "0001 BIRD 2.0.12 ready.\n"
        "1007-Table master4:\n"
        " 10.244.2.0/24        unicast [node_b 15:18:10.506] * (100) [i]\n"
        " \tvia 172.18.0.12 on eth0\n"
        " 10.244.3.0/24        unreachable [node_c 15:18:10.506] * (100) [i]\n"
        " 10.244.4.0/24        unicast [node_d 15:18:10.506] * (100) [i]\n"
        " \tvia 192.168.0.1 on eth1\n"
        "0000 \n"
    )
    assert announced(said, "eth0") == {"10.244.2.0/24": "172.18.0.12"}
