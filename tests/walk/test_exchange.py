"""What comes back, what the client sees, and the rest of a TCP conversation."""

import pytest
from msgspec.structs import replace

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, UDP_TO_SERVER, World, flow, one_path, router

ECHO = flow("client", "10.2.0.2", proto="icmp")


@pytest.mark.parametrize(
    ("with_", "errno"),
    [
        ("icmp-net-unreachable", "ENETUNREACH"),
        ("icmp-host-unreachable", "EHOSTUNREACH"),
        ("icmp-proto-unreachable", "ENOPROTOOPT"),
        ("icmp-port-unreachable", "ECONNREFUSED"),
        ("icmp-net-prohibited", "ENETUNREACH"),
        ("icmp-host-prohibited", "EHOSTUNREACH"),
        ("icmp-admin-prohibited", "EHOSTUNREACH"),
    ],
)
def test_kinds_of_reject(with_: str, errno: str) -> None:
    """Each --reject-with has the errno that the kernel tells a client of any protocol."""
    for asked in (TO_SERVER, UDP_TO_SERVER, ECHO):
        world = router()
        world["r"].filter(f"-A FORWARD -d 10.2.0.2 -j REJECT --reject-with {with_}")
        path = one_path(world, asked)
        assert (path.verdict, path.errno, path.delay) == (Verdict.REJECTED, errno, None)
        refused = errno == "ECONNREFUSED"
        assert path.outcome is (Outcome.REFUSED if refused else Outcome.UNREACHABLE)


def test_a_reset_is_a_refusal() -> None:
    """REJECT with tcp-reset is ECONNREFUSED to a connecting client."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -j REJECT --reject-with tcp-reset")
    path = one_path(world, TO_SERVER)
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")
    assert [leg.kind for leg in path.legs] == ["request", "reply"]


@pytest.mark.parametrize(
    ("asked", "outcome", "errno"),
    [
        (TO_SERVER, Outcome.TIMEOUT, None),
        (UDP_TO_SERVER, Outcome.DENIED, "EPERM"),
        (ECHO, Outcome.DENIED, "EPERM"),
    ],
)
def test_the_sender_s_own_drop(asked: object, outcome: Outcome, errno: str | None) -> None:
    """OUTPUT's DROP is EPERM to send(), which TCP's connect does not look at."""
    world = router()
    world["client"].filter("-P OUTPUT DROP")
    path = one_path(world, asked)  # type: ignore[arg-type]
    assert (path.verdict, path.outcome, path.errno) == (Verdict.DENIED, outcome, errno)


def test_the_server_s_own_drop_is_none_of_the_client_s() -> None:
    """OUTPUT's DROP at the server is a drop by rule, and the client waits."""
    world = router()
    world["server"].filter("-P OUTPUT DROP")
    for asked in (TO_SERVER, UDP_TO_SERVER, ECHO):
        path = one_path(world, asked)
        assert (path.verdict, path.outcome, path.failed) == (Verdict.DROPPED_BY_RULE, Outcome.TIMEOUT, 1)


def test_an_error_that_gets_lost() -> None:
    """A refusal that does not reach the client is a timeout; both legs are there."""
    world = router()
    world["r"].filter("-A FORWARD -d 10.2.0.2 -j REJECT")
    world["client"].filter("-A INPUT -p icmp -j DROP")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome, path.errno) == (Verdict.REJECTED, Outcome.TIMEOUT, None)
    assert [(leg.kind, leg.verdict) for leg in path.legs] == [
        ("request", Verdict.REJECTED),
        ("error", Verdict.DROPPED_BY_RULE),
    ]


def test_no_route_at_home() -> None:
    """A client without a route hears so at once, whatever the protocol."""
    world = router()
    world["client"].routes = [r for r in world["client"].routes if r.dst != "0.0.0.0/0"]
    for asked in (TO_SERVER, UDP_TO_SERVER, ECHO):
        path = one_path(world, asked)
        assert (path.verdict, path.outcome, path.errno) == (
            Verdict.NO_ROUTE,
            Outcome.UNREACHABLE,
            "ENETUNREACH",
        )


def test_an_answer_from_somebody_else() -> None:
    """A reply with the wrong source finds no socket: the client goes on waiting."""
    world = router()
    world["server"].nat("-A POSTROUTING -j ACCEPT")
    world["r"].filter("-A PREROUTING -i s -j CT --notrack", table="raw")
    world["r"].nat("-A PREROUTING -d 10.1.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.2:80")
    path = one_path(world, flow("client", "10.1.0.1", 80))
    assert (path.verdict, path.outcome, path.failed) == (Verdict.UNEXPECTED, Outcome.TIMEOUT, 1)


