"""Choosing a route: policy rules, longest prefix, metrics, several next hops."""

from typing import Any

import pytest

from nettrace.model.routes import NextHop, PolicyRule
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.walk.context import Run, Undecided
from nettrace.walk.limits import Limits
from nettrace.walk.namespace import namespace
from nettrace.walk.routing import Failed, FlowKey, Found, address_type, lookup
from tests.walk.worlds import Space, World, flow, one_path, router, walked


def one_space() -> World:
    """A namespace with two devices, eth0 10.1.0.2/24 and eth1 10.2.0.2/24."""
    world = World()
    world.netns("x")
    world["x"].add_link("eth0", "veth")
    world["x"].add_link("eth1", "veth")
    world["x"].address("eth0", "10.1.0.2/24")
    world["x"].address("eth1", "10.2.0.2/24")
    return world


def asked(world: World, **key: Any) -> Found | Failed:
    """Look a key up in namespace x."""
    run = Run(snapshot=world.snapshot(), flow=flow("x", "10.0.0.1", 80), limits=Limits())
    return lookup(run, namespace(run, "x"), FlowKey(**key))


def device(found: Found | Failed) -> str | None:
    """Where a lookup leads."""
    assert isinstance(found, Found), found
    return found.hop.device if found.hop is not None else None


def errno(found: Found | Failed) -> str:
    """Why a lookup fails."""
    assert isinstance(found, Failed), found
    return found.errno


def test_the_longest_prefix_wins() -> None:
    """A /32 beats a /24, and both beat the default route."""
    world = one_space()
    x = world["x"]
    x.route("default", "eth0", "10.1.0.1")
    x.route("10.1.0.9/32", "eth1", "10.2.0.1")
    assert device(asked(world, dst="10.1.0.9")) == "eth1"
    assert device(asked(world, dst="10.1.0.8")) == "eth0"
    assert device(asked(world, dst="8.8.8.8")) == "eth0"


def test_the_lower_metric_wins() -> None:
    """Of two routes to one prefix the one with the lower metric is taken, whatever their order."""
    world = one_space()
    world["x"].route("default", "eth0", "10.1.0.1", metric=200)
    world["x"].route("default", "eth1", "10.2.0.1", metric=100)
    assert device(asked(world, dst="8.8.8.8")) == "eth1"


def test_a_route_of_another_tos_is_passed_over() -> None:
    """A route with a TOS is for packets of that TOS only."""
    world = one_space()
    world["x"].route("default", "eth0", "10.1.0.1")
    world["x"].route("default", "eth1", "10.2.0.1", tos=16)
    assert device(asked(world, dst="8.8.8.8")) == "eth0"
    assert device(asked(world, dst="8.8.8.8", tos=16)) == "eth1"


def test_the_local_table_comes_first() -> None:
    """An address of this host is local even if main has a route for it."""
    world = one_space()
    world["x"].route("10.1.0.2/32", "eth1", "10.2.0.1")
    found = asked(world, dst="10.1.0.2")
    assert isinstance(found, Found)
    assert found.route.type == "local"


def test_a_dead_next_hop_leads_to_the_shorter_prefix() -> None:
    """A route whose device is down is as good as none."""
    world = one_space()
    world["x"].route("default", "eth0", "10.1.0.1")
    world["x"].route("9.0.0.0/8", "eth1", "10.2.0.1")
    assert device(asked(world, dst="9.9.9.9")) == "eth1"
    world["x"].change("eth1", up=False)
    assert device(asked(world, dst="9.9.9.9")) == "eth0"


def test_a_lost_carrier_alone_does_not_kill_a_route() -> None:
    """A next hop without carrier is used unless ignore_routes_with_linkdown is set."""
    world = one_space()
    x = world["x"]
    hop = NextHop(device="eth1", via="10.2.0.1", dead=True)
    x.route("9.0.0.0/8", nexthops=(hop,))
    x.change("eth1", carrier=False)
    assert device(asked(world, dst="9.9.9.9")) == "eth1"
    x.conf("eth1", ignore_routes_with_linkdown=1)
    assert errno(asked(world, dst="9.9.9.9")) == "ENETUNREACH"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("unreachable", "EHOSTUNREACH"), ("prohibit", "EACCES"), ("blackhole", "EINVAL")],
)
def test_routes_that_refuse(kind: str, expected: str) -> None:
    """Each kind of refusing route has the errno that the kernel's fib_props gives it."""
    world = one_space()
    world["x"].route("9.0.0.0/8", type=kind)
    assert errno(asked(world, dst="9.9.9.9")) == expected


