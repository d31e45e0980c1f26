"""Drops that are alike are told once, and then counted."""

from msgspec.structs import replace

from nettrace.app.drop_groups import AGAIN, Groups
from nettrace.model.dropped import DropSeen
from nettrace.model.packet import Packet, PortRange


def drop(sport: int = 40000, dport: int = 80, reason: str = "R", **more: object) -> DropSeen:
    """A drop of a packet with these ports."""
    packet = Packet(
        src="10.0.0.1",
        dst="10.0.0.2",
        proto="tcp",
        sport=PortRange(sport, sport),
        dport=PortRange(dport, dport),
    )
    made = DropSeen(
        time=0.0,
        netns="n",
        node="n",
        device=None,
        iif=None,
        sent=False,
        reason=reason,
        function="f",
        packet=packet,
    )
    return replace(made, **more)


def test_the_clients_port_makes_no_difference() -> None:
    """In requests it is the source, in answers the destination; the server's port does."""
    groups = Groups()
    assert groups.add(drop(40000, 80))
    assert not groups.add(drop(40001, 80))
    assert groups.add(drop(40001, 81))
    assert groups.add(drop(80, 40000))
    assert not groups.add(drop(80, 40001))
    assert groups.add(drop(reason="S"))
    assert groups.add(drop(packet=None))
    assert not groups.add(drop(packet=None))


def test_repeats_wait_and_are_counted() -> None:
    """At once the first time, with a count after a while, never twice."""
    groups = Groups()
    groups.add(drop())
    [first] = groups.due(0.0, 10)
    assert (first.count, first.repeated) == (1, False)
    groups.add(drop())
    groups.add(drop(40001))
    assert groups.due(AGAIN / 2, 10) == []
    [again] = groups.due(AGAIN, 10)
    assert (again.count, again.repeated) == (2, True)
    assert again.packet is not None
    assert again.packet.sport == PortRange(40001, 40001)
    assert groups.due(10 * AGAIN, 10) == []


def test_what_was_never_told_comes_first() -> None:
    """No more at once than asked for; the others wait for the next time, or the end."""
    groups = Groups()
    groups.add(drop(dport=1))
    groups.due(0.0, 10)
    for port in (1, 2, 3):
        groups.add(drop(dport=port))
    ports = [one.packet.dport.lo for one in groups.due(AGAIN, 2) if one.packet and one.packet.dport]
    assert ports == [2, 3]
    [rest] = groups.rest(AGAIN)
    assert rest.repeated
    assert groups.rest(AGAIN) == []


def test_memory_is_bounded() -> None:
    """The oldest kind is forgotten when there are too many."""
    groups = Groups()
    for port in range(5000):
        groups.add(drop(dport=port + 1))
    assert len(groups.rest(0.0)) == 4096
    assert groups.add(drop(dport=1))
