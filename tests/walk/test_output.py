"""What a namespace sends: marks, sources, first and second routes."""

import pytest

from nettrace.model.routes import NextHop, PolicyRule
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, UDP_TO_SERVER, World, flow, one_path, router


def test_a_mark_of_output_routes_again() -> None:
    """mangle OUTPUT's mark picks another table, with the source of the first route."""
    world = router()
    client = world["client"]
    client.filter("-A OUTPUT -p tcp -j MARK --set-mark 5", table="mangle")
    client.rules.insert(1, PolicyRule(priority=9, table=7, fwmark=5))
    client.route("default", table=7, type="unreachable")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome, path.errno) == (Verdict.NO_ROUTE, Outcome.TIMEOUT, None)
    client.filter("-A OUTPUT -p udp -j MARK --set-mark 5", table="mangle")
    path = one_path(world, UDP_TO_SERVER)
    assert (path.outcome, path.errno) == (Outcome.UNREACHABLE, "EHOSTUNREACH")


def test_a_connected_socket_looks_twice() -> None:
    """A rule on the source sees the address that the first lookup chose; an echo request looks once."""
    world = router()
    world["client"].rules.insert(1, PolicyRule(priority=9, action="unreachable", src="10.1.0.2/32"))
    for asked in (TO_SERVER, UDP_TO_SERVER):
        path = one_path(world, asked)
        assert (path.verdict, path.errno) == (Verdict.NO_ROUTE, "ENETUNREACH")
    assert one_path(world, flow("client", "10.2.0.2", proto="icmp")).outcome is Outcome.CONNECTED


def test_a_namespace_without_an_address_towards_the_destination() -> None:
    """Where no address can be chosen the walk says so."""
    world = World()
    world.netns("x")
    world["x"].addresses.clear()
    world["x"].add_link("eth0", "veth")
    world["x"].route("10.0.0.0/8", "eth0")
    assert one_path(world, flow("x", "10.0.0.1", 80)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("device", [None, "gone"])
def test_a_damaged_route(device: str | None) -> None:
    """A route without a device, or with one that does not exist, is UNKNOWN at home and on the way."""
    for netns in ("client", "r"):
        world = router()
        world[netns].route("10.2.0.2/32", nexthops=(NextHop(device=device),))
        assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_lo_may_be_down() -> None:
    """An address of one's own cannot be reached while lo is down."""
    world = router()
    world["server"].change("lo", up=False)
    path = one_path(world, flow("server", "10.2.0.2", 80))
    assert (path.verdict, path.outcome, path.errno) == (
        Verdict.LINK_DOWN,
        Outcome.UNREACHABLE,
        "ENETUNREACH",
    )


def test_a_preferred_source() -> None:
    """A route's own source address is taken before any other."""
    world = router()
    world["client"].address("eth0", "10.1.0.9/24")
    world["client"].route("10.2.0.2/32", "eth0", "10.1.0.1", prefsrc="10.1.0.9")
    path = one_path(world, TO_SERVER)
    assert path.endpoint is not None
    assert path.endpoint.source == "10.1.0.9"


def test_an_address_of_another_device() -> None:
    """A device without an address sends with one of another device that is up."""
    world = router()
    client = world["client"]
    client.addresses = [a for a in client.addresses if a.device == "lo"]
    client.add_link("down0", "dummy", up=False)
    client.address("down0", "10.8.0.2/32")
    client.add_link("dummy0", "dummy")
    client.address("dummy0", "10.1.0.2/32")
    path = one_path(world, TO_SERVER)
    assert path.request.steps[0].before is not None
    assert path.request.steps[0].before.src == "10.1.0.2"
