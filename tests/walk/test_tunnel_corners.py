"""Tunnels that are damaged, carry themselves, or are somebody else's."""

import pytest
from msgspec.structs import replace

from nettrace.model.routes import Route
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, World, flow, one_path, router, walked


def tunnel() -> World:
    """a 192.168.0.1 with a VXLAN to b 192.168.0.2."""
    world = World()
    for number, name in ((1, "a"), (2, "b")):
        world.netns(name)
        if number == 2:
            world.veth("a", "eth0", "b", "eth0")
    for number, name in ((1, "a"), (2, "b")):
        world[name].address("eth0", f"192.168.0.{number}/24")
        world.vxlan(name, "vx", f"192.168.0.{number}")
        world[name].address("vx", f"10.5.0.{number}/24")
    for name, other in (("a", 2), ("b", 1)):
        mac = world.mac("ab"[other - 1], "vx")
        world[name].neighbour("vx", f"10.5.0.{other}", mac)
        world[name].bridge_fdb("vx", mac, f"192.168.0.{other}")
    world["b"].listen(80)
    return world


ACROSS = flow("a", "10.5.0.2", 80)


def test_corners_of_tunnels() -> None:
    """A tunnel to itself, one without attributes, a program at its port, a MAC that comes back."""
    assert one_path(tunnel(), ACROSS).outcome is Outcome.CONNECTED
    world = tunnel()
    world["a"].fdb = [replace(world["a"].fdb[0], dst="192.168.0.1")]
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world = tunnel()
    world["a"].change("vx", vxlan=None)
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world = tunnel()
    world["b"].change("vx", up=False)
    world["b"].listen(8472, "udp")
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world = tunnel()
    world["b"].change("vx", mac=world.mac("a", "vx"))
    assert one_path(world, ACROSS).verdict is Verdict.LOOP


def test_an_entry_bound_to_a_device() -> None:
    """A far end with a device of its own is sent to by it, whatever the routes say; no other is."""
    world = tunnel()
    world["a"].routes = [r for r in world["a"].routes if r.dst != "192.168.0.0/24"]
    assert one_path(world, ACROSS).verdict is Verdict.NO_ROUTE
    world["a"].fdb = [replace(entry, via="eth0") for entry in world["a"].fdb]
    assert one_path(world, ACROSS).outcome is Outcome.CONNECTED


def test_a_tunnel_that_carries_its_own_packets() -> None:
    """The tunnel's packets that are led into the tunnel are lost, and the walk ends."""
    world = tunnel()
    world["a"].nat("-A OUTPUT -p udp -m udp --dport 8472 -j DNAT --to-destination 10.5.0.2")
    path = one_path(world, ACROSS)
    assert path.verdict is Verdict.LOOP
    assert "carries its own packets" in path.reason


def test_somebody_else_s_tunnel_packet() -> None:
    """A packet to a VXLAN port that no tunnel of the walk made is UNKNOWN."""
    path = one_path(tunnel(), flow("a", "192.168.0.2", 8472, "udp"))
    assert path.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("wanted", [Route(dst="fd00::/64", table=254), Route(dst="10.9.0.0/16", table=99)])
def test_other_routes_do_not_matter(wanted: Route) -> None:
    """IPv6 routes and tables that no rule names change nothing."""
    world = router()
    before = walked(world, TO_SERVER)
    world["r"].routes.append(wanted)
    assert walked(world, TO_SERVER) == before
