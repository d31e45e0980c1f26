"""Causes about devices, ports, neighbours and routes: found where they are, silent elsewhere."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from nettrace.model.change import AddressAdd, Change, LinkSet, RouteAdd, RouteDelete, SysctlSet
from nettrace.model.finding import Safety
from nettrace.model.links import Address, FdbEntry, Link, Neighbour
from nettrace.model.routes import NextHop, PolicyRule, Route
from nettrace.model.section import Known
from tests.diagnose.asking import candidates, context, diagnosed
from tests.diagnose.faults import FAULTS
from tests.diagnose.guided import DENIED, with_kube, with_section
from tests.diagnose.worlds import World, cluster

CLIENT, OWN, OTHER, SERVICE = "pod/client-near", "pod/hostnames-0", "pod/hostnames-1", "svc/hostnames"


def linked(netns: str, device: str, attribute: str, value: str) -> Callable[[], World]:
    """The cluster with one device set so."""
    return lambda: cluster().edited(LinkSet(netns=netns, device=device, attribute=attribute, value=value))


def port(device: str, **fields: Any) -> Callable[[], World]:
    """The cluster with one port of node-a's bridge as given."""

    def made() -> World:
        links = cluster().snapshot.namespaces["node-a"].links
        assert isinstance(links, Known)
        changed = tuple(
            replace(one, port=replace(one.port, **fields))
            if one.name == device and one.port is not None
            else one
            for one in links.value
        )
        return with_section(cluster(), "node-a", "links", Known(changed))

    return made


def isolated() -> World:
    """Two ports that are isolated from each other."""
    links = cluster().snapshot.namespaces["node-a"].links
    assert isinstance(links, Known)
    changed = tuple(
        replace(one, port=replace(one.port, isolated=True))
        if one.name in ("veth00", "veth01") and one.port is not None
        else one
        for one in links.value
    )
    return with_section(cluster(), "node-a", "links", Known(changed))


def route_of(netns: str, dst: str) -> Route:
    """A route of the main table."""
    routes = cluster().snapshot.namespaces[netns].routes
    assert isinstance(routes, Known)
    found: Route = next(route for route in routes.value if route.dst == dst and route.table == 254)
    return found


def no_default(netns: str) -> Callable[[], World]:
    """The default route is gone."""
    return lambda: cluster().edited(RouteDelete(netns=netns, route=route_of(netns, "0.0.0.0/0")))


def wrong_gateway() -> World:
    """A pod whose gateway is nobody."""
    old = route_of("client-near", "0.0.0.0/0")
    new = replace(old, nexthops=(NextHop(device="eth0", via="10.244.1.250"),))
    return cluster().edited(RouteAdd(netns="client-near", route=new, replaces=old))


def peer_route(**fields: Any) -> Callable[[], World]:
    """The route to the other node's pods, changed."""
    old = route_of("node-a", "10.244.2.0/24")
    return lambda: cluster().edited(RouteAdd(netns="node-a", route=replace(old, **fields), replaces=old))


def neighbour(**fields: Any) -> Callable[[], World]:
    """A neighbour entry of node-a for a pod."""
    entry = replace(
        Neighbour(device="cni0", address="10.244.1.11", mac="02:de:ad:00:00:01", state="permanent"), **fields
    )

    def made() -> World:
        own = cluster().snapshot.namespaces["node-a"].neighbours
        assert isinstance(own, Known)
        return with_section(cluster(), "node-a", "neighbours", Known((*own.value, entry)))

    return made


def mac_of(netns: str) -> str:
    """The MAC address of a namespace's eth0."""
    links = cluster().snapshot.namespaces[netns].links
    assert isinstance(links, Known)
    return next(link.mac for link in links.value if link.name == "eth0")


def hijacked() -> World:
    """A rule before main's that looks everything up in a table with a default route of its own."""
    own = cluster().snapshot.namespaces["node-a"]
    assert isinstance(own.rules, Known)
    assert isinstance(own.routes, Known)
    rule = PolicyRule(priority=5270, table=52)
    hop = (NextHop(device="eth0", via="172.18.0.1"),)
    route = Route(dst="0.0.0.0/0", table=52, nexthops=hop)
    rules = sorted((*own.rules.value, rule), key=lambda one: one.priority)
    world = with_section(cluster(), "node-a", "rules", Known(tuple(rules)))
    return with_section(world, "node-a", "routes", Known((*own.routes.value, route)))


