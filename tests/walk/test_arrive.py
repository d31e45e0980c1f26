"""What a host does with a packet that came in: martians, rp_filter, forwarding."""

import pytest
from msgspec.structs import replace

from nettrace.model.routes import PolicyRule
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, World, flow, one_path, router


def test_it_connects() -> None:
    """Five legs run through a router, and the server sees the client."""
    path = one_path(router(), TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert path.verdict is Verdict.DELIVERED
    assert [leg.kind for leg in path.legs] == ["request", "reply", "ack", "data", "reply-data"]
    assert path.endpoint is not None
    assert (path.endpoint.netns, path.endpoint.source) == ("server", "10.1.0.2")
    assert path.failed is None


def test_forwarding_is_asked_of_the_device_it_came_in_by() -> None:
    """``forwarding`` of the receiving device decides, not that of the sending one nor ip_forward."""
    world = router()
    world["r"].conf("s", forwarding=0)
    assert one_path(world, TO_SERVER).failed == 1  # the reply comes in by s
    world["r"].conf("s", forwarding=1)
    world["r"].conf("c", forwarding=0)
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.failed, path.outcome) == (Verdict.NOT_FORWARDED, 0, Outcome.TIMEOUT)
    step = path.failing_step
    assert step is not None
    assert step.why is not None
    assert step.why.ref == "r/sysctls/net.ipv4.conf.c.forwarding"


def test_a_missing_sysctl_is_not_guessed() -> None:
    """Forwarding that is not in the snapshot makes the verdict UNKNOWN and says what is missing."""
    world = router()
    del world["r"].sysctls["net.ipv4.conf.c.forwarding"]
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "net.ipv4.conf.c.forwarding" in path.reason


def asymmetric() -> World:
    """The server's answer to 10.1.0.2 would leave by another device than the request came in by."""
    world = router()
    world["server"].add_link("eth1", "veth")
    world["server"].address("eth1", "10.9.0.2/24")
    world["server"].route("10.1.0.0/24", "eth1", "10.9.0.1")
    return world


@pytest.mark.parametrize(
    ("everywhere", "device", "stopped"),
    [(0, 0, False), (1, 0, True), (0, 1, True), (1, 2, False), (2, 1, False), (2, 0, False)],
)
def test_rp_filter_is_the_larger_of_all_and_the_device(everywhere: int, device: int, stopped: bool) -> None:
    """Strict is 1, loose is 2, and the larger of the two sysctls holds."""
    world = asymmetric()
    world["server"].conf("all", rp_filter=everywhere)
    world["server"].conf("eth0", rp_filter=device)
    world["r"].neighbour("s", "10.2.0.2", world.mac("server", "eth0"))  # ARP would be filtered as well
    path = one_path(world, TO_SERVER)
    assert (path.request.verdict is Verdict.REVERSE_PATH_FILTERED) is stopped


def test_loose_rp_filter_wants_some_route_back() -> None:
    """Without any route to the source even a loose filter drops."""
    world = router()
    world["server"].routes = [r for r in world["server"].routes if r.dst != "0.0.0.0/0"]
    world["server"].conf("eth0", rp_filter=2)
    world["r"].neighbour("s", "10.2.0.2", world.mac("server", "eth0"))
    assert one_path(world, TO_SERVER).request.verdict is Verdict.REVERSE_PATH_FILTERED


def test_rp_filter_without_the_mark() -> None:
    """The reverse lookup has mark 0 unless src_valid_mark is set."""
    world = asymmetric()
    server = world["server"]
    server.rules.insert(1, PolicyRule(priority=5, table=7, fwmark=7))
    server.route("10.1.0.0/24", "eth0", "10.2.0.1", table=7)
    server.conf("all", rp_filter=1)
    server.filter("-A PREROUTING -j MARK --set-mark 7", table="mangle")
    world["r"].neighbour("s", "10.2.0.2", world.mac("server", "eth0"))
    assert one_path(world, TO_SERVER).request.verdict is Verdict.REVERSE_PATH_FILTERED
    server.conf("eth0", src_valid_mark=1)
    assert one_path(world, TO_SERVER).request.verdict is Verdict.DELIVERED


def test_a_source_of_its_own_is_martian() -> None:
    """A packet from an address that the receiver has itself is dropped, unless accept_local."""
    world = router()
    world["server"].address("lo", "10.1.0.2/32")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.MARTIAN, Outcome.TIMEOUT)
    world["server"].conf("all", accept_local=1)
    assert one_path(world, TO_SERVER).request.verdict is Verdict.DELIVERED


