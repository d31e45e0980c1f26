"""Prediction beside observation."""

import pytest

from nettrace.align.outcome import compare
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.observation import Attempt, Observed
from nettrace.model.packet import Packet
from nettrace.model.step import Verdict
from nettrace.model.walk import Endpoint, Leg, Outcome, Path, Walk

FLOW = Flow(
    origin=Origin(netns="client"),
    packet=Packet(src="", dst="10.0.0.1", proto="tcp"),
    source=ObjectRef(kind="netns", name="client"),
    target=ObjectRef(kind="ip", name="10.0.0.1"),
)


def path(outcome: Outcome, share: float = 1.0, errno: str | None = None, netns: str | None = None) -> Path:
    """One branch that ends with *outcome*."""
    leg = Leg(kind="request", steps=(), verdict=Verdict.DELIVERED)
    endpoint = Endpoint(netns=netns, address="10.0.0.1") if netns else None
    return Path(
        probability=share,
        legs=(leg,),
        verdict=Verdict.DELIVERED,
        outcome=outcome,
        errno=errno,
        endpoint=endpoint,
    )


def walk(*paths: Path) -> Walk:
    """A walk of these branches."""
    outcomes = {p.outcome for p in paths}
    outcome = outcomes.pop() if len(outcomes) == 1 else Outcome.MIXED
    return Walk(flow=FLOW, paths=paths, verdict=Verdict.DELIVERED, outcome=outcome)


def seen(*outcomes: Outcome, errno: str | None = None, by: str | None = None) -> Observed:
    """Attempts that ended so."""
    return Observed(
        attempts=tuple(Attempt(outcome=o, delay=0.0, errno=errno, answered_by=by) for o in outcomes)
    )


def test_the_same_outcome_agrees() -> None:
    """One branch and one attempt with the same outcome agree."""
    assert compare(walk(path(Outcome.CONNECTED)), seen(Outcome.CONNECTED)).agrees is True


def test_another_outcome_is_named() -> None:
    """An outcome that no branch has is a difference that names both sides."""
    agreement = compare(walk(path(Outcome.CONNECTED)), seen(Outcome.TIMEOUT, errno="ETIMEDOUT"))
    assert agreement.agrees is False
    assert agreement.differences == ("the walk says connected, the kernel timeout (ETIMEDOUT)",)


def test_another_errno_is_named() -> None:
    """The same outcome with another errno is a difference."""
    predicted = walk(path(Outcome.UNREACHABLE, errno="EHOSTUNREACH"))
    agreement = compare(predicted, seen(Outcome.UNREACHABLE, errno="ENETUNREACH"))
    assert agreement.differences == ("the walk says EHOSTUNREACH, the kernel ENETUNREACH",)
    assert compare(predicted, seen(Outcome.UNREACHABLE, errno="EHOSTUNREACH")).agrees is True


def test_an_answer_from_somebody_else_is_named() -> None:
    """An answer that begins with another namespace's name contradicts the predicted endpoint."""
    predicted = walk(path(Outcome.CONNECTED, netns="web-0"))
    names = ("web-0", "web-1")
    assert compare(predicted, seen(Outcome.CONNECTED, by="web-0"), names=names).agrees is True
    wrong = compare(predicted, seen(Outcome.CONNECTED, by="web-1"), names=names)
    assert wrong.differences == ("the walk ends at web-0, web-1 answered",)
    assert compare(predicted, seen(Outcome.CONNECTED, by="SSH-2.0"), names=names).agrees is True


@pytest.mark.parametrize(("tries", "agrees"), [(3, True), (60, False)])
def test_what_is_never_seen_is_luck_only_for_a_while(tries: int, agrees: bool) -> None:
    """A branch of one third that sixty connections never show is a contradiction; three prove nothing."""
    predicted = walk(path(Outcome.CONNECTED, 2 / 3), path(Outcome.TIMEOUT, 1 / 3))
    assert compare(predicted, seen(*[Outcome.CONNECTED] * tries)).agrees is agrees


def test_a_stalled_connection_may_be_reset_later() -> None:
    """Who stalls is connected, and may be reset by whichever end gives up first."""
    assert compare(walk(path(Outcome.STALLS)), seen(Outcome.RESET, errno="ECONNRESET")).agrees is True
    half = walk(path(Outcome.STALLS, 0.5), path(Outcome.REFUSED, 0.5))
    assert compare(half, seen(*[Outcome.REFUSED] * 40)).differences == (
        "the walk gives connected or reset 50%, 40 connections never showed it",
    )


@pytest.mark.parametrize("outcome", [Outcome.STALLS, Outcome.WRONG_ENDPOINT])
def test_what_a_connecting_client_cannot_tell_apart_agrees(outcome: Outcome) -> None:
    """A stall and a wrong endpoint look like a connection to somebody who only connects."""
    assert compare(walk(path(outcome)), seen(Outcome.CONNECTED)).agrees is True


def test_unknown_never_agrees() -> None:
    """UNKNOWN neither agrees nor disagrees, also where only a branch is unknown."""
    assert compare(walk(path(Outcome.UNKNOWN)), seen(Outcome.CONNECTED)).agrees is None
    mixed = walk(path(Outcome.UNKNOWN, 0.5), path(Outcome.CONNECTED, 0.5))
    assert compare(mixed, seen(Outcome.TIMEOUT)).agrees is None
    assert compare(mixed, seen(Outcome.CONNECTED)).agrees is True


def test_nothing_observed_is_no_agreement() -> None:
    """Without an attempt there is nothing to agree with."""
    assert compare(walk(path(Outcome.CONNECTED)), seen()).agrees is None
