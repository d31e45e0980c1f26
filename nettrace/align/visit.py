"""
Visits: the stretches of a leg that lie in one namespace.

Lives here: what the steps around a step tell about it.  Not here: comparing (nettrace.align.steps).
"""

from collections.abc import Sequence

from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step

__all__ = ["Visits", "is_tunnelled"]

#: Stages that only a packet of the IP layer reaches.
#: Stages that write other addresses into a packet.
_TRANSLATES = (Stage.CONNTRACK, Stage.IPVS)

_ROUTED = frozenset({Stage.ROUTE, Stage.HOOK, Stage.CONNTRACK, Stage.IPVS, Stage.FORWARD, Stage.DELIVER})


def is_tunnelled(packet: Packet) -> bool:
    """Does this packet carry the probe, rather than being it?"""
    return packet.inner is not None and not packet.is_icmp_error


def _target(packet: Packet | None) -> tuple[object, ...]:
    return (packet.dst, packet.dport) if packet is not None else ()


class Visits:
    """Questions about the steps of one leg, by index."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def last_in(self, netns: str) -> int | None:
        """Return the last step in a namespace."""
        return next(
            (index for index in reversed(range(len(self._steps))) if self._steps[index].netns == netns), None
        )

    def _rest(self, index: int) -> Sequence[Step]:
        """The steps behind *index* until the packet arrives anew or leaves the namespace."""
        end = index + 1
        while (
            end < len(self._steps)
            and self._steps[end].netns == self._steps[index].netns
            and self._steps[end].stage not in (Stage.RECEIVE, Stage.SEND)
        ):
            end += 1
        return self._steps[index + 1 : end]

    def is_routed(self, index: int) -> bool:
        """Does a packet that arrives here reach a hook, rather than being switched or dropped before?"""
        rest = self._rest(index)
        # a tunnel's outer packet meets hooks; what it carries, switched into the tunnel, does not
        tunnel = next((at for at, step in enumerate(rest) if step.stage is Stage.TUNNEL), len(rest))
        rest = rest[:tunnel]
        if any(step.stage is Stage.HOOK and not step.stops for step in rest):
            return True
        return any(step.stage in _ROUTED and not step.stops for step in rest)

    def devices(self, index: int) -> frozenset[str]:
        """Return the devices that a packet arriving at a step may be said to come from: port, then bridge."""
        found = {self._steps[index].device}
        for step in self._rest(index):
            found.add(step.device)
            if step.stage in (Stage.ROUTE, *_TRANSLATES):
                break
        return frozenset(device for device in found if device is not None)

    def is_not_taken(self, index: int) -> bool:
        """Does a packet that is for this host, by the route of this step, never get to INPUT as it is?"""
        for step in self._steps[index + 1 :]:
            if step.hook == "input" or step.stage is Stage.DELIVER:
                return False
            if step.stage is Stage.ROUTE and step.verdict != "local":
                return True
            if step.stage in _TRANSLATES and _target(step.before) != _target(step.after or step.before):
                return True
        return True

    def is_routed_again(self, index: int) -> bool:
        """Has the packet of this route been in OUTPUT already, which changed it?"""
        for step in reversed(self._steps[:index]):
            if step.stage is Stage.SEND:
                return False
            if step.stage is Stage.HOOK:
                return step.hook == "output"
        return False

    def stops_in(self, index: int) -> bool:
        """Does the leg end in this visit?"""
        return any(step.stops for step in self._rest(index))

    def stops_at_once(self, index: int) -> bool:
        """Does the leg end before the next hook?"""
        for step in self._rest(index):
            if step.stops:
                return step.stage is not Stage.HOOK and step.stage is not Stage.DELIVER
            if step.stage is Stage.HOOK:
                return False
        return False