@pytest.mark.parametrize("source", ["224.0.0.5", "255.255.255.255", "0.0.0.1", "127.0.0.1"])
def test_sources_that_nobody_may_have(source: str) -> None:
    """Multicast, broadcast, zero and loopback sources from outside are martian."""
    world = router()
    path = one_path(world, flow("r", "10.2.0.2", 80, src=source, device="c"))
    assert path.verdict is Verdict.MARTIAN


def test_loopback_destinations_need_route_localnet() -> None:
    """127/8 from outside is dropped unless the device may route it."""
    world = router()
    arriving = flow("r", "127.0.0.1", 80, src="10.1.0.2", device="c")
    assert one_path(world, arriving).verdict is Verdict.MARTIAN
    world["r"].conf("all", route_localnet=1)
    assert one_path(world, arriving).verdict is Verdict.NOT_LISTENING


def test_no_route_is_answered_only_where_forwarding_is_on() -> None:
    """ip_error sends network-unreachable from a router, and says nothing from a host."""
    world = router()
    asked = flow("client", "9.9.9.9", 80)
    path = one_path(world, asked)
    assert (path.outcome, path.errno) == (Outcome.UNREACHABLE, "ENETUNREACH")
    assert [leg.kind for leg in path.legs] == ["request", "error"]
    world["r"].conf("c", forwarding=0)
    assert one_path(world, asked).outcome is Outcome.TIMEOUT


def test_a_step_says_where_it_leaves() -> None:
    """The route step of a forwarded packet names the route, the device and the reason."""
    step = next(
        step
        for step in one_path(router(), TO_SERVER).request.steps
        if step.stage is Stage.ROUTE and step.netns == "r"
    )
    assert step.verdict == "forward"
    assert step.note == "leaves by s"
    assert step.why is not None
    assert step.why.ref == "r/routes/254/10.2.0.0/24"


def test_a_broadcast_is_not_walked() -> None:
    """A destination that is a broadcast address is UNKNOWN, not a guess."""
    path = one_path(router(), flow("r", "10.1.0.255", 80, "udp", src="10.1.0.2", device="c"))
    assert path.outcome is Outcome.UNKNOWN


def test_ttl_runs_out() -> None:
    """TTL 1 ends at the first router, whose error reaches the client."""
    asked = replace(TO_SERVER, packet=replace(TO_SERVER.packet, ttl=1))
    path = one_path(router(), asked)
    assert (path.verdict, path.outcome, path.errno) == (
        Verdict.TTL_EXCEEDED,
        Outcome.UNREACHABLE,
        "EHOSTUNREACH",
    )


def test_a_routing_loop_is_called_one() -> None:
    """Two routers that send to each other are a LOOP, and the client hears of the used-up TTL."""
    world = router()
    world["server"].sysctl("net.ipv4.ip_forward", 1)
    world["server"].route("10.77.0.0/16", "eth0", "10.2.0.1")
    world["r"].route("10.77.0.0/16", "s", "10.2.0.2")
    path = one_path(world, flow("client", "10.77.0.1", 80))
    assert (path.verdict, path.outcome) == (Verdict.LOOP, Outcome.UNREACHABLE)
    assert len(path.request.steps) < 40


def test_a_source_with_a_broadcast_route_is_martian() -> None:
    """rp_filter's lookup refuses a source that is a broadcast address."""
    world = router()
    world["r"].conf("c", rp_filter=2)
    path = one_path(world, flow("r", "10.2.0.2", 80, src="10.2.0.255", device="c"))
    assert path.verdict is Verdict.MARTIAN


def test_rp_filter_on_a_device_without_addresses() -> None:
    """A device without addresses accepts only what its own routes lead back to."""
    world = router()
    world["r"].addresses = [a for a in world["r"].addresses if a.device != "c"]
    world["r"].routes = [r for r in world["r"].routes if r.nexthops[0].device != "c"]
    world["r"].route("10.1.0.0/24", "s", "10.2.0.9")
    arriving = flow("r", "10.2.0.2", 80, src="10.1.0.2", device="c")
    assert one_path(world, arriving).request.verdict is Verdict.DELIVERED
    world["r"].conf("c", rp_filter=2)
    assert one_path(world, arriving).request.verdict is Verdict.REVERSE_PATH_FILTERED


def test_a_multicast_destination_from_outside() -> None:
    """Multicast is UNKNOWN, not dropped."""
    path = one_path(router(), flow("r", "224.0.0.1", 80, "udp", src="10.1.0.2", device="c"))
    assert path.outcome is Outcome.UNKNOWN
