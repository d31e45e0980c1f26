"""What the end of a run says of all tests together."""

from typing import Any

from tests.vm.machine import NO_KERNEL


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly that nothing of tests/vm was tested, and why: a row of s is easily overlooked."""
    reasons = [
        report.longrepr[2]
        for report in terminalreporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple) and report.longrepr[2].startswith(NO_KERNEL)
    ]
    if reasons:
        terminalreporter.section("NOT TESTED", sep="!", red=True)
        terminalreporter.line(f"IPVS and all of tests/vm ({len(reasons)} tests): {reasons[0]}", red=True)
