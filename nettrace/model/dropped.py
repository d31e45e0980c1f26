"""
Packets of anybody's that the kernel dropped, and what the walk says of them.

Lives here: types.  nettrace.app.watch fills them.
Not here: the drops of a probe (observation).
"""

from msgspec import Struct

from nettrace.model.observation import Hit
from nettrace.model.packet import Packet
from nettrace.model.step import Step, Verdict

__all__ = ["DropSeen", "Predicted"]


class Predicted(Struct, frozen=True, kw_only=True):
    """
    Where a walk of the dropped header stops.

    ``fits``: in the namespace of the drop, for a reason that the kernel may give then; False: the
    walk does not explain the drop; None: it cannot tell.  ``step`` is the one that stops it,
    ``reason`` a sentence.
    """

    verdict: Verdict
    fits: bool | None
    step: Step | None = None
    reason: str = ""


class DropSeen(Struct, frozen=True, kw_only=True):
    """
    Drops that are alike, the first of them in full.

    ``time`` is that of the latest in seconds since 1970, ``count`` how many there were since the
    last that was told, ``repeated``: it was told of before.  ``device`` is where the packet was
    last, ``iif`` the device that it came in by, None for one that was sent from here
    (``sent``) or where that cannot be told.  ``confirmed`` is the rule that the next such packet
    met its end at.  Where the kernel tells no more than reasons, ``netns`` is "" and ``packet`` None.
    """

    time: float
    netns: str
    node: str
    device: str | None
    iif: str | None
    sent: bool
    reason: str
    function: str
    packet: Packet | None
    count: int = 1
    repeated: bool = False
    predicted: Predicted | None = None
    confirmed: Hit | None = None
