"""The timer's waiting, without a kernel."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from nettrace.apply import confirm
from nettrace.apply.confirm import arm, wait_and_roll_back
from nettrace.journal import Journal
from nettrace.model.errors import UserError
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet
from nettrace.model.plan import JournalEntry, RepairPlan

PLAN = RepairPlan(
    id="0badcafe",
    cause="test",
    context="here",
    flow=Flow(
        origin=Origin(netns="n"),
        packet=Packet(src="", dst="10.0.0.1", proto="tcp"),
        source=ObjectRef(kind="netns", name="n"),
        target=ObjectRef(kind="ip", name="10.0.0.1"),
    ),
    changes=(),
    preconditions=(),
    safety=Safety.AUTO,
)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A journal with one repair in force, which is looked at often."""
    monkeypatch.setattr(confirm, "_POLL", 0.01)
    made = Journal(tmp_path)
    with made.lock():
        made.finish(made.begin(PLAN, {}), "applied")
    return made


def finish(journal: Journal, state: str) -> None:
    """Let the repair end in a state."""
    with journal.lock():
        journal.finish(journal.load("0badcafe"), state)


def never(entry: JournalEntry, book: Journal) -> None:
    """Nothing is to be taken back here."""
    raise AssertionError(entry.state)


def test_the_deadline_is_kept(journal: Journal) -> None:
    """Nothing happens before the deadline; then the repair is taken back, once."""
    started, calls = time.monotonic(), []

    def undo(entry: JournalEntry, book: Journal) -> None:
        calls.append(time.monotonic() - started)
        finish(book, "rolled-back")

    assert wait_and_roll_back(journal, "0badcafe", 0.2, undo) == "rolled back"
    assert len(calls) == 1
    assert calls[0] >= 0.2


def test_what_is_settled_is_not_waited_for(journal: Journal) -> None:
    """A repair that was confirmed, or taken back, or is not in the journal, ends the waiting at once."""
    started = time.monotonic()
    for state in ("confirmed", "undone", "failed"):
        finish(journal, state)
        assert wait_and_roll_back(journal, "0badcafe", 60, never) == "not needed"
    assert wait_and_roll_back(journal, "unknown", 60, never) == "not needed"
    assert time.monotonic() - started < 5


def test_armed_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer whose repair was given another deadline ends, and leaves it to the new one."""

    def push(_: float) -> None:
        with journal.lock():
            journal.set_deadline(journal.load("0badcafe"), 4e9)

    monkeypatch.setattr(time, "sleep", push)
    assert wait_and_roll_back(journal, "0badcafe", 60, never) == "not needed"


def test_somebody_else_is_at_work(journal: Journal) -> None:
    """While another process holds the lock the timer tries again."""
    tries: list[str] = []

    def undo(entry: JournalEntry, book: Journal) -> None:
        tries.append(entry.state)
        if len(tries) < 3:
            raise UserError("another nettrace is repairing")
        finish(book, "rolled-back")

    assert wait_and_roll_back(journal, "0badcafe", 0.01, undo) == "rolled back"
    assert len(tries) == 3


def test_a_rollback_that_fails_ends_the_waiting(journal: Journal) -> None:
    """What the tools refuse is in the journal; the timer does not try for ever."""

    def undo(entry: JournalEntry, book: Journal) -> None:
        finish(book, "failed")
        raise UserError("refused")

    assert wait_and_roll_back(journal, "0badcafe", 0.01, undo) == "failed"


@pytest.mark.parametrize("seconds", [0, -1, 86400, float("nan"), float("inf")])
def test_how_long_one_may_wait(journal: Journal, seconds: float) -> None:
    """A deadline that makes no sense is refused, and none is set."""
    entry = journal.load("0badcafe")
    with pytest.raises(UserError, match="cannot wait"):
        arm(entry, journal, seconds)
    assert journal.load("0badcafe") == replace(entry)