# --- sizes ---------------------------------------------------------------------------------------


def narrow(mtu: int = 1300) -> World:
    """A world whose router has a smaller MTU on the server's side."""
    world = router()
    world["r"].change("s", mtu=mtu)
    world["server"].change("eth0", mtu=1500)
    return world


def kinds(world: World) -> list[tuple[str, Verdict]]:
    """The legs of TO_SERVER."""
    return [(leg.kind, leg.verdict) for leg in one_path(world, TO_SERVER).legs]


def test_path_mtu_discovery_heals() -> None:
    """A segment too big for the way is told so and sent again smaller."""
    world = router()
    world["r"].route("10.2.0.2/32", "s", mtu=1300)
    path = one_path(world, TO_SERVER)
    assert path.failed is None
    legs = [(leg.kind, leg.verdict) for leg in path.legs]
    assert legs[3:6] == [
        ("data", Verdict.TOO_BIG),
        ("error", Verdict.DELIVERED),
        ("data", Verdict.DELIVERED),
    ]


def test_the_server_s_big_segments_do_not_fit_a_veth() -> None:
    """What the far end of a veth has no room for is lost without a word."""
    path = one_path(narrow(), TO_SERVER)
    assert path.legs[-1].kind == "reply-data"
    assert path.outcome is Outcome.STALLS


def test_a_lost_frag_needed_stalls() -> None:
    """Where the ICMP error does not get back, the connection stands and large segments do not pass."""
    world = narrow()
    world["server"].change("eth0", mtu=1300)
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED
    world["r"].filter("-A OUTPUT -p icmp -j DROP")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED  # the server's MSS says 1260 already
    world["server"].change("eth0", mtu=1500)
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.TOO_BIG, Outcome.STALLS)
    assert path.failed == 3


@pytest.mark.parametrize("target", ["--clamp-mss-to-pmtu", "--set-mss 1200"])
def test_a_clamped_mss_helps(target: str) -> None:
    """TCPMSS on the SYNs keeps both ends below the narrow MTU."""
    world = narrow()
    world["r"].filter("-A OUTPUT -p icmp -j DROP")
    world["r"].filter(f"-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS {target}", table="mangle")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    sizes = {leg.steps[0].before.size for leg in path.legs[3:] if leg.steps[0].before is not None}
    assert sizes == {1300 if "clamp" in target else 1240}


def test_mss_is_never_raised() -> None:
    """--set-mss larger than the packet's own changes nothing."""
    world = router()
    world["r"].filter(
        "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 9000", table="mangle"
    )
    path = one_path(world, TO_SERVER)
    assert path.legs[3].steps[0].before is not None
    assert path.legs[3].steps[0].before.size == 1500


def test_a_size_that_was_asked_for() -> None:
    """``segment`` of the flow is the size of the large packets."""
    path = one_path(router(), replace(TO_SERVER, segment=900))
    assert path.legs[3].steps[0].before is not None
    assert path.legs[3].steps[0].before.size == 900


def test_a_first_packet_that_is_too_big_at_home() -> None:
    """A datagram larger than the device's MTU that may not be fragmented is EMSGSIZE."""
    big = replace(UDP_TO_SERVER, packet=replace(UDP_TO_SERVER.packet, size=2000))
    path = one_path(router(), big)
    assert (path.verdict, path.outcome, path.errno) == (Verdict.TOO_BIG, Outcome.UNREACHABLE, "EMSGSIZE")


def test_a_packet_that_may_be_fragmented() -> None:
    """Without DF a large packet goes on in fragments, which a step notes."""
    world = narrow()
    big = replace(UDP_TO_SERVER, packet=replace(UDP_TO_SERVER.packet, size=1400, df=False))
    path = one_path(world, big)
    assert path.request.verdict is Verdict.DELIVERED
    assert any("fragments of 1300" in step.note for step in path.request.steps)


# --- later packets ---------------------------------------------------------------------------------


