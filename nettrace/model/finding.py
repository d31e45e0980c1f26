"""
Findings and repairs: why, with evidence, and what to change.

Lives here: types only.  nettrace.diagnose makes them, nettrace.app applies them.
"""

from enum import StrEnum

from msgspec import Struct

from nettrace.model.change import Change

__all__ = ["Evidence", "Finding", "Repair", "Safety", "Severity"]


class Severity(StrEnum):
    """How bad."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Safety(StrEnum):
    """
    Who may make a change.

    AUTO: node-local kernel state that no controller disagrees about.  GUARDED: the same,
    within the limits the cause states.  KICK: a live agent owns it and should write it
    itself; by hand it is a stop-gap.  ADVICE: only a person may decide it.
    """

    AUTO = "auto"
    GUARDED = "guarded"
    KICK = "kick"
    ADVICE = "advice"


class Evidence(Struct, frozen=True, kw_only=True):
    """One piece of state that speaks for the finding; ``ref`` as in Why, "" for what is absent."""

    ref: str
    text: str
    note: str = ""


class Repair(Struct, frozen=True, kw_only=True):
    """
    One set of changes that meets the goal.

    ``owner`` is who keeps that state; ``overwritten`` says whether and when the owner will
    write over it; ``lasting`` is the fix for good, in words or as a command or manifest.
    ``effect`` is what the walk says afterwards.
    """

    id: str
    changes: tuple[Change, ...]
    safety: Safety
    owner: str = ""
    overwritten: str = ""
    lasting: str = ""
    effect: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """
    One finding.

    ``cause`` is the kebab-case id of the catalogue.  ``subject`` is the object it is about,
    ``where`` the node or namespace.  ``alternatives`` are the ids of causes that nothing on
    the node tells apart from this one.
    """

    cause: str
    severity: Severity
    message: str
    subject: str = ""
    where: str = ""
    evidence: tuple[Evidence, ...] = ()
    alternatives: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    notes: tuple[str, ...] = ()