def overlapping(*, known: bool = True) -> Callable[[], World]:
    """The bridge is in a part of the network that the node is in; *known*: the hidden host was read."""
    hiding = Address(device="cni0", address="172.18.0.97", prefixlen=28)

    def made() -> World:
        world = cluster().edited(AddressAdd(netns="node-a", address=hiding))
        return world if known else with_section(world, "internet", "addresses", DENIED)

    return made


class Broken(NamedTuple):
    """A world, the flow that suffers, and whether a repair is offered."""

    cause: str
    world: Callable[[], World]
    source: str
    target: str
    offered: bool = True


BROKEN = (
    Broken("veth-host-down", linked("node-a", "veth01", "up", "off"), CLIENT, OWN),
    Broken("bridge-down", linked("node-a", "cni0", "up", "off"), CLIENT, OTHER),
    Broken("veth-detached", linked("node-a", "veth01", "master", ""), CLIENT, OWN),
    Broken("bridge-port-disabled", port("veth01", state=0), CLIENT, OWN),
    Broken("bridge-port-disabled", port("veth01", state=1), CLIENT, OWN),
    Broken("bridge-port-isolated", isolated, CLIENT, OWN),
    Broken("duplicate-mac", linked("client-near", "eth0", "address", mac_of("hostnames-0")), CLIENT, OWN),
    Broken("pod-default-route-missing", no_default("client-near"), CLIENT, OTHER),
    Broken("pod-default-route-missing", wrong_gateway, CLIENT, OTHER),
    Broken(
        "iface-forwarding-off",
        lambda: cluster().edited(SysctlSet(netns="node-a", name="net.ipv4.conf.cni0.forwarding", value="0")),
        CLIENT,
        OTHER,
    ),
    Broken("stale-permanent-neigh", neighbour(), "node/node-a", OWN),
    Broken("reject-route", peer_route(type="unreachable", nexthops=()), CLIENT, OTHER),
    Broken("reject-route", peer_route(type="blackhole", nexthops=()), CLIENT, OTHER),
    Broken(
        "wrong-next-hop",
        peer_route(nexthops=(NextHop(device="eth0", via="172.18.0.1"),)),
        CLIENT,
        OTHER,
    ),
    Broken("podcidr-overlaps-host-net", overlapping(), "node/node-a", "172.18.0.100:80"),
    Broken("policy-rule-hijack", hijacked, CLIENT, OTHER, offered=False),
    Broken("node-no-default-route", no_default("node-a"), "node/node-a", SERVICE, offered=False),
)
NAMES = sorted({one.cause for one in BROKEN})


@pytest.mark.parametrize("one", BROKEN, ids=lambda one: one.cause)
def test_each_is_found_where_it_is(one: Broken) -> None:
    """The first finding is the cause, with evidence; a repair is offered where the state says which."""
    found = diagnosed(one.world(), one.source, one.target)
    assert [finding.cause for finding in found.findings][:1] == [one.cause], found
    first = found.findings[0]
    assert all(piece.text for piece in first.evidence)
    assert any(piece.ref for piece in first.evidence)
    assert bool(first.repairs and first.repairs[0].changes) is one.offered


def known(world: World, change: Change) -> bool:
    """Does the state have what a change is about?"""
    netns = world.snapshot.namespaces[change.netns]
    links = netns.links.value if isinstance(netns.links, Known) else ()
    match change:
        case LinkSet(device=device, value=value, attribute=attribute):
            names = {link.name for link in links}
            return device in names and (attribute != "master" or value in names)
        case SysctlSet(name=name):
            return isinstance(netns.sysctls, Known) and name in netns.sysctls.value
        case RouteAdd(route=route):
            return all(hop.device in {link.name for link in links} for hop in route.nexthops)
    return True


@pytest.mark.parametrize("one", BROKEN, ids=lambda one: one.cause)
def test_changes_are_of_what_is_there(one: Broken) -> None:
    """No change names a device, a bridge or a switch that the snapshot does not have."""
    world = one.world()
    given = context(world, one.source, one.target)
    changes = [change for found in candidates(one.cause, given) for change in found.changes]
    assert bool(changes) is one.offered
    assert all(known(world, change) for change in changes)