def test_a_throw_route_goes_on_with_the_next_rule() -> None:
    """``throw`` ends the table, not the lookup."""
    world = one_space()
    x = world["x"]
    x.rules.insert(1, PolicyRule(priority=100, table=7))
    x.route("9.0.0.0/8", type="throw", table=7)
    x.route("default", "eth1", "10.2.0.1", table=7)
    x.route("default", "eth0", "10.1.0.1")
    assert device(asked(world, dst="9.9.9.9")) == "eth0"
    assert device(asked(world, dst="8.8.8.8")) == "eth1"


def rules(*found: PolicyRule) -> World:
    """A world with extra policy rules; main leads to eth0, table 7 to eth1."""
    world = one_space()
    world["x"].rules[1:1] = found
    world["x"].route("default", "eth0", "10.1.0.1")
    world["x"].route("default", "eth1", "10.2.0.1", table=7)
    return world


@pytest.mark.parametrize(
    ("rule", "key", "taken"),
    [
        (PolicyRule(priority=9, table=7, src="10.1.0.0/24"), {"src": "10.1.0.2"}, "eth1"),
        (PolicyRule(priority=9, table=7, src="10.1.0.0/24"), {"src": "10.2.0.2"}, "eth0"),
        (PolicyRule(priority=9, table=7, src="10.1.0.0/24"), {}, "eth0"),
        (PolicyRule(priority=9, table=7, src="10.1.0.0/24", invert=True), {"src": "10.2.0.2"}, "eth1"),
        (PolicyRule(priority=9, table=7, dst="9.0.0.0/8"), {}, "eth1"),
        (PolicyRule(priority=9, table=7, iif="eth0"), {"iif": "eth0"}, "eth1"),
        (PolicyRule(priority=9, table=7, iif="eth0"), {}, "eth0"),
        (PolicyRule(priority=9, table=7, iif="lo"), {}, "eth1"),
        (PolicyRule(priority=9, table=7, oif="eth1"), {"oif": "eth1"}, "eth1"),
        (PolicyRule(priority=9, table=7, oif="eth1"), {}, "eth0"),
        (PolicyRule(priority=9, table=7, fwmark=0x10, fwmask=0xF0), {"mark": 0x1F}, "eth1"),
        (PolicyRule(priority=9, table=7, fwmark=0x10, fwmask=0xF0), {"mark": 0x2F}, "eth0"),
        (PolicyRule(priority=9, table=7, tos=16), {"tos": 16}, "eth1"),
        (PolicyRule(priority=9, table=7, ipproto="udp"), {"proto": "udp"}, "eth1"),
        (PolicyRule(priority=9, table=7, ipproto="udp"), {"proto": "tcp"}, "eth0"),
        (PolicyRule(priority=9, table=7, suppress_prefixlen=0), {}, "eth0"),
        (PolicyRule(priority=9, action="nop"), {}, "eth0"),
    ],
)
def test_selectors_of_policy_rules(rule: PolicyRule, key: dict[str, Any], taken: str) -> None:
    """Each selector is tested as fib4_rule_match does."""
    assert device(asked(rules(rule), dst="9.9.9.9", **key)) == taken


def test_goto_skips_rules() -> None:
    """``goto`` goes on at the rule it names."""
    world = rules(
        PolicyRule(priority=9, action="goto", goto=32766),
        PolicyRule(priority=10, table=7),
    )
    assert device(asked(world, dst="9.9.9.9")) == "eth0"


@pytest.mark.parametrize(
    ("action", "expected"),
    [("unreachable", "ENETUNREACH"), ("prohibit", "EACCES"), ("blackhole", "EINVAL")],
)
def test_rules_that_refuse(action: str, expected: str) -> None:
    """A refusing policy rule has other errnos than a route of that name."""
    assert errno(asked(rules(PolicyRule(priority=9, action=action)), dst="9.9.9.9")) == expected


