"""Which connection a packet is of, and in which state."""

from msgspec.structs import replace

from nettrace.model.packet import PortRange
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import UDP_TO_SERVER, flow, one_path, router


def test_an_echo_with_a_known_identifier() -> None:
    """An entry for this identifier decides, as one for a port does; an echo reply alone is INVALID."""
    world = router()
    world["r"].nat("-A PREROUTING -d 10.1.0.1/32 -p icmp -j DNAT --to-destination 10.2.0.2")
    asked = flow("client", "10.1.0.1", proto="icmp", icmp_id=7)
    assert one_path(world, asked).endpoint is not None
    world["r"].conntrack = [
        ConntrackEntry(
            proto="icmp",
            original=Tuple(src="10.1.0.2", dst="10.1.0.1", icmp_type=8, icmp_code=0, icmp_id=7),
            reply=Tuple(src="10.2.0.77", dst="10.1.0.2", icmp_type=0, icmp_code=0, icmp_id=7),
        )
    ]
    assert one_path(world, asked).verdict is Verdict.NEIGHBOUR_FAILED


def test_an_echo_reply_out_of_nowhere_is_invalid() -> None:
    """A reply whose request went untracked is INVALID."""
    world = router()
    world["r"].filter("-A PREROUTING -p icmp -m icmp --icmp-type 8 -j CT --notrack", table="raw")
    world["r"].filter("-A FORWARD -p icmp -m conntrack --ctstate INVALID -j DROP")
    path = one_path(world, flow("client", "10.2.0.2", proto="icmp"))
    assert (path.verdict, path.failed) == (Verdict.DROPPED_BY_RULE, 1)


def test_an_error_about_an_untracked_packet_is_invalid() -> None:
    """An ICMP error about a connection that is not known is INVALID, and says so."""
    world = router()
    world["r"].filter("-A PREROUTING -p udp -j CT --notrack", table="raw")
    world["r"].filter("-A FORWARD -p icmp -m conntrack --ctstate INVALID -j DROP")
    path = one_path(world, flow("client", "10.2.0.2", 99, "udp"))
    assert path.outcome is Outcome.TIMEOUT
    words = [step.verdict for step in path.legs[1].steps if step.stage is Stage.CONNTRACK]
    assert words == ["invalid"]


def test_a_connection_in_another_zone_is_another() -> None:
    """Entries of a conntrack zone are not met."""
    world = router()
    world["r"].conntrack = [
        ConntrackEntry(
            proto="udp",
            original=Tuple(src="10.1.0.2", dst="10.2.0.2", sport=5555, dport=53),
            reply=Tuple(src="10.2.0.77", dst="10.1.0.2", sport=53, dport=5555),
            zone=3,
        )
    ]
    assert (
        one_path(
            world, replace(UDP_TO_SERVER, packet=replace(UDP_TO_SERVER.packet, sport=PortRange(5555, 5555)))
        ).outcome
        is Outcome.CONNECTED
    )


def test_low_source_ports_stay_low() -> None:
    """A replaced source port below 512, or below 1024, is taken from below as well."""
    for low, wanted in ((400, PortRange(1, 511)), (700, PortRange(600, 1023))):
        world = router()
        world["r"].nat("-A POSTROUTING -o s -p udp -j MASQUERADE --random")
        asked = replace(UDP_TO_SERVER, packet=replace(UDP_TO_SERVER.packet, sport=PortRange(low, low)))
        path = one_path(world, asked)
        assert path.endpoint is not None
        assert path.endpoint.source_port == wanted
