"""
The contract of an observation: real connections, the rules, drops and frames that were seen of them.

Lives here: what a probe saw, and how it compares with the walk.
Not here: the walk (nettrace.render.contract_walk), whole documents (nettrace.render.contract).
"""

from msgspec import Struct

from nettrace.model.walk import Outcome
from nettrace.render.contract_walk import PacketView

__all__ = [
    "AgreementView",
    "AttemptView",
    "ComparisonView",
    "DropView",
    "FrameView",
    "ObservedView",
    "PartingView",
    "SeenStepView",
]


class AttemptView(Struct, frozen=True, kw_only=True):
    """One real connection; ``delay`` in seconds."""

    outcome: Outcome
    errno: str | None
    delay: float
    answer: str | None
    answered_by: str | None
    source: str | None
    sport: int | None


class SeenStepView(Struct, frozen=True, kw_only=True):
    """
    A rule that a packet of a real connection met, the end of a chain, or a hook that it passed.

    ``attempt`` is an index into ``attempts``; ``leg`` is ``request``, ``reply``, ``ack`` or
    ``error``.  ``rule`` counts from 1, 0 is the policy, null a rule that is gone; ``handle`` is
    the kernel's.  A hook that was passed has no table and the verdict ``seen``.  ``packet`` and
    the devices are given where a packet enters a chain; ``tunnelled`` where it carries the probe.
    ``backend`` is ``legacy`` for rules of iptables-legacy, whose order among the others is known
    by hook only, and whose verdict is ``met`` where the target's is not known.
    """

    attempt: int
    leg: str
    netns: str
    hook: str
    family: str | None
    table: str | None
    chain: str | None
    rule: int | None
    handle: int | None
    verdict: str
    iif: str | None
    oif: str | None
    mark: int
    packet: PacketView | None
    tunnelled: bool
    backend: str = "nft"


class DropView(Struct, frozen=True, kw_only=True):
    """
    A packet of a real connection that the kernel dropped, and the reason that it gave.

    ``attempt`` is an index into ``attempts``; ``leg`` as in a seen step, or ``data`` and
    ``reply-data``; ``netns`` is null where it cannot be told, ``function`` is the kernel's;
    ``time`` in seconds from when the probe began; ``count``: so many alike.
    """

    attempt: int
    leg: str
    netns: str | None
    device: str | None
    reason: str
    function: str | None
    packet: PacketView | None
    time: float
    tunnelled: bool
    count: int


class FrameView(Struct, frozen=True, kw_only=True):
    """
    The first packet of a leg on one device.

    ``attempt`` is an index into ``attempts``; ``direction`` is ``in`` or ``out``; ``time`` is in
    seconds since the epoch, ``length`` in bytes with the link's header.  ``layers`` are what
    dissectors say of it, a line each, with --frames.
    """

    attempt: int
    leg: str
    netns: str
    device: str
    direction: str
    time: float
    length: int
    packet: PacketView
    tunnelled: bool
    layers: tuple[str, ...] = ()


class ObservedView(Struct, frozen=True, kw_only=True):
    """
    All real connections of one probe, and how often each outcome was seen.

    ``steps`` are the rules that their packets met in the namespaces ``watched``, in the
    kernel's order within each; ``drops`` are those packets that it dropped, where
    ``drops_watched``; ``frames`` what packets were like on the devices of the namespaces
    ``captured``.  ``notes`` tell what could not be watched.
    """

    attempts: tuple[AttemptView, ...]
    outcomes: dict[str, int]
    steps: tuple[SeenStepView, ...] = ()
    watched: tuple[str, ...] = ()
    drops: tuple[DropView, ...] = ()
    drops_watched: bool = False
    captured: tuple[str, ...] = ()
    frames: tuple[FrameView, ...] = ()
    notes: tuple[str, ...] = ()


class PartingView(Struct, frozen=True, kw_only=True):
    """The first step where walk and kernel part; ``step`` is an index into the leg's steps."""

    leg: str
    step: int
    netns: str
    predicted: str
    observed: str


class ComparisonView(Struct, frozen=True, kw_only=True):
    """
    One real connection beside the branch that it took.

    ``attempt`` and ``path`` are indexes into ``observed.attempts`` and ``paths``.  ``checked``
    has for each kind of leg one entry a step: true, false, or null where nothing is seen of
    such a step.  ``agreed`` of ``compared`` steps agree.
    """

    attempt: int
    path: int
    agreed: int
    compared: int
    checked: dict[str, tuple[bool | None, ...]]
    parted: PartingView | None


class AgreementView(Struct, frozen=True, kw_only=True):
    """
    Prediction beside observation; ``agrees`` is null where one of them could not tell.

    ``comparisons`` are those of the connections whose steps were watched.
    """

    agrees: bool | None
    predicted: Outcome
    differences: tuple[str, ...]
    comparisons: tuple[ComparisonView, ...] = ()
