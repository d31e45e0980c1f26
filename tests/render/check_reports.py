"""A report of a check with one of each status, and with text that every format has to escape."""

from collections.abc import Sequence

from nettrace.model.check import Checked, CheckReport, Status, Suppressed, Suppression
from nettrace.model.finding import Finding, Severity

__all__ = ["HOSTILE", "check_report"]

#: Markup of every format, a workflow command, an escape sequence, a right-to-left mark.
HOSTILE = "<b>&\"'`|*_]]> a::error::%0A, b:c\n::warning::x\x1b[31m\u202e ```"


def check_report(findings: Sequence[Finding] = (), name: str = "web") -> CheckReport:
    """Return the report; *findings* are those of the failure, *name* the name of an expectation."""

    def one(status: Status, source: str, **more: object) -> Checked:
        return Checked(
            name=name,
            kind="expectation",
            source=source,
            target="svc/shop/api:80",
            expected="connected",
            status=status,
            line=3,
            **more,  # type: ignore[arg-type]
        )

    return CheckReport(
        context="lab shop",
        file="./dir with blank/ä.yaml",
        taken="2026-11-25T12:00:00+00:00",
        seconds=1.25,
        checked=(
            one(Status.PASSED, "pod/shop/a", walked="connected to 10.0.0.1"),
            one(Status.FAILED, "pod/shop/b", walked="timeout", reason=HOSTILE, findings=tuple(findings)),
            one(Status.FAILED, "pod/shop/c", reason="refused", probed="refused 1"),
            one(Status.INCONCLUSIVE, "pod/shop/d", reason="routes could not be read"),
            one(Status.ERROR, "pods", reason="no pods match", notes=("a note",)),
            one(Status.SUPPRESSED, "pod/shop/e", reason="timeout (accepted: known)"),
        ),
        left_out=(f"pod-to-pod: {HOSTILE}",),
        suppressions=(
            Suppressed(suppression=Suppression(reason="known", source="pod/shop/e", line=9), used=1),
            Suppressed(suppression=Suppression(reason="old", cause="x*", until="2026-01-01"), expired=True),
        ),
        titles={finding.cause: ("a title", Severity.WARNING) for finding in findings},
    )
