"""
What a walk of a dropped packet's header says about its drop.

Lives here: the flow to walk, choosing the branch that explains the drop, and which drops nobody
needs to hear of.
Not here: reading drops (nettrace.observe.drops), the reasons of each verdict (nettrace.align.drops).
"""

from ipaddress import ip_address

from msgspec.structs import replace

from nettrace.align.drops import accepts, is_in_the_socket, is_noise
from nettrace.model.dropped import DropSeen, Predicted
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet
from nettrace.model.step import STOPPING, Stage, Step, Verdict
from nettrace.model.walk import Leg, Walk

__all__ = ["explain", "flow_of", "is_interesting"]

#: What was received already, and an RST that has done its work: nothing is lost.
_NO_LOSS = frozenset(
    {"TCP_OLD_DATA", "TCP_OFOMERGE", "TCP_OLD_SEQUENCE", "TCP_OLD_ACK", "TCP_RESET", "TCP_TOO_OLD_ACK"}
)


def is_interesting(reason: str, function: str, packet: Packet) -> bool:
    """
    Is this a drop that somebody may miss the packet of?

    Multicast and broadcast that nobody here listens to, duplicates, and copies are not.
    """
    if is_noise(reason, function) or reason in _NO_LOSS:
        return False
    return not (ip_address(packet.dst).is_multicast or packet.dst == "255.255.255.255")


def flow_of(seen: DropSeen, packet: Packet) -> Flow:
    """Return the flow whose walk begins where the packet came in or was sent."""
    if packet.inner is not None and not packet.is_icmp_error:
        packet = replace(packet, inner=None)
    return Flow(
        origin=Origin(netns=seen.netns, device=None if seen.sent else seen.iif or seen.device),
        packet=packet,
        source=ObjectRef(kind="netns", name=seen.netns),
        target=ObjectRef(kind="ip", name=packet.dst),
    )


def explain(walk: Walk, seen: DropSeen) -> Predicted:
    """
    Find the branch whose first leg ends where the packet was dropped, for such a reason.

    Of several the likeliest.  Without one the walk does not explain it, or does not know.
    """
    legs = [path.request for path in sorted(walk.paths, key=lambda path: -path.probability)]
    for leg in legs:
        if _explains(leg, seen):
            return Predicted(verdict=leg.verdict, fits=True, step=_stop(leg), reason=leg.reason)
    for leg in legs:
        if leg.verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT):
            return Predicted(verdict=Verdict.UNKNOWN, fits=None, step=leg.last, reason=leg.reason)
    leg = legs[0]
    last = _stop(leg)
    if seen.sent and leg.verdict is Verdict.MARTIAN and last is not None and last.stage is Stage.SEND:
        reason = f"{leg.reason}: NAT had changed it by then, or a raw socket chose it"
        return Predicted(verdict=Verdict.UNKNOWN, fits=None, step=last, reason=reason)
    return Predicted(verdict=leg.verdict, fits=False, step=leg.last, reason=leg.reason)


def _explains(leg: Leg, seen: DropSeen) -> bool:
    last = _stop(leg)
    if last is None or last.netns != seen.netns:
        return False
    if leg.verdict is Verdict.DELIVERED:
        return is_in_the_socket(seen.reason, seen.function)
    if leg.verdict not in STOPPING:
        return False
    if accepts(leg.verdict, seen.reason, seen.function):
        return True
    # Routing again after OUTPUT failed: netfilter's own drop.
    return seen.sent and last.stage is Stage.ROUTE and seen.reason == "NETFILTER_DROP"


def _stop(leg: Leg) -> Step | None:
    return next((step for step in reversed(leg.steps) if step.stops), leg.last)
