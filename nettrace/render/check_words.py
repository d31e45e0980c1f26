"""
What all formats of a check say alike: one failing check in a few lines, the commands, the summary.

Lives here: words without any format's marks.  Everything that others wrote is made visible.
"""

from collections.abc import Iterable, Iterator
from shlex import quote

from nettrace.model.check import Status
from nettrace.model.finding import Safety
from nettrace.render.contract_check import CheckReportDocument, CheckView, SuppressionView
from nettrace.render.contract_finding import FindingView
from nettrace.render.visible import visible

__all__ = [
    "NO_CAUSE",
    "STATUSES",
    "apply_command",
    "bad_suppressions",
    "described",
    "label",
    "not_passed",
    "repair_lines",
    "repair_options",
    "rule_of",
    "summary",
    "suppression_words",
]

#: The rule of a check that failed without a cause being found.
NO_CAUSE = "expectation-not-met"

#: In the order in which they are reported.
STATUSES = (Status.ERROR, Status.FAILED, Status.INCONCLUSIVE, Status.SUPPRESSED, Status.PASSED)


def summary(document: CheckReportDocument) -> str:
    """``50 checks: 47 passed, 3 failed``."""
    counts = {status: getattr(document.counts, status.value) for status in Status}
    shown = [f"{count} {_PLURAL.get(status, status.value)}" for status, count in counts.items() if count]
    what = "check" if len(document.checks) == 1 else "checks"
    return f"{len(document.checks)} {what}: {', '.join(shown)}" if shown else "nothing was checked"


_PLURAL = {Status.ERROR: "could not be asked"}


def label(check: CheckView) -> str:
    """Name a check: its name, and its flow where several checks have that name."""
    return visible(f"{check.name}: {check.flow}")


def not_passed(document: CheckReportDocument) -> list[CheckView]:
    """Return the checks that are not passed, the worst first."""
    order = {status: number for number, status in enumerate(STATUSES)}
    found = [one for one in document.checks if one.status is not Status.PASSED]
    return sorted(found, key=lambda one: order[one.status])


def rule_of(check: CheckView) -> str:
    """Return the id under which a check that is not passed is reported: its first cause, if any."""
    if check.status is Status.INCONCLUSIVE:
        return "inconclusive"
    if check.status is Status.ERROR:
        return "could-not-ask"
    return check.findings[0].cause if check.findings else NO_CAUSE


def described(document: CheckReportDocument, check: CheckView) -> Iterator[str]:
    """Yield the lines that tell of a check that is not passed: what, why, evidence, repair."""
    yield visible(f"expected: {check.expected}")
    if check.walked and not check.reason.startswith(check.walked):
        yield visible(f"walked:   {check.walked}")
    if check.probed:
        yield visible(f"probed:   {check.probed}")
    if check.reason:
        yield visible(f"reason:   {check.reason}")
    for finding in check.findings:
        yield visible(f"cause:    {finding.cause}: {finding.message}")
        for piece in finding.evidence:
            note = f"   ({piece.note})" if piece.note else ""
            yield visible(f"evidence: {piece.text}{note}")
        yield from (visible(one) for one in repair_lines(document, check, finding))
    for note in check.notes:
        yield visible(f"note:     {note}")


def repair_lines(document: CheckReportDocument, check: CheckView, finding: FindingView) -> Iterator[str]:
    """Yield how a finding is repaired: the commands, who owns that state, what to type."""
    repair = finding.repairs[0] if finding.repairs else None
    if repair is None:
        return
    for where, command in zip(_places(repair.changes), repair.commands, strict=True):
        yield f"repair:   {command}" + (f"   (in {where})" if where else "")
    if repair.effect:
        yield f"effect:   {repair.effect}"
    if repair.owner:
        yield f"owner:    {repair.owner}"
    if repair.lasting:
        first, *more = repair.lasting.splitlines()
        yield f"lasting:  {first}"
        yield from (f"          {line}" for line in more)
    if repair.safety is not Safety.ADVICE and repair.commands and check.target:
        yield f"apply:    {apply_command(document, check, finding)}"


def _places(changes: Iterable[object]) -> list[str]:
    return [str(getattr(change, "netns", "")) for change in changes]


def apply_command(document: CheckReportDocument, check: CheckView, finding: FindingView) -> str:
    """Return the command that applies the repair of a finding."""
    return f"nettrace repair apply {finding.cause}{repair_options(document, check)}"


def repair_options(document: CheckReportDocument, check: CheckView) -> str:
    """Return the options by which ``repair`` finds the flow of a check again."""
    words = ["--flow", check.source, check.target]
    if check.stated:
        words += ["--goal", "connected"]
    if document.context.startswith("lab "):
        words += ["--lab", document.context.removeprefix("lab ")]
    return "".join(f" {quote(word)}" for word in words)


def bad_suppressions(document: CheckReportDocument) -> list[SuppressionView]:
    """Return the suppressions that cover nothing, or whose day has passed."""
    return [one for one in document.suppressions if one.expired or not one.used]


def suppression_words(one: SuppressionView) -> str:
    """Say what is the matter with a suppression."""
    given = [("name", one.name), ("cause", one.cause), ("from", one.source), ("to", one.target)]
    what = ", ".join(f"{name}: {value}" for name, value in given if value)
    state = f"expired after {one.until}" if one.expired else "covers no failure"
    return visible(f"suppression ({what}) {state}: {one.reason}")
