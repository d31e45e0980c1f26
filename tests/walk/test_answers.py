"""What a sender is told, and what of it it understands."""

from msgspec.structs import replace

from nettrace.model.routes import PolicyRule
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, UDP_TO_SERVER, flow, one_path, router


def test_an_answer_that_cannot_be_told() -> None:
    """A refusal whose way back is open leaves the outcome open."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -j REJECT", "-A OUTPUT -m limit --limit 1/sec -j DROP")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.REJECTED, Outcome.UNKNOWN)


def test_a_refused_ack_is_the_connection_s_result() -> None:
    """An ICMP error about the handshake's last packet is what the client reads."""
    world = router()
    world["r"].filter("-A FORWARD -i c -m conntrack --ctstate ESTABLISHED -j REJECT")
    path = one_path(world, TO_SERVER)
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")


def test_data_that_somebody_else_answers() -> None:
    """A later packet that finds no socket ends the connection in a way that is left open."""
    world = router()
    world["r"].filter("-A PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack", table="raw")
    world["r"].nat("-A POSTROUTING -o c -j MASQUERADE")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.UNEXPECTED, Outcome.UNKNOWN)


def test_an_undecided_ack() -> None:
    """What cannot be told about the ACK leaves the outcome open."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -m tcp --tcp-flags SYN,ACK ACK -m limit --limit 1/sec -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_udp_program_may_answer_or_not() -> None:
    """A policy rule that only a packet with, or only one without, a source meets leaves UDP open."""
    world = router()
    world["server"].rules.insert(1, PolicyRule(priority=9, action="unreachable", src="10.2.0.2/32"))
    assert one_path(world, UDP_TO_SERVER).outcome is Outcome.UNKNOWN
    world = router()
    world["server"].rules.insert(
        1, PolicyRule(priority=9, action="unreachable", src="10.2.0.2/32", invert=True, dst="10.1.0.2/32")
    )
    world["server"].rules[1] = replace(world["server"].rules[1], dst=None)
    assert one_path(world, UDP_TO_SERVER).outcome is Outcome.UNKNOWN
    world["server"].rules[1] = PolicyRule(priority=9, action="unreachable")
    path = one_path(world, UDP_TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.NO_ROUTE, Outcome.TIMEOUT)


def test_a_flow_without_details() -> None:
    """A TCP flow without flags is a SYN, an ICMP flow without a type an echo request."""
    bare = replace(TO_SERVER, packet=replace(TO_SERVER.packet, tcp_flags=frozenset()))
    assert one_path(router(), bare).outcome is Outcome.CONNECTED
    ping = flow("client", "10.2.0.2", proto="icmp")
    bare = replace(ping, packet=replace(ping.packet, icmp_type=None, icmp_code=None))
    assert one_path(router(), bare).outcome is Outcome.CONNECTED


def test_a_refusal_by_icmp_to_outside() -> None:
    """An ICMP error that leaves to the caller outside tells it."""
    world = router()
    del world.spaces["client"]
    world["r"].change("c", peer=None, kind="device")
    world["r"].neighbour("c", "10.1.0.2", "02:00:00:00:00:01")
    path = one_path(world, flow("r", "10.2.0.2", 99, "udp", src="10.1.0.2", device="c"))
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")


def test_a_shrinking_answer() -> None:
    """The server's segments shrink too when they are told to."""
    world = router()
    world["r"].route("10.1.0.2/32", "c", mtu=1200)
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert path.legs[-1].kind == "reply-data"
    assert path.legs[-1].steps[0].before is not None
    assert path.legs[-1].steps[0].before.size == 1200
