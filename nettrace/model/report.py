"""
The report of a trace: the walk, why it ends so, and what a real probe saw.

Lives here: the type that nettrace.app hands to every front end and renderer.
"""

from msgspec import Struct

from nettrace.model.finding import Finding
from nettrace.model.observation import Agreement, Observed
from nettrace.model.walk import Walk

__all__ = ["TraceReport"]


class TraceReport(Struct, frozen=True, kw_only=True):
    """
    Everything that ``nettrace trace`` says.

    ``goal`` is what the flow is held against, in words; ``goal_met`` is None where nothing is
    owed to it or the walk could not decide.  ``notes`` are sentences about the diagnosis
    (``not found within 200 walks``).  ``observed`` and ``agreement`` are None without a
    probe.  ``context`` is ``this machine``, ``lab NAME`` or ``file NAME``.
    """

    walk: Walk
    findings: tuple[Finding, ...] = ()
    goal: str = ""
    goal_met: bool | None = None
    notes: tuple[str, ...] = ()
    observed: Observed | None = None
    agreement: Agreement | None = None
    context: str = ""
