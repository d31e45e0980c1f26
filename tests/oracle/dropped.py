"""
The drops that the walk has beside those of the kernel.

Lives here: which drop belongs to which leg, and which are nobody's.  Where the walk says that a packet is
dropped, the kernel's reason and namespace have to fit; where the kernel tells of a drop, the walk has to
have one.
Not here: which reason fits which verdict (nettrace.align.drops), watching (witness).
"""

from collections.abc import Sequence

from nettrace.align.drops import REASONS, accepts, is_in_the_socket, is_noise
from nettrace.model.packet import Packet
from nettrace.model.step import STOPPING, Stage, Step, Verdict
from nettrace.model.walk import Leg
from tests.oracle.witness import Lost

__all__ = ["differences"]

_ROUTED_AGAIN = frozenset({Verdict.NO_ROUTE, Verdict.BLACKHOLED, Verdict.MARTIAN})


def differences(legs: Sequence[Leg], lost: Sequence[Lost], *, open_end: bool) -> list[str]:
    """
    Hold the kernel's drops of one exchange against those of the walk's legs.

    *open_end*: more may have been sent than the walk follows, so a drop that it does not have says
    nothing.
    """
    found: list[str] = []
    left = [one for one in lost if not is_noise(one.reason, one.function)]
    for leg in legs:
        if leg.verdict not in STOPPING:
            continue
        stop = next((index for index in reversed(range(len(leg.steps))) if leg.steps[index].stops), None)
        if stop is None:
            continue
        step = leg.steps[stop]
        fitting = [one for one in left if _is_there(one, leg, step) and _fits(leg, stop, one)]
        if fitting:
            left.remove(next((one for one in fitting if _is_of(one, step)), fitting[0]))
            continue
        if REASONS[leg.verdict].surely:
            where = f"{leg.kind} {leg.verdict} in {step.netns}"
            found.append(f"drops: walk {where}, kernel {[_words(one) for one in left] or 'none'}")
    if open_end:
        return found
    for one in left:
        if not any(_is_beside(one, leg) for leg in legs):
            found.append(f"drops: the walk has none, kernel {_words(one)}")
    return found


def _fits(leg: Leg, stop: int, lost: Lost) -> bool:
    if accepts(leg.verdict, lost.reason, lost.function):
        return True
    # A rule of OUTPUT that changes the packet has it routed again, and netfilter drops it where that
    # fails (nf_ip_route, NF_DROP_ERR).
    here = leg.steps[stop].netns
    sent = any(step.stage is Stage.SEND and step.netns == here for step in leg.steps[:stop])
    return sent and leg.verdict in _ROUTED_AGAIN and lost.reason == "NETFILTER_DROP"


def _is_there(lost: Lost, leg: Leg, step: Step) -> bool:
    """A pair of devices of which one is down drops at either end."""
    return step.netns in lost.netns or leg.verdict is Verdict.LINK_DOWN


def _is_of(lost: Lost, step: Step) -> bool:
    packet = step.after or step.before
    return packet is not None and lost.packet is not None and _ends(lost.packet) == _ends(packet)


def _ends(packet: Packet) -> tuple[str, str, str]:
    return packet.src, packet.dst, packet.proto


def _is_beside(lost: Lost, leg: Leg) -> bool:
    """Is this a drop that says nothing about the way of the packets?"""
    if lost.reason == "OTHERHOST":
        return True  # where a bridge does not know the MAC everybody gets a copy
    last = leg.last
    if last is None or leg.verdict is not Verdict.DELIVERED or last.netns not in lost.netns:
        return False
    return is_in_the_socket(lost.reason, lost.function)


def _words(lost: Lost) -> str:
    packet = lost.packet.ends() if lost.packet is not None else "?"
    return f"{lost.reason} ({lost.function}) in {' or '.join(lost.netns) or '?'} of {packet}"
