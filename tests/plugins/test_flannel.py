"""flannel: what follows from its annotations and its file, in the layout that is there."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.difference import differences
from nettrace.model.change import ChainDelete, ChainSet, NeighbourDelete, RouteAdd, RuleDelete
from nettrace.model.finding import Safety
from nettrace.model.kube import KubeNode
from nettrace.model.links import FdbEntry, Neighbour
from nettrace.model.owed import (
    OwedChain,
    OwedFdb,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
)
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.flannel import plugin
from nettrace_plugins.flannel.facts import ANNOTATION, NET_CONF, SUBNET_ENV, subnet_env
from tests.diagnose.asking import diagnosed
from tests.diagnose.faults import delete, rule_at
from tests.diagnose.worlds import World, cluster
from tests.plugins.flannel_worlds import OWN_MAC, PEER_MAC, owes, with_files, with_nodes


def test_three_things_a_peer() -> None:
    """Each VXLAN peer is owed a route, a permanent neighbour and a forwarding entry, with their source."""
    own, route, neighbour, fdb, chain, jump = owes(cluster().snapshot)
    assert isinstance(route, OwedRoute)
    hop = NextHop(device="flannel.1", via="10.244.2.0", onlink=True)
    assert route.route == Route(dst="10.244.2.0/24", nexthops=(hop,))
    assert isinstance(neighbour, OwedNeighbour)
    assert neighbour.entry == Neighbour(
        device="flannel.1", address="10.244.2.0", mac=PEER_MAC, state="permanent"
    )
    assert isinstance(fdb, OwedFdb)
    assert fdb.entry == FdbEntry(device="flannel.1", mac=PEER_MAC, dst="172.18.0.12", permanent=True)
    assert {item.source for item in (route, neighbour, fdb)} == {"annotations of Node node-b"}
    assert isinstance(chain, OwedChain)
    assert isinstance(jump, OwedJump)
    assert isinstance(own, OwedLink)
    assert (own.device, own.attribute) == ("flannel.1", "address")
    assert own.value == OWN_MAC
    assert own.source == "annotations of Node node-a"
    assert {item.owner for item in (route, chain, jump)} == {"flanneld"}
    assert chain.source == SUBNET_ENV


@pytest.mark.parametrize(
    "notes",
    [
        {"backend_type": None},
        {"public_ip": None},
        {"public_ip": "nowhere"},
        {"backend_data": None},
        {"backend_data": "{no json"},
        {"backend_data": "[1]"},
        {"backend_data": '{"VNI": 1}'},
    ],
)
def test_annotations_that_say_too_little_owe_nothing(notes: dict[str, Any]) -> None:
    """Without backend, address or MAC nothing is made up."""
    assert not any(isinstance(o, OwedFdb | OwedRoute) for o in owes(with_nodes(cluster().snapshot, **notes)))


def test_a_node_of_another_network_is_no_peer() -> None:
    """A peer with another backend or VNI, or without a pod CIDR, is owed nothing here."""
    snapshot = cluster().snapshot
    section = snapshot.kube.nodes
    assert isinstance(section, Known)
    near, far = section.value
    key = "flannel.alpha.coreos.com/backend-"
    for other in (
        replace(far, annotations={**far.annotations, f"{key}type": "host-gw"}),
        replace(
            far, annotations={**far.annotations, f"{key}data": '{"VNI": 7, "VtepMAC": "02:00:00:00:00:01"}'}
        ),
        replace(far, annotations={**far.annotations, f"{key}data": '{"VNI": "x", "VtepMAC": ""}'}),
        replace(far, pod_cidrs=("fd00::/64",)),
        replace(far, pod_cidrs=("nonsense",)),
    ):
        kube = replace(snapshot.kube, nodes=Known((near, other)))
        assert not any(isinstance(o, OwedFdb | OwedRoute) for o in owes(replace(snapshot, kube=kube)))
    assert owes(snapshot, "node-z") == ()
    stranger = replace(snapshot.kube, nodes=Known((KubeNode(name="node-b"),)))
    assert not any(isinstance(o, OwedRoute) for o in owes(replace(snapshot, kube=stranger)))
    assert not any(
        isinstance(o, OwedRoute) for o in owes(replace(snapshot, kube=replace(stranger, nodes=NOT_READ)))
    )


def test_host_gw_routes_lead_straight_to_the_node() -> None:
    """With host-gw, or DirectRouting on the same network, the peer's own address is the next hop."""
    snapshot = cluster().snapshot
    direct = Route(dst="10.244.2.0/24", nexthops=(NextHop(device="eth0", via="172.18.0.12"),))
    (route, *_) = owes(with_nodes(snapshot, backend_type="host-gw"))
    assert isinstance(route, OwedRoute)
    assert route.route == direct
    files = {NET_CONF: '{"Backend": {"Type": "vxlan", "DirectRouting": true}}'}
    (_, route) = owes(with_files(snapshot, files))
    assert isinstance(route, OwedRoute)
    assert route.route == direct
    for text in ('{"Backend": {"Type": "vxlan"}}', '{"Backend": 1}', "nonsense"):
        assert any(isinstance(o, OwedFdb) for o in owes(with_files(snapshot, {NET_CONF: text})))
    node = replace(snapshot.namespaces["node-a"], addresses=NOT_READ)
    unread = with_nodes(snapshot.with_netns(node), backend_type="host-gw")
    assert not any(isinstance(o, OwedRoute) for o in owes(unread))


