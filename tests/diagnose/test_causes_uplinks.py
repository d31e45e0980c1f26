"""Causes of a node with two uplinks: an answer that leaves by the other one, and who filters it."""

from typing import Any

from msgspec.structs import replace

from nettrace.model.change import RouteAdd
from nettrace.model.finding import Safety
from nettrace.model.links import Address, Link, Peer
from nettrace.model.routes import TABLE_LOCAL, NextHop, PolicyRule, Route
from nettrace.model.section import Known
from tests.diagnose.asking import candidates, context, diagnosed, first
from tests.diagnose.guided import with_section
from tests.diagnose.worlds import World, cluster

SECOND, CLIENT = "192.0.2.11", "198.51.100.7"
TARGET = f"{SECOND}:30080"


def _more(world: World, netns: str, **sections: tuple[Any, ...]) -> World:
    """The world with more in some sections of a namespace."""
    for name, items in sections.items():
        section = getattr(world.snapshot.namespaces[netns], name)
        assert isinstance(section, Known)
        world = with_section(world, netns, name, Known((*section.value, *items)))
    return world


def _local(address: str, device: str) -> Route:
    return Route(
        dst=f"{address}/32",
        table=TABLE_LOCAL,
        type="local",
        nexthops=(NextHop(device=device),),
        prefsrc=address,
        scope="host",
        protocol="kernel",
    )


def two_uplinks(*, ruled: bool = True) -> World:
    """node-a has a second uplink to the outside; the client's address is known to nobody on the first."""
    world = cluster()
    for netns, other, mac in (("node-a", "internet", "11"), ("internet", "node-a", "12")):
        link = Link(index=90, name="eth1", kind="veth", mac=f"02:00:00:00:90:{mac}", peer=Peer(other, 90))
        world = _more(world, netns, links=(link,))
        section = world.snapshot.namespaces[netns].sysctls
        assert isinstance(section, Known)
        on = section.value["net.ipv4.ip_forward"]
        more = {"net.ipv4.conf.eth1.forwarding": on, "net.ipv4.conf.eth1.rp_filter": "0"}
        world = with_section(world, netns, "sysctls", Known({**section.value, **more}))
    own = Address(device="eth1", address=SECOND, prefixlen=24)
    net = Route(dst="192.0.2.0/24", nexthops=(NextHop(device="eth1"),), prefsrc=SECOND, scope="link")
    world = _more(world, "node-a", addresses=(own,), routes=(net, _local(SECOND, "eth1")))
    if ruled:
        rules = world.snapshot.namespaces["node-a"].rules
        assert isinstance(rules, Known)
        rule = PolicyRule(priority=100, src=f"{SECOND}/32", table=100)
        world = with_section(world, "node-a", "rules", Known((rules.value[0], rule, *rules.value[1:])))
        back = Route(dst="0.0.0.0/0", table=100, nexthops=(NextHop(device="eth1", via="192.0.2.1"),))
        world = _more(world, "node-a", routes=(back,))
    there = (
        Address(device="eth1", address="192.0.2.1", prefixlen=24),
        Address(device="lo", address=CLIENT, prefixlen=32),
    )
    way = Route(dst=f"{SECOND}/32", nexthops=(NextHop(device="eth1"),), prefsrc=CLIENT)
    return _more(
        world,
        "internet",
        addresses=there,
        routes=(way, _local("192.0.2.1", "eth1"), _local(CLIENT, "lo")),
    )


def test_the_answer_is_sent_where_the_call_came_from() -> None:
    """The route of the address' own table is taken for this client, and the finding says for whom it is."""
    found = diagnosed(two_uplinks(), "internet", TARGET)
    finding = first(found)
    assert finding.cause == "published-secondary-iface-asym"
    (repair, *_) = finding.repairs
    (change,) = repair.changes
    assert isinstance(change, RouteAdd)
    hop = NextHop(device="eth1", via="192.0.2.1")
    assert (change.netns, change.route.dst, change.route.nexthops) == ("node-a", f"{CLIENT}/32", (hop,))
    assert "fwmark MARK lookup 100" in repair.lasting
    refs = [piece.ref for piece in finding.evidence]
    assert refs[2:] == ["node-a/rules", "node-a/routes/100/0.0.0.0/0"]
    assert diagnosed(two_uplinks().edited(change), "internet", TARGET).met


def test_without_a_way_by_that_device_none_is_invented() -> None:
    """With no route by the second uplink that leads to the client there is only advice."""
    (made,) = candidates(
        "published-secondary-iface-asym", context(two_uplinks(ruled=False), "internet", TARGET)
    )
    assert (made.changes, made.safety) == ((), Safety.ADVICE)


def test_what_is_answered_by_the_same_uplink_is_silent() -> None:
    """An answer that is lost by the uplink of the request, or on its way there, is somebody else's."""
    world, first_uplink = two_uplinks(), "node/node-a:30080"
    lost = Route(dst="172.18.0.100/32", type="blackhole")
    broken = world.edited(RouteAdd(netns="node-a", route=lost))
    assert not diagnosed(broken, "internet", first_uplink).met
    for one in (world, broken):
        assert candidates("published-secondary-iface-asym", context(one, "internet", first_uplink)) == []


def test_who_filters_it_elsewhere_is_right() -> None:
    """A router that drops the answer, because that address is not behind it, is not made less strict."""
    world = two_uplinks()
    wire = world.snapshot.namespaces["wire"]
    assert isinstance(wire.routes, Known)
    assert isinstance(wire.sysctls, Known)
    strict = {**wire.sysctls.value, "net.ipv4.conf.br0.rp_filter": "1"}
    world = with_section(world, "wire", "sysctls", Known(strict))
    known = Route(dst=f"{CLIENT}/32", nexthops=(NextHop(device="br0", via="172.18.0.100"),))
    world = _more(
        world, "wire", routes=(known, replace(known, dst="192.0.2.0/24", type="blackhole", nexthops=()))
    )
    found = diagnosed(world, "internet", TARGET)
    assert [finding.cause for finding in found.findings] == ["published-secondary-iface-asym"]
    assert candidates("rp-filter-strict", context(world, "internet", TARGET)) == []