@pytest.mark.parametrize("cause", NAMES)
@pytest.mark.parametrize("flow", [(CLIENT, OWN), (CLIENT, SERVICE), ("node/node-a", SERVICE)])
def test_each_is_silent_in_a_healthy_world(cause: str, flow: tuple[str, str]) -> None:
    """Nothing is proposed where nothing is wrong."""
    assert candidates(cause, context(cluster(), *flow)) == []


@pytest.mark.parametrize("one", BROKEN, ids=lambda one: one.cause)
def test_no_other_is_found_beside_it(one: Broken) -> None:
    """None of the other causes of devices and routes is among the findings."""
    found = diagnosed(one.world(), one.source, one.target)
    assert {finding.cause for finding in found.findings} & set(NAMES) == {one.cause}


@pytest.mark.parametrize("fault", ["ip-forward-off", "service-jump-missing", "hairpin-off"])
def test_none_is_found_where_something_else_is_wrong(fault: str) -> None:
    """In the worlds of other causes none of these is a finding."""
    broken = FAULTS[fault]
    world = cluster()
    found = diagnosed(world.edited(*broken.breaks(world)), broken.source(world), broken.target(world))
    assert found.findings
    assert not {finding.cause for finding in found.findings} & set(NAMES)


# --- what each does not say -----------------------------------------------------------------


def test_a_device_of_another_kind_is_no_veth() -> None:
    """A bridge that is down is not called a veth, and the other way round."""
    down = linked("node-a", "cni0", "up", "off")()
    assert candidates("veth-host-down", context(down, CLIENT, OTHER)) == []
    veth = linked("node-a", "veth01", "up", "off")()
    assert candidates("bridge-down", context(veth, CLIENT, OWN)) == []
    assert candidates("bridge-port-disabled", context(veth, CLIENT, OWN)) == []


def test_a_veth_with_a_use_of_its_own_is_not_detached() -> None:
    """A veth outside the bridge that a route leads to is meant to be there."""
    world = linked("node-a", "veth01", "master", "")()
    routes = world.snapshot.namespaces["node-a"].routes
    assert isinstance(routes, Known)
    own = Route(dst="10.244.1.11/32", nexthops=(NextHop(device="veth01"),))
    routed = with_section(world, "node-a", "routes", Known((*routes.value, own)))
    assert candidates("veth-detached", context(routed, CLIENT, OWN)) == []


def test_a_veth_is_put_into_no_bridge_that_cannot_be_told() -> None:
    """With the other pods in two bridges nobody knows which it was."""
    world = linked("node-a", "veth01", "master", "")()
    links = world.snapshot.namespaces["node-a"].links
    assert isinstance(links, Known)
    second: tuple[Link, ...] = tuple(
        replace(one, master="cni1") if one.name == "veth02" else one for one in links.value
    )
    more = (*second, Link(index=77, name="cni1", kind="bridge", mac="02:00:00:00:77:77"))
    split = with_section(world, "node-a", "links", Known(more))
    assert candidates("veth-detached", context(split, CLIENT, OWN)) == []


def test_a_veth_gets_hairpin_back_where_the_others_have_it() -> None:
    """What the siblings have in common is set with the bridge."""
    found = candidates("veth-detached", context(linked("node-a", "veth01", "master", "")(), CLIENT, OWN))
    changes = [(change.attribute, change.value) for change in found[0].changes]
    assert changes == [("master", "cni0"), ("hairpin", "on")]
    assert found[0].safety is Safety.GUARDED


@pytest.mark.parametrize("known", [True, False])
def test_a_hidden_host_is_reached_by_a_route_of_its_own(known: bool) -> None:
    """The way that the node would take without its bridge, for this host alone, whoever was read."""
    given = context(overlapping(known=known)(), "node/node-a", "172.18.0.100:80")
    (found,) = candidates("podcidr-overlaps-host-net", given)
    (change,) = found.changes
    assert (change.route.dst, change.route.nexthops[0].device) == ("172.18.0.100/32", "eth0")
    assert "172.18.0.96/28 overlaps 172.18.0.0/24" in found.message


def test_a_pod_that_is_gone_hides_nobody() -> None:
    """An address of the pods' own network that nobody has is no host of another one."""
    given = context(cluster(), "node/node-a", "10.244.1.99:80")
    assert given.failures
    assert candidates("podcidr-overlaps-host-net", given) == []


