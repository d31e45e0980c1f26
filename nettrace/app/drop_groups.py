"""
Drops that are alike, told once and then counted.

Lives here: which drops are alike, and when to tell of them again; no clock of its own.
Not here: watching (watch).
"""

from collections import OrderedDict
from dataclasses import dataclass

from msgspec.structs import replace

from nettrace.model.dropped import DropSeen
from nettrace.model.packet import Packet

__all__ = ["Groups"]

#: Seconds until a group that goes on is told of again, and how many groups are remembered.
AGAIN = 2.0
_MOST = 4096


@dataclass(slots=True)
class _Group:
    latest: DropSeen
    untold: int
    told_at: float  # by the caller's clock; before it was told: -inf


class Groups:
    """Counts drops by place, reason and packet, the client's port left out."""

    def __init__(self, *, again: float = AGAIN) -> None:
        self._again = again
        self._groups: OrderedDict[tuple[object, ...], _Group] = OrderedDict()

    def add(self, seen: DropSeen) -> bool:
        """Count a drop; True if it is the first of its kind."""
        what = _kind(seen)
        group = self._groups.get(what)
        if group is not None:
            group.latest = seen
            group.untold += 1
            self._groups.move_to_end(what)
            return False
        self._groups[what] = _Group(seen, 1, float("-inf"))
        if len(self._groups) > _MOST:
            self._groups.popitem(last=False)
        return True

    def due(self, now: float, most: int) -> list[DropSeen]:
        """
        Return what is to be told, at most *most*, with counts; that counts as told.

        Those that were never told come first.
        """
        waiting = [
            group for group in self._groups.values() if group.untold and now - group.told_at >= self._again
        ]
        waiting.sort(key=lambda group: group.told_at)
        return [self._tell(group, now) for group in waiting[:most]]

    def rest(self, now: float) -> list[DropSeen]:
        """Return everything that was not told yet."""
        return [self._tell(group, now) for group in self._groups.values() if group.untold]

    @staticmethod
    def _tell(group: _Group, now: float) -> DropSeen:
        told = replace(group.latest, count=group.untold, repeated=group.told_at != float("-inf"))
        group.untold, group.told_at = 0, now
        return told


def _kind(seen: DropSeen) -> tuple[object, ...]:
    packet = seen.packet
    place = (seen.netns, seen.device, seen.iif, seen.reason, seen.function)
    if packet is None:
        return place
    return (
        *place,
        packet.src,
        packet.dst,
        packet.proto,
        # What answers has the client's port as its destination.
        _is_answer(packet),
        packet.sport if _is_answer(packet) else packet.dport,
        packet.tcp_flags,
        packet.icmp_type,
        packet.icmp_code,
    )


def _is_answer(packet: Packet) -> bool:
    """Does the lower port, the server's, stand in front?"""
    sport, dport = packet.sport, packet.dport
    return sport is not None and dport is not None and sport.lo < dport.lo
