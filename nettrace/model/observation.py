"""
Observations: what the kernel did with a real probe.

Lives here: types.  nettrace.observe makes them, nettrace.align compares them with a walk.
"""

from msgspec import Struct

from nettrace.model.packet import Packet
from nettrace.model.walk import Outcome

__all__ = [
    "Agreement",
    "Attempt",
    "Comparison",
    "Drop",
    "Frame",
    "Hit",
    "LegSeen",
    "Observed",
    "Parting",
]


class Hit(Struct, frozen=True, kw_only=True):
    """
    A rule that a real packet met, or the end of a base chain, or only a hook that it passed.

    ``rule`` counts from 1, as in a Step; 0 is the policy, None a rule that is not in its chain
    any more.  ``verdict``: ``accept``, ``drop``, ``continue``, ``return``, ``jump CHAIN``,
    ``goto CHAIN``, ``policy accept``, ``policy drop``, ``queue``, ``stolen``.  A hook that was
    passed has ``table`` and ``chain`` "" and the verdict ``seen``; ``packet``, ``iif``, ``oif``
    are as the packet was on entering the chain, None in the hits that follow in the same one.
    ``tunnelled`` tells that the probe was inside this packet.  ``backend`` is ``legacy`` for rules
    of iptables-legacy, which does not tell verdicts: they are read from the rules, ``met`` where
    the target's is not known; their order among the others is known by hook only.
    """

    netns: str
    hook: str
    family: str
    table: str
    chain: str
    rule: int | None = None
    handle: int | None = None
    verdict: str
    iif: str | None = None
    oif: str | None = None
    mark: int = 0
    packet: Packet | None = None
    tunnelled: bool = False
    backend: str = "nft"


class Frame(Struct, frozen=True, kw_only=True):
    """
    A packet of the probe on one device.

    ``time`` is the kernel's, seconds since the epoch.  ``leg`` is the kind of leg it is the first
    packet of or was sent again for, ``later`` for what follows in the same connection.  ``packet``
    is the outermost one, what it carries is its ``inner``; ``tunnelled`` tells that the probe is
    inside.  ``for_us`` False: an incoming frame for another MAC address than the device's.
    ``data`` are its bytes, ``link`` the kind of their first header (LINKTYPE of pcap: 1 is
    Ethernet, 101 none); ``layers`` what dissectors say of it, empty where none was asked.
    """

    netns: str
    device: str
    outgoing: bool
    for_us: bool = True
    time: float
    leg: str
    packet: Packet
    tunnelled: bool = False
    link: int = 1
    data: bytes = b""
    layers: tuple[str, ...] = ()


class LegSeen(Struct, frozen=True, kw_only=True):
    """
    What the first packet of one kind met: ``request``, ``reply``, ``ack``, ``error``.

    The order of *hits* is that of the kernel within a namespace, and nothing between two.
    """

    kind: str
    hits: tuple[Hit, ...]


class Drop(Struct, frozen=True, kw_only=True):
    """
    A packet of a probe that the kernel dropped, and the reason that it gave.

    ``leg`` is ``request``, ``reply``, ``ack``, ``error``, or ``data`` and ``reply-data`` for what
    follows a handshake.  ``netns`` is ``net:[INODE]`` for one that was not asked for, "" where
    it cannot be told.  ``device`` is where the packet was last, ``function`` that of the kernel
    that dropped it, "" if the kernel does not name it.  ``packet`` is as it was then; ``tunnelled``:
    the probe was inside.  ``time`` counts in seconds from when the probe began, ``count`` the same
    again.
    """

    leg: str
    netns: str
    device: str | None = None
    reason: str
    function: str = ""
    packet: Packet | None = None
    time: float = 0.0
    tunnelled: bool = False
    count: int = 1


class Attempt(Struct, frozen=True, kw_only=True):
    """
    One real connection.

    ``errno`` is the name (``ECONNREFUSED``) or None; ``delay`` in seconds until the client
    knew.  ``answer`` is the first line that the far end sent, ``answered_by`` the name in it.
    ``source`` and ``sport`` are what the client's socket was bound to.  ``legs`` are the rules
    that its packets met, ``drops`` and ``frames`` are in the order of time.
    """

    outcome: Outcome
    errno: str | None = None
    delay: float
    answer: str | None = None
    answered_by: str | None = None
    source: str | None = None
    sport: int | None = None
    legs: tuple[LegSeen, ...] = ()
    drops: tuple[Drop, ...] = ()
    frames: tuple[Frame, ...] = ()

    @property
    def first_frames(self) -> tuple[Frame, ...]:
        """The first frame of each kind of leg at each device and direction."""
        found: dict[tuple[str, str, str, bool, bool], Frame] = {}
        for frame in self.frames:
            if frame.leg != "later":
                key = (frame.leg, frame.netns, frame.device, frame.outgoing, frame.tunnelled)
                found.setdefault(key, frame)
        return tuple(found.values())


class Observed(Struct, frozen=True, kw_only=True):
    """
    All attempts of one probe.

    ``watched`` are the namespaces whose rules were watched, ``captured`` those whose frames
    were, ``drops_watched`` tells whether every drop would have been seen, ``notes`` are sentences
    about what could not be.
    """

    attempts: tuple[Attempt, ...]
    watched: tuple[str, ...] = ()
    drops_watched: bool = False
    captured: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How often each outcome was seen."""
        found: dict[Outcome, int] = {}
        for attempt in self.attempts:
            found[attempt.outcome] = found.get(attempt.outcome, 0) + 1
        return found


class Parting(Struct, frozen=True, kw_only=True):
    """
    Where a walk and the kernel part: a step of a leg, and what was seen instead of it.

    ``step`` is an index into the leg's steps.
    """

    leg: str
    step: int
    netns: str
    predicted: str
    observed: str


class Comparison(Struct, frozen=True, kw_only=True):
    """
    One attempt beside the branch that it took, step by step.

    ``path`` is an index into the walk's paths.  ``checked`` has for each leg that was compared
    one entry a step: true, false, or None where nothing could be seen of it.
    """

    attempt: int
    path: int
    checked: dict[str, tuple[bool | None, ...]]
    parted: Parting | None = None

    @property
    def compared(self) -> int:
        """How many steps were compared."""
        return sum(one is not None for steps in self.checked.values() for one in steps)

    @property
    def agreed(self) -> int:
        """How many of them agree."""
        return sum(one is True for steps in self.checked.values() for one in steps)


class Agreement(Struct, frozen=True, kw_only=True):
    """
    Prediction beside observation.

    ``agrees`` is None where the walk said UNKNOWN or nothing was observed.  ``differences``
    are sentences, the first the most important.  ``comparisons`` are those of the attempts
    whose steps were watched.
    """

    agrees: bool | None
    predicted: Outcome
    differences: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
