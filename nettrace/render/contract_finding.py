"""
The contract of ``-o json``: findings and their repairs, which several kinds of documents hold.
"""

from msgspec import Struct

from nettrace.model.change import Change
from nettrace.model.finding import Safety, Severity

__all__ = ["EvidenceView", "FindingView", "RepairView"]


class EvidenceView(Struct, frozen=True, kw_only=True):
    """One piece of state that speaks for the finding; ``ref`` is "" for what is absent."""

    ref: str
    text: str
    note: str


class RepairView(Struct, frozen=True, kw_only=True):
    """
    One repair.

    ``commands`` are what an engineer would type in ``netns`` of the change of the same
    index; ``inverse`` takes all of them back, null where that was not worked out, and
    ``undo`` says how well: ``exact``, ``rebuilds: ...`` or ``none: ...``.
    """

    id: str
    safety: Safety
    commands: tuple[str, ...]
    inverse: tuple[str, ...] | None
    undo: str | None
    changes: tuple[Change, ...]
    owner: str
    overwritten: str
    lasting: str
    effect: str


class FindingView(Struct, frozen=True, kw_only=True):
    """One finding; ``alternatives`` are causes that nothing on the node tells apart from it."""

    cause: str
    severity: Severity
    message: str
    subject: str
    where: str
    evidence: tuple[EvidenceView, ...]
    alternatives: tuple[str, ...]
    notes: tuple[str, ...]
    repairs: tuple[RepairView, ...]