def test_a_rule_that_only_stops_data() -> None:
    """A connection whose later packets are dropped stalls."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -m tcp --tcp-flags PSH PSH -j DROP")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome, path.failed) == (Verdict.DROPPED_BY_RULE, Outcome.STALLS, 3)


def test_a_rule_that_resets_data() -> None:
    """A connection whose data is rejected with a reset is reset."""
    world = router()
    world["r"].filter("-A FORWARD -i c -p tcp -m tcp --tcp-flags PSH PSH -j REJECT --reject-with tcp-reset")
    path = one_path(world, TO_SERVER)
    assert (path.outcome, path.errno) == (Outcome.RESET, "ECONNRESET")


def test_only_the_answer_s_way_is_narrow() -> None:
    """A rule against the server's data fails the last leg."""
    world = router()
    world["r"].filter("-A FORWARD -i s -p tcp -m tcp --tcp-flags PSH PSH -j DROP")
    path = one_path(world, TO_SERVER)
    assert path.failed is not None
    assert path.legs[path.failed].kind == "reply-data"


# --- from outside ------------------------------------------------------------------------------------


def outside(world: World) -> World:
    """The same world without the client's namespace: c leads outside."""
    del world.spaces["client"]
    world["r"].change("c", peer=None, kind="device")
    world["r"].neighbour("c", "10.1.0.2", "02:00:00:00:00:01")
    return world


ARRIVING = flow("r", "10.2.0.2", 80, src="10.1.0.2", device="c")


def test_a_caller_from_outside_the_snapshot() -> None:
    """The answer that leaves by the device the call came by, to the caller, counts as arrived."""
    path = one_path(outside(router()), ARRIVING)
    assert path.outcome is Outcome.CONNECTED
    assert path.legs[1].verdict is Verdict.LEFT_SNAPSHOT
    assert path.failed is None


def test_an_answer_to_outside_by_another_device() -> None:
    """An answer that leaves by another device may arrive or not."""
    world = outside(router())
    world["r"].add_link("other", "device")
    world["r"].address("other", "10.7.0.1/24")
    world["r"].route("10.1.0.2/32", "other", "10.7.0.2")
    path = one_path(world, ARRIVING)
    assert path.outcome is Outcome.UNKNOWN


def test_a_refusal_to_outside() -> None:
    """A refusal leaves to the caller like an answer."""
    path = one_path(outside(router()), flow("r", "10.2.0.2", 81, src="10.1.0.2", device="c"))
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")


def test_what_an_answer_of_the_kernel_s_looks_like() -> None:
    """Errors have the precedence of internetwork control, an RST the tos it answers, all a fresh TTL."""
    world = router()
    world["r"].sysctls["net.ipv4.ip_default_ttl"] = "9"
    asked = flow("client", "10.1.0.1", 81, tos=0x18)
    reset = one_path(world, asked).legs[1].steps[0].before
    assert reset is not None
    assert (reset.ttl, reset.tos) == (9, 0x18)
    world["r"].filter("-A INPUT -p tcp -j REJECT --reject-with tcp-reset")
    reset = one_path(world, asked).legs[1].steps[0].before
    assert reset is not None
    assert (reset.ttl, reset.tos) == (9, 0)
    world["r"].filter("-A INPUT -p tcp -j REJECT")
    error = one_path(world, asked).legs[1].steps[0].before
    assert error is not None
    assert (error.ttl, error.tos) == (9, 0xD8)
    echo = one_path(router(), flow("client", "10.1.0.1", None, "icmp", tos=0x18)).legs[1].steps[0].before
    assert echo is not None
    assert echo.tos == 0x18


def test_an_error_may_come_from_the_device_that_the_offender_came_in_by() -> None:
    """icmp_errors_use_inbound_ifaddr: not the way back decides who an error is from."""
    world = router()
    world["r"].routes = [route for route in world["r"].routes if route.dst != "10.2.0.0/24"]
    asked = flow("client", "10.2.0.2", 80)
    for switch in ("0", "1"):
        world["r"].sysctls["net.ipv4.icmp_errors_use_inbound_ifaddr"] = switch
        path = one_path(world, asked)
        assert (path.verdict, path.legs[1].kind) == (Verdict.NO_ROUTE, "error")
        error = path.legs[1].steps[0].before
        assert error is not None
        assert error.src == "10.1.0.1"
    world["r"].routes = [
        replace(r, prefsrc="10.2.0.1") if r.dst == "10.1.0.0/24" else r for r in world["r"].routes
    ]
    for switch, source in (("0", "10.2.0.1"), ("1", "10.1.0.1")):
        world["r"].sysctls["net.ipv4.icmp_errors_use_inbound_ifaddr"] = switch
        error = one_path(world, asked).legs[1].steps[0].before
        assert error is not None
        assert error.src == source
