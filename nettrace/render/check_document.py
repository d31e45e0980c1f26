"""
From the report of a check to its document.
"""

from collections import Counter

from nettrace.model.check import Checked, CheckReport, Suppressed
from nettrace.model.snapshot import Snapshot
from nettrace.render.contract_check import (
    CheckReportDocument,
    CheckView,
    CountsView,
    RuleView,
    SuppressionView,
)
from nettrace.render.document import finding_view

__all__ = ["check_document"]


def check_document(report: CheckReport, snapshot: Snapshot | None = None) -> CheckReportDocument:
    """
    Make the document of a check.

    With the *snapshot* that the findings were made from, every repair also tells how it is taken back.
    """
    counts = Counter(one.status.value for one in report.checked)
    return CheckReportDocument(
        context=report.context,
        file=report.file,
        taken=report.taken,
        seconds=report.seconds,
        counts=CountsView(**{name: counts[name] for name in CountsView.__struct_fields__}),
        checks=tuple(_check(one, snapshot) for one in report.checked),
        left_out=report.left_out,
        suppressions=tuple(_suppression(one) for one in report.suppressions),
        causes=tuple(
            RuleView(id=cause, title=title, severity=severity)
            for cause, (title, severity) in report.titles.items()
        ),
    )


def _check(checked: Checked, snapshot: Snapshot | None) -> CheckView:
    return CheckView(
        name=checked.name,
        kind=checked.kind,
        source=checked.source,
        target=checked.target,
        expected=checked.expected,
        status=checked.status,
        walked=checked.walked,
        probed=checked.probed,
        reason=checked.reason,
        findings=tuple(finding_view(finding, snapshot) for finding in checked.findings),
        notes=checked.notes,
        line=checked.line,
        stated=checked.stated,
    )


def _suppression(state: Suppressed) -> SuppressionView:
    given = state.suppression
    return SuppressionView(
        reason=given.reason,
        name=given.name,
        cause=given.cause,
        source=given.source,
        target=given.target,
        until=given.until,
        line=given.line,
        used=state.used,
        expired=state.expired,
    )