@pytest.mark.parametrize(
    "text",
    ["", "FLANNEL_NETWORK=10.244.0.0/16", "FLANNEL_NETWORK=x\nFLANNEL_SUBNET=y\n", "garbage"],
)
def test_a_file_that_is_not_whole_owes_nothing(text: str) -> None:
    """A subnet.env without a network or a subnet says nothing about masquerading."""
    snapshot = with_files(cluster().snapshot, {SUBNET_ENV: text})
    assert subnet_env(snapshot, "node-a") is None
    assert not any(isinstance(o, OwedChain | OwedRule) for o in owes(snapshot))


def test_without_ip_masq_nothing_is_masqueraded() -> None:
    """FLANNEL_IPMASQ=false owes no rule; quotes around values are read."""
    text = 'FLANNEL_NETWORK="10.244.0.0/16"\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPMASQ=false\n'
    snapshot = with_files(cluster().snapshot, {SUBNET_ENV: text})
    env = subnet_env(snapshot, "node-a")
    assert env is not None
    assert (env.network, env.subnet, env.masquerades) == ("10.244.0.0/16", "10.244.1.0/24", False)
    assert not any(isinstance(o, OwedChain) for o in owes(snapshot))


OLD = (
    "-s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN",
    "-s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
    "! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE",
)


def old_world() -> World:
    """A cluster whose node-a has the rules of an older flanneld."""
    world = cluster()
    position, jump = rule_at(world, "node-a", "POSTROUTING", lambda r: r.comment == "flanneld masq")
    place = {"netns": "node-a", "backend": "nft", "table": "nat"}
    world = world.edited(
        RuleDelete(**place, chain="POSTROUTING", position=position, rule=jump),
        ChainDelete(**place, chain="FLANNEL-POSTRTG"),
    )
    chain = world.snapshot.chain("node-a", "nft", "nat", "POSTROUTING")
    assert chain is not None
    rules = (*chain.rules, *map(parse_rule, OLD))
    key = SectionKey("node-a", "xt/nft/nat/POSTROUTING")
    return World(world.snapshot.with_section(key, Known(replace(chain, rules=rules))), world.names)


def test_the_older_layout_is_taken_as_it_is() -> None:
    """Rules straight in POSTROUTING are what is owed there, and the new chain is not asked for."""
    world = old_world()
    items = [o for o in owes(world.snapshot) if isinstance(o, OwedRule | OwedChain)]
    assert [type(o) for o in items] == [OwedRule] * 4
    assert differences(world.snapshot, owes(world.snapshot)) == ()
    assert diagnosed(world, "pod/client-near", "internet:80").met is True


def test_a_rule_of_the_older_layout_goes_back_to_its_place() -> None:
    """The deleted MASQUERADE is found first, and put after the RETURN before it."""
    world = old_world()
    target = parse_rule(OLD[1])
    broken = world.edited(*delete(world, "node-a", "POSTROUTING", lambda r: r == target))
    found = diagnosed(broken, "pod/client-near", "internet:80")
    assert found.findings[0].cause == "masquerade-missing"
    (change,) = found.findings[0].repairs[0].changes
    assert change.position == 3  # type: ignore[union-attr]


def test_the_new_layout_is_asked_for_where_nothing_is() -> None:
    """With all of flannel's rules gone, the chain and its jump are owed."""
    world = cluster()
    position, jump = rule_at(world, "node-a", "POSTROUTING", lambda r: r.comment == "flanneld masq")
    place = {"netns": "node-a", "backend": "nft", "table": "nat"}
    gone = world.edited(
        RuleDelete(**place, chain="POSTROUTING", position=position, rule=jump),
        ChainDelete(**place, chain="FLANNEL-POSTRTG"),
    )
    found = diagnosed(gone, "pod/client-near", "internet:80")
    assert [f.cause for f in found.findings] == ["masquerade-missing"]
    kinds = [type(change) for change in found.findings[0].repairs[0].changes]
    assert kinds.count(ChainSet) == 1


