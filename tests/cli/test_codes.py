"""Exit codes of a trace."""

import pytest

from nettrace.cli.codes import ExitCode, of_trace, worst
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.observation import Agreement
from nettrace.model.packet import Packet
from nettrace.model.report import TraceReport
from nettrace.model.step import Verdict
from nettrace.model.walk import Leg, Outcome, Path, Walk

REF = ObjectRef(kind="ip", name="10.0.0.1")
FLOW = Flow(
    origin=Origin(netns="a"),
    packet=Packet(src="10.0.0.1", dst="10.0.0.2", proto="udp"),
    source=REF,
    target=REF,
)


def report(
    *outcomes: Outcome, met: bool | None = None, agrees: bool | None = None, probed: bool = False
) -> TraceReport:
    """Make a report of one branch an outcome."""
    leg = Leg(kind="request", steps=(), verdict=Verdict.DELIVERED)
    paths = tuple(
        Path(probability=1 / len(outcomes), legs=(leg,), verdict=Verdict.DELIVERED, outcome=outcome)
        for outcome in outcomes
    )
    walk = Walk(flow=FLOW, paths=paths, verdict=Verdict.DELIVERED, outcome=outcomes[0])
    agreement = Agreement(agrees=agrees, predicted=outcomes[0]) if probed else None
    return TraceReport(walk=walk, goal_met=met, agreement=agreement)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (report(Outcome.CONNECTED), ExitCode.OK),
        (report(Outcome.TIMEOUT), ExitCode.PROBLEM),
        (report(Outcome.UNKNOWN), ExitCode.UNKNOWN),
        (report(Outcome.CONNECTED, Outcome.UNKNOWN), ExitCode.UNKNOWN),
        (report(Outcome.TIMEOUT, Outcome.UNKNOWN), ExitCode.PROBLEM),
        (report(Outcome.REFUSED, met=True), ExitCode.OK),
        (report(Outcome.CONNECTED, met=False), ExitCode.PROBLEM),
        (report(Outcome.UNKNOWN, met=False), ExitCode.UNKNOWN),
        (report(Outcome.CONNECTED, Outcome.TIMEOUT, met=False), ExitCode.PROBLEM),
        (report(Outcome.CONNECTED, met=True, probed=True, agrees=True), ExitCode.OK),
        (report(Outcome.CONNECTED, met=True, probed=True, agrees=False), ExitCode.PROBLEM),
        (report(Outcome.UNKNOWN, probed=True, agrees=None), ExitCode.UNKNOWN),
    ],
)
def test_the_code_tells_what_is_owed_from_what_is_seen(given: TraceReport, code: ExitCode) -> None:
    """0 as owed, 1 otherwise, 3 where it cannot be told; a probe that differs is a problem."""
    assert of_trace(given) is code


def test_two_over_one_over_three() -> None:
    """Of several codes the one that tells most is kept."""
    assert worst([]) is ExitCode.OK
    assert worst([ExitCode.UNKNOWN, ExitCode.OK]) is ExitCode.UNKNOWN
    assert worst([ExitCode.UNKNOWN, ExitCode.PROBLEM]) is ExitCode.PROBLEM
    assert worst([ExitCode.FAILED, ExitCode.PROBLEM, ExitCode.UNKNOWN]) is ExitCode.FAILED
