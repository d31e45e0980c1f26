"""The exit codes of a check, and what --fail-on makes of them."""

import pytest

from nettrace.cli.codes import of_check
from nettrace.model.check import Checked, CheckReport, Status, Suppressed, Suppression


def report(*statuses: Status, unused: bool = False) -> CheckReport:
    """A report with checks of these statuses."""
    checked = tuple(
        Checked(name="n", kind="expectation", source="a", target="b", expected="owed", status=status)
        for status in statuses
    )
    states = (Suppressed(suppression=Suppression(reason="r", name="x")),) if unused else ()
    return CheckReport(context="lab x", file="", taken="", seconds=0.0, checked=checked, suppressions=states)


@pytest.mark.parametrize(
    ("statuses", "codes"),  # never, problem, inconclusive, warning
    [
        ((Status.PASSED,), (0, 0, 0, 0)),
        ((Status.PASSED, Status.SUPPRESSED), (0, 0, 0, 0)),
        ((Status.PASSED, Status.INCONCLUSIVE), (0, 0, 3, 3)),
        ((Status.INCONCLUSIVE, Status.FAILED), (0, 1, 1, 1)),
        ((Status.INCONCLUSIVE, Status.FAILED, Status.ERROR), (2, 2, 2, 2)),
        ((), (0, 0, 3, 3)),
    ],
)
def test_codes(statuses: tuple[Status, ...], codes: tuple[int, ...]) -> None:
    """2 over 1 over 3; nothing checked is nothing known; what could not be asked always fails."""
    levels = ("never", "problem", "inconclusive", "warning")
    assert tuple(of_check(report(*statuses), level) for level in levels) == codes


def test_unused_suppressions() -> None:
    """A suppression that covers nothing fails a check only where warnings do."""
    assert of_check(report(Status.PASSED, unused=True)) == 0
    assert of_check(report(Status.PASSED, unused=True), "warning") == 1
