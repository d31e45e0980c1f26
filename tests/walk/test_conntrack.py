"""Which connection a packet is of, and in which state."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.packet import PortRange
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, UDP_TO_SERVER, World, flow, one_path, router


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


def states(world: World, rules: list[str], asked: Any = TO_SERVER) -> Outcome:
    """The outcome with these rules in r's FORWARD."""
    world["r"].filter(*rules)
    return one_path(world, asked).outcome


def test_states_of_an_exchange() -> None:
    """NEW there, ESTABLISHED back and from then on."""
    rules = [
        "-P FORWARD DROP",
        "-A FORWARD -i s -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-A FORWARD -i c -m conntrack --ctstate NEW -p tcp -m tcp --tcp-flags SYN,ACK SYN -j ACCEPT",
        "-A FORWARD -i c -m conntrack --ctstate ESTABLISHED -p tcp -m tcp --tcp-flags ACK ACK -j ACCEPT",
    ]
    assert states(router(), rules) is Outcome.CONNECTED


def test_errors_are_related() -> None:
    """An ICMP error about a tracked connection is RELATED; dropping those loses it."""
    refused = flow("client", "10.2.0.2", 81, "udp")
    assert (
        states(router(), ["-A FORWARD -m conntrack --ctstate RELATED -j ACCEPT"], refused) is Outcome.REFUSED
    )
    assert states(router(), ["-A FORWARD -m conntrack --ctstate RELATED -j DROP"], refused) is Outcome.TIMEOUT
    assert (
        states(router(), ["-A FORWARD -p icmp -m conntrack --ctstate INVALID -j DROP"], refused)
        is Outcome.REFUSED
    )


def test_an_error_comes_back_translated() -> None:
    """An error about a translated packet reaches the client as if from the address it called."""
    world = router()
    world["r"].nat(
        "-A PREROUTING -p udp -m udp --dport 8080 -j DNAT --to-destination 10.2.0.2:81",
        "-A POSTROUTING -j MASQUERADE",
    )
    path = one_path(world, flow("client", "10.1.0.1", 8080, "udp"))
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")
    last = path.legs[1].steps[-1].before
    assert last is not None
    assert last.inner is not None
    assert (last.src, last.dst) == ("10.1.0.1", "10.1.0.2")
    assert (last.inner.src, last.inner.dst, last.inner.dport) == (
        "10.1.0.2",
        "10.1.0.1",
        PortRange(8080, 8080),
    )


def test_a_reply_that_took_another_way_is_invalid() -> None:
    """A SYN/ACK without its SYN is INVALID, and so is an ACK without its SYN/ACK."""
    drop = ["-A FORWARD -m conntrack --ctstate INVALID -j DROP"]
    world = router()
    world["r"].filter("-A PREROUTING -i c -j CT --notrack", table="raw")
    assert states(world, drop) is Outcome.TIMEOUT
    world = router()
    world["r"].filter("-A PREROUTING -i s -j CT --notrack", table="raw")
    assert states(world, drop) is Outcome.STALLS


def test_a_connection_is_picked_up_half_way_only_if_allowed() -> None:
    """Without nf_conntrack_tcp_loose an ACK out of nowhere is INVALID."""
    rules = ["-A FORWARD -p tcp -m conntrack --ctstate INVALID -j DROP"]
    world = router()
    syns = "-A PREROUTING -p tcp -m tcp --tcp-flags SYN SYN -j CT --notrack"
    world["r"].filter(syns, table="raw")
    assert states(world, rules) is Outcome.CONNECTED
    world["r"].sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    assert states(world, rules) is Outcome.STALLS


@pytest.mark.parametrize(
    "flags", [{"ACK"}, {"ACK", "FIN"}, {"SYN", "FIN"}], ids=lambda flags: "-".join(sorted(flags))
)
def test_only_a_syn_or_an_ack_begins_a_connection(flags: set[str]) -> None:
    """A FIN that belongs to no connection is INVALID; a bare ACK may be picked up."""
    world = router()
    world["r"].filter("-A FORWARD -m conntrack --ctstate INVALID -j DROP")
    asked = flow("client", "10.2.0.2", 80)
    asked = replace(asked, packet=replace(asked.packet, tcp_flags=frozenset(flags)))
    verdict = one_path(world, asked).legs[0].verdict
    assert (verdict is Verdict.DROPPED_BY_RULE) == ("FIN" in flags)


def test_notrack_does_not_undo_what_is_attached() -> None:
    """The answer to what is not tracked is INVALID, although a rule says that it is not tracked either."""
    world = router()
    world["r"].filter("-A PREROUTING -j CT --notrack", "-A OUTPUT -j CT --notrack", table="raw")
    world["r"].filter("-A FORWARD -j REJECT", "-A OUTPUT -m conntrack --ctstate INVALID -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.TIMEOUT


def test_connmarks_are_kept_with_the_connection() -> None:
    """save and restore carry bits between packet and connection under their masks."""
    world = router()
    world["r"].filter(
        "-A PREROUTING -i c -j MARK --set-xmark 0xab/0xff",
        "-A PREROUTING -i c -j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0xff",
        "-A PREROUTING -i s -j CONNMARK --restore-mark",
        table="mangle",
    )
    world["r"].filter("-A FORWARD -i s -m mark ! --mark 0xa0 -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED
    world["r"].filter(
        "-A FORWARD -i s -m connmark ! --mark 0xa0 -j DROP", "-A FORWARD -i s -m mark --mark 0xa0 -j DROP"
    )
    assert one_path(world, TO_SERVER).outcome is Outcome.TIMEOUT
