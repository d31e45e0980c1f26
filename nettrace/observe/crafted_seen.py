"""
What is left out of the observation of a crafted packet.

The kernel that a crafted SYN was sent from knows no such connection: it drops the answer and resets it.
Neither is a part of the exchange that is walked.
Not here: sending it (crafted).
"""

from msgspec.structs import replace

from nettrace.model.observation import Attempt, Observed

__all__ = ["without_reset"]


def without_reset(observed: Observed, source: str) -> Observed:
    """Leave out the reset, and that *source* has no socket for the answer; tell that it was crafted."""
    said = "the probe was crafted: its handshake was not completed, and what follows one was not tried"
    tcp = any(one.frames and one.frames[0].packet.proto == "tcp" for one in observed.attempts)
    return replace(
        observed,
        attempts=tuple(_without(one, source) for one in observed.attempts),
        notes=(*observed.notes, said) if tcp else observed.notes,
    )


def _without(attempt: Attempt, source: str) -> Attempt:
    return replace(
        attempt,
        legs=tuple(leg for leg in attempt.legs if leg.kind != "ack"),
        frames=tuple(frame for frame in attempt.frames if frame.leg not in ("ack", "later")),
        drops=tuple(
            drop
            for drop in attempt.drops
            if not (drop.leg in ("reply", "error") and drop.netns in (source, "")) and drop.leg != "ack"
        ),
    )
