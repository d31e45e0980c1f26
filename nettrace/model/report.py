"""
The reports of a trace and of a repair: the walk, why it ends so, what a real probe saw.

Lives here: the types that nettrace.app hands to every front end and renderer.
"""

from msgspec import Struct, field

from nettrace.model.finding import Finding
from nettrace.model.observation import Agreement, Observed
from nettrace.model.plan import JournalEntry
from nettrace.model.policy_verdict import Enforced
from nettrace.model.walk import Walk

__all__ = ["RepairReport", "TraceReport"]


class TraceReport(Struct, frozen=True, kw_only=True):
    """
    Everything that ``nettrace trace`` says.

    ``goal`` is what the flow is held against, in words; ``goal_met`` is None where nothing is
    owed to it or the walk could not decide.  ``notes`` are sentences about the diagnosis
    (``not found within 200 walks``).  ``policies`` are what network policies say about each end
    that the flow may come to.  ``observed`` and ``agreement`` are None without a
    probe.  ``context`` is ``this machine``, ``lab NAME`` or ``file NAME``.  ``names`` maps what the
    walk met (``NETNS/xt/TABLE/CHAIN``, ``NETNS/links/DEVICE``) to what it is to its owner.
    """

    walk: Walk
    findings: tuple[Finding, ...] = ()
    goal: str = ""
    goal_met: bool | None = None
    notes: tuple[str, ...] = ()
    policies: tuple[Enforced, ...] = ()
    observed: Observed | None = None
    agreement: Agreement | None = None
    context: str = ""
    names: dict[str, str] = field(default_factory=dict)


class RepairReport(Struct, frozen=True, kw_only=True):
    """
    What became of a repair.

    ``entry`` is its place in the journal.  ``walk`` and ``observed`` are of the same flow
    afterwards; None where that was not asked or could not be done.  ``kept`` False: it was
    taken back at once, and ``reason`` says why.
    """

    entry: JournalEntry
    kept: bool
    walk: Walk | None = None
    goal_met: bool | None = None
    observed: Observed | None = None
    reason: str = ""