def test_a_selector_that_is_not_understood_decides_nothing() -> None:
    """A rule with an unknown selector is undecided where it would be reached, and only there."""
    world = rules(PolicyRule(priority=9, table=7, dst="9.0.0.0/8", unknown=("uidrange",)))
    with pytest.raises(Undecided, match="uidrange"):
        asked(world, dst="9.9.9.9")
    assert device(asked(world, dst="8.8.8.8")) == "eth0"


def test_a_rule_that_splits_the_source_ports() -> None:
    """A rule on source ports is undecided while the kernel may choose inside and outside of it."""
    world = router()
    world["client"].rules.insert(1, PolicyRule(priority=9, action="blackhole", sport=(40000, 50000)))
    assert one_path(world, flow("client", "10.2.0.2", 80)).outcome is Outcome.UNKNOWN
    assert one_path(world, flow("client", "10.2.0.2", 80, sport=33333)).outcome is Outcome.CONNECTED
    assert one_path(world, flow("client", "10.2.0.2", 80, sport=44444)).verdict is Verdict.BLACKHOLED


def test_several_next_hops_draw_lots_by_weight() -> None:
    """A multipath route gives one branch for each next hop, with its weight's share, in both directions."""
    world = router()
    hops = (
        NextHop(device="eth0", via="10.1.0.1", weight=3),
        NextHop(device="eth0", via="10.1.0.77", weight=1),
    )
    world["client"].routes = [r for r in world["client"].routes if r.dst != "0.0.0.0/0"]
    world["client"].route("default", nexthops=hops)
    paths = walked(world, flow("client", "10.2.0.2", 80)).paths
    assert [(path.probability, path.outcome) for path in paths] == [
        (0.75, Outcome.CONNECTED),
        (0.25, Outcome.UNREACHABLE),
    ]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("10.1.0.2", "LOCAL"),
        ("10.1.0.255", "BROADCAST"),
        ("255.255.255.255", "BROADCAST"),
        ("0.1.2.3", "BROADCAST"),
        ("224.0.0.1", "MULTICAST"),
        ("127.3.4.5", "LOCAL"),
        ("10.1.0.9", "UNICAST"),
    ],
)
def test_address_types(address: str, kind: str) -> None:
    """An address's type comes from the local table alone."""
    run = Run(snapshot=one_space().snapshot(), flow=flow("x", "10.0.0.1", 80), limits=Limits())
    assert address_type(run, namespace(run, "x"), address) == kind


def test_an_address_type_of_one_device() -> None:
    """Narrowed to a device, an address of another one is not local."""
    run = Run(snapshot=one_space().snapshot(), flow=flow("x", "10.0.0.1", 80), limits=Limits())
    assert address_type(run, namespace(run, "x"), "10.1.0.2", "eth0") == "LOCAL"
    assert address_type(run, namespace(run, "x"), "10.1.0.2", "eth1") == "UNICAST"


def test_a_space_has_what_the_kernel_adds() -> None:
    """The builder of worlds gives an address its local, connected and broadcast routes."""
    space = Space("x", "x", "other")
    space.add_link("eth0", "veth")
    space.address("eth0", "10.1.2.3/20")
    assert [(r.dst, r.table, r.type) for r in space.routes[2:]] == [
        ("10.1.2.3/32", 255, "local"),
        ("10.1.0.0/20", 254, "unicast"),
        ("10.1.15.255/32", 255, "broadcast"),
    ]


def test_rules_see_only_the_old_bits_of_tos() -> None:
    """An error's precedence, and congestion bits, are no part of what a rule's tos is held against."""
    world = router()
    world["client"].rules = [PolicyRule(priority=10, action="blackhole", tos=0x10), *world["client"].rules]
    for tos, verdict in ((0x10, Verdict.BLACKHOLED), (0xD0, Verdict.BLACKHOLED), (0x08, Verdict.DELIVERED)):
        assert one_path(world, flow("client", "10.2.0.2", 80, tos=tos)).verdict is verdict