def test_a_forgotten_neighbour_has_a_name() -> None:
    """A missing VTEP neighbour is flannel-arp-missing, a VTEP that leads elsewhere fdb-stale-remote."""
    world = cluster()
    section = world.snapshot.namespaces["node-a"].neighbours
    assert isinstance(section, Known)
    (entry,) = section.value
    broken = world.edited(NeighbourDelete(netns="node-a", entry=entry))
    found = diagnosed(broken, "pod/client-near", "pod/hostnames-1")
    assert [f.cause for f in found.findings] == ["flannel-arp-missing"]
    fdb = world.snapshot.namespaces["node-a"].fdb
    assert isinstance(fdb, Known)
    elsewhere = tuple(replace(e, dst="172.18.0.100") if e.device == "flannel.1" else e for e in fdb.value)
    node = replace(world.snapshot.namespaces["node-a"], fdb=Known(elsewhere))
    wrong = World(world.snapshot.with_netns(node), world.names)
    found = diagnosed(wrong, "pod/client-near", "pod/hostnames-1")
    assert [f.cause for f in found.findings] == ["fdb-stale-remote"]
    assert "sends elsewhere what is for" in found.findings[0].message


def test_detection() -> None:
    """flannel is recognised by annotations, file or device, and not where there is none of them."""
    snapshot = cluster().snapshot
    found = plugin.nettrace_detect(snapshot)
    assert found is not None
    assert (found.name, found.nodes) == ("flannel", ("node-a", "node-b"))
    assert {piece.text for piece in found.evidence} >= {SUBNET_ENV, "flannel.1 (vxlan)"}
    assert plugin.nettrace_detect(Snapshot()) is None
    lone = Snapshot(nodes={"n": NodeState(name="n", netns="gone")})
    assert plugin.nettrace_detect(lone) is None


def test_names_and_sections() -> None:
    """flannel names its devices and chains, and says what it wants to read."""
    snapshot = cluster().snapshot
    assert plugin.nettrace_name(snapshot, "node-a", "links/flannel.1") == "flannel's VXLAN device"
    assert plugin.nettrace_name(snapshot, "node-a", "links/cni0") == "the bridge of flannel's pods"
    assert plugin.nettrace_name(snapshot, "node-a", "links/eth0") is None
    keys = plugin.nettrace_sections(snapshot)
    assert {SectionKey("", "kube/nodes"), SectionKey("node:node-b", "files")} <= set(keys)


def host_gw() -> World:
    """A cluster of two nodes that are each other's next hop."""
    world = cluster()
    notes = with_nodes(world.snapshot, backend_type="host-gw", backend_data="null")
    direct = NextHop(device="eth0", via="172.18.0.12")
    return World(_routed(notes, direct), world.names)


def _routed(snapshot: Snapshot, hop: NextHop) -> Snapshot:
    """The snapshot with another way from node-a to node-b's pods."""
    node = snapshot.namespaces["node-a"]
    assert isinstance(node.routes, Known)
    routes = tuple(
        replace(route, nexthops=(hop,)) if route.dst == "10.244.2.0/24" else route
        for route in node.routes.value
    )
    return snapshot.with_netns(replace(node, routes=Known(routes)))


def test_another_next_hop_is_wrong() -> None:
    """A route that leads to another host is the core's wrong-next-hop, with the owed one in its place."""
    world = host_gw()
    away = _routed(world.snapshot, NextHop(device="eth0", via="172.18.0.100"))
    found = diagnosed(World(away, world.names), "pod/client-near", "pod/hostnames-1")
    assert [f.cause for f in found.findings] == ["wrong-next-hop"]
    (change,) = found.findings[0].repairs[0].changes
    assert isinstance(change, RouteAdd)
    assert change.route.nexthops == (NextHop(device="eth0", via="172.18.0.12"),)


def test_a_peer_in_another_subnet_is_no_next_hop() -> None:
    """A public-ip in no network of the node is hostgw-no-l2, said with the route that stands, and advice."""
    world = host_gw()
    kube = world.snapshot.kube
    assert isinstance(kube.nodes, Known)
    near, far = kube.nodes.value
    far = replace(far, annotations={**far.annotations, f"{ANNOTATION}public-ip": "192.168.60.12"})
    apart = replace(world.snapshot, kube=replace(kube, nodes=Known((near, far))))
    forced = _routed(apart, NextHop(device="eth0", via="192.168.60.12", onlink=True))
    for snapshot, texts in (
        (forced, ["10.244.2.0/24 via 192.168.60.12 dev eth0 onlink"]),
        (_without_route(apart), []),
    ):
        found = diagnosed(World(snapshot, world.names), "pod/client-near", "pod/hostnames-1")
        assert [f.cause for f in found.findings] == ["hostgw-no-l2"]
        finding = found.findings[0]
        assert "192.168.60.12, the address of node-b" in finding.message
        assert [e.text for e in finding.evidence if "/routes/" in e.ref] == texts
        assert all(repair.safety is Safety.ADVICE for repair in finding.repairs)
    same_node = diagnosed(World(forced, world.names), "pod/client-near", "pod/hostnames-0")
    assert same_node.findings == ()


def _without_route(snapshot: Snapshot) -> Snapshot:
    node = snapshot.namespaces["node-a"]
    assert isinstance(node.routes, Known)
    left = tuple(route for route in node.routes.value if route.dst != "10.244.2.0/24")
    return snapshot.with_netns(replace(node, routes=Known(left)))
