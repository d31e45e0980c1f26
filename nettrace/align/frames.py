"""
Frames of a probe beside the steps of a leg.

Lives here: was a packet on the device where a step has it, as the step has it; and was one where the
walk has none.
Not here: rules and hooks (nettrace.align.steps).
"""

from collections.abc import Collection, Sequence

from nettrace.model.observation import Attempt, Frame
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step

__all__ = ["frames_of", "on_device", "unnamed"]


def frames_of(attempt: Attempt, kinds: Sequence[str]) -> tuple[Frame, ...]:
    """Return the frames of the first of *kinds* that has any."""
    for kind in kinds:
        found = tuple(frame for frame in attempt.frames if frame.leg == kind)
        if found:
            return found
    return ()


def on_device(step: Step, frames: Sequence[Frame]) -> tuple[bool | None, str]:
    """
    Was the packet of a step that receives or transmits on its device?

    None where it would not be seen; with the words for what was instead.
    """
    packet = step.after or step.before
    if packet is None or step.stops or step.device is None:
        return None, ""
    outgoing = step.stage is Stage.TRANSMIT
    here = [
        frame
        for frame in frames
        if (frame.netns, frame.device, frame.outgoing) == (step.netns, step.device, outgoing)
    ]
    if not here:
        return False, f"had nothing {'leave by' if outgoing else 'arrive at'} {step.device}"
    if any(_fits(frame.packet, packet) for frame in here):
        return True, ""
    return False, f"had {_said(here[0].packet)} {'leave by' if outgoing else 'arrive at'} {step.device}"


def unnamed(steps: Sequence[Step], frames: Sequence[Frame], captured: Collection[str]) -> str:
    """
    Return words for a frame that was where the walk has none, "" if there is none.

    What a bridge floods is not meant: frames for another MAC address, and those that leave by other
    ports of a namespace in which the walk meets a bridge.
    """
    named = {(step.netns, step.device) for step in steps}
    bridges = {step.netns for step in steps if step.stage is Stage.BRIDGE}
    visited = {step.netns for step in steps}
    for frame in frames:
        if (frame.netns, frame.device) in named or frame.netns not in captured or frame.device == "lo":
            continue
        if frame.outgoing and frame.netns in visited and frame.netns not in bridges:
            return f"had {_said(frame.packet)} leave by {frame.device} of {frame.netns}"
        if not frame.outgoing and frame.for_us and frame.netns in visited:
            return f"had {_said(frame.packet)} arrive at {frame.device} of {frame.netns}"
    return ""


def _fits(seen: Packet, predicted: Packet) -> bool:
    """Do addresses, ports and TTL agree, also of what is inside, as far as the walk is certain of them?"""
    if (seen.src, seen.dst, seen.ttl) != (predicted.src, predicted.dst, predicted.ttl):
        return False
    ports = ((predicted.sport, seen.sport), (predicted.dport, seen.dport))
    if not all(want is None or have is None or have.inside(want) for want, have in ports):
        return False
    if predicted.is_icmp_error:
        return True  # what it quotes the rules do not look at
    if predicted.inner is None or seen.inner is None:
        return predicted.inner is seen.inner
    return _fits(seen.inner, predicted.inner)


def _said(packet: Packet) -> str:
    inner = f" with {packet.inner.ends()} inside" if packet.inner is not None else ""
    return f"{packet.ends()} ttl {packet.ttl}{inner}"