def test_a_pod_without_siblings_gets_no_route() -> None:
    """No gateway is invented where no other pod of the network shows one."""
    world = no_default("client-near")()
    for netns, space in cluster().snapshot.namespaces.items():
        if space.role == "pod" and netns != "client-near":
            world = with_section(world, netns, "routes", DENIED)
    assert candidates("pod-default-route-missing", context(world, CLIENT, OTHER)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "reachable"},
        {"mac": None},
        {"address": "10.244.1.99"},
    ],
)
def test_only_permanent_entries_of_known_holders_are_stale(fields: dict[str, Any]) -> None:
    """What the kernel learned itself, what is no address of anybody, what has no MAC: none is judged."""
    given = context(neighbour(**fields)(), "node/node-a", OWN)
    assert candidates("stale-permanent-neigh", given) == []


def test_an_entry_that_is_owed_or_right_is_not_stale() -> None:
    """The entries that the tunnel's agent owes are permanent by design."""
    assert candidates("stale-permanent-neigh", context(cluster(), CLIENT, OTHER)) == []


def test_without_the_switch_of_the_whole_no_device_is_blamed() -> None:
    """A node that does not forward at all has another cause; a pod is never made a router."""
    world = cluster().edited(
        SysctlSet(netns="node-a", name="net.ipv4.ip_forward", value="0"),
        SysctlSet(netns="node-a", name="net.ipv4.conf.cni0.forwarding", value="0"),
    )
    assert candidates("iface-forwarding-off", context(world, CLIENT, OTHER)) == []


def test_only_what_is_translated_makes_a_route_of_the_node_matter() -> None:
    """No route to a pod, or to an address of no known Service, is not this cause."""
    world = cluster().edited(
        RouteDelete(netns="node-a", route=route_of("node-a", "0.0.0.0/0")),
        RouteDelete(netns="node-a", route=route_of("node-a", "10.244.2.0/24")),
    )
    assert candidates("node-no-default-route", context(world, "node/node-a", OTHER)) == []
    assert candidates("node-no-default-route", context(world, CLIENT, SERVICE)) == []
    blind = with_kube(no_default("node-a")(), services=DENIED)
    assert candidates("node-no-default-route", context(blind, "node/node-a", "10.96.10.1:80")) == []


def test_rules_that_were_not_read_hijack_nothing() -> None:
    """A rule is named from the rules alone."""
    given = context(hijacked(), CLIENT, OTHER)
    blind = with_section(hijacked(), "node-a", "rules", DENIED)
    assert candidates("policy-rule-hijack", given)
    assert candidates("policy-rule-hijack", replace(given, snapshot=blind.snapshot)) == []


def test_the_address_is_kept_where_the_bridge_knows_it() -> None:
    """The other one gets an address that is made of its own, and announces it where it did not."""
    twin = linked("client-near", "eth0", "address", mac_of("hostnames-0"))()
    for port_name, other, address in (
        ("veth00", "hostnames-0", "0a:58:0a:f4:01:0b"),
        ("veth01", "client-near", "0a:58:0a:f4:01:0a"),
    ):
        learned = FdbEntry(device=port_name, mac=mac_of("hostnames-0"), master="cni0")
        world = with_section(twin, "node-a", "fdb", Known((learned,)))
        (silent,) = candidates("duplicate-mac", context(world, CLIENT, OWN))
        change = LinkSet(netns=other, device="eth0", attribute="address", value=address)
        assert silent.changes == (change,), "whether it announces was not read"
        notify = "net.ipv4.conf.eth0.arp_notify"
        sysctls = world.snapshot.namespaces[other].sysctls
        assert isinstance(sysctls, Known)
        known_off = with_section(world, other, "sysctls", Known({**sysctls.value, notify: "0"}))
        (found,) = candidates("duplicate-mac", context(known_off, CLIENT, OWN))
        assert found.changes == (SysctlSet(netns=other, name=notify, value="1"), change)
        assert found.safety is Safety.GUARDED


def test_a_machine_s_address_is_not_changed() -> None:
    """Two nodes with one MAC address are told, and left to whoever made them."""
    world = linked("node-b", "eth0", "address", mac_of("node-a"))()
    (found,) = candidates("duplicate-mac", context(world, CLIENT, OTHER))
    assert (found.safety, found.where) == (Safety.ADVICE, "wire")
