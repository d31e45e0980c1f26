"""
Exit codes, and which one a trace or a check ends with.

Lives here: the numbers that pipelines depend on.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettrace.model.check import CheckReport
    from nettrace.model.guide import GuideReport, PodReport
    from nettrace.model.ingress_report import IngressReport
    from nettrace.model.report import TraceReport

__all__ = ["ExitCode", "of_guide", "of_ingress", "of_trace", "worst"]


class ExitCode(IntEnum):
    """What a process of nettrace ends with."""

    OK = 0  # as expected
    PROBLEM = 1  # a problem was found
    FAILED = 2  # could not run: usage, privilege, bad input
    UNKNOWN = 3  # inconclusive: state is missing, or cannot be decided
    INTERRUPTED = 130


#: 2 over 1 over 3 when several hold.
_ORDER = (ExitCode.OK, ExitCode.UNKNOWN, ExitCode.PROBLEM, ExitCode.FAILED, ExitCode.INTERRUPTED)


def worst(codes: "Iterable[ExitCode]") -> ExitCode:
    """Return the code that tells most; OK if there is none."""
    return max(codes, key=_ORDER.index, default=ExitCode.OK)


def of_trace(report: "TraceReport") -> ExitCode:
    """
    Return the code of a trace.

    What is owed to the flow decides if anything is; else it is expected to connect.  A probe
    that differs from the walk is a problem, whichever of the two is right.
    """
    from nettrace.model.walk import Outcome

    outcomes = {path.outcome for path in report.walk.paths} or {report.walk.outcome}
    codes = []
    if Outcome.UNKNOWN in outcomes:
        codes.append(ExitCode.UNKNOWN)
    if report.goal_met is None:
        certain = outcomes - {Outcome.UNKNOWN, Outcome.CONNECTED}
        codes.append(ExitCode.PROBLEM if certain else ExitCode.OK)
    elif not report.goal_met:
        codes.append(ExitCode.UNKNOWN if outcomes == {Outcome.UNKNOWN} else ExitCode.PROBLEM)
    if report.agreement is not None and report.agreement.agrees is False:
        codes.append(ExitCode.PROBLEM)
    return worst(codes)


def of_ingress(report: "IngressReport") -> ExitCode:
    """Return the code of a trace through an Ingress: its parts', and a problem where no rule leads on."""
    codes = [of_trace(part.report) for part in report.parts]
    if report.route.status:
        codes.append(ExitCode.PROBLEM)
    elif report.outcome == "unknown":
        codes.append(ExitCode.UNKNOWN)
    return worst(codes)


def of_guide(report: "GuideReport | PodReport") -> ExitCode:
    """Return the code of a guided flow: a cause is a problem, what could not be decided inconclusive."""
    from nettrace.model.guide import CheckState

    codes = {CheckState.PROBLEM: ExitCode.PROBLEM, CheckState.UNKNOWN: ExitCode.UNKNOWN}
    return codes.get(report.state, ExitCode.OK)


#: ``--fail-on``: what makes a check end otherwise than with 0, each with what stands before it.
FAIL_ON = ("never", "problem", "inconclusive", "warning")


def of_check(report: "CheckReport", fail_on: str = "inconclusive") -> ExitCode:
    """
    Return the code of a check.

    *fail_on*: ``problem`` lets pass what is inconclusive, ``warning`` also fails on a suppression that
    covers nothing, ``never`` on nothing but what could not be asked.  Where nothing was checked,
    nothing is known to be well.
    """
    from nettrace.model.check import Status

    level = FAIL_ON.index(fail_on)
    statuses = {one.status for one in report.checked}
    codes = [ExitCode.FAILED] if Status.ERROR in statuses else []
    if Status.FAILED in statuses and level >= FAIL_ON.index("problem"):
        codes.append(ExitCode.PROBLEM)
    if (Status.INCONCLUSIVE in statuses or not statuses) and level >= FAIL_ON.index("inconclusive"):
        codes.append(ExitCode.UNKNOWN)
    if level >= FAIL_ON.index("warning") and any(one.expired or not one.used for one in report.suppressions):
        codes.append(ExitCode.PROBLEM)
    return worst(codes)
