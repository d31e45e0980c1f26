"""A repair that is taken back unless it is confirmed in time."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nettrace.apply.confirm import arm
from nettrace.apply.repair import apply_plan, roll_back
from nettrace.journal import Journal
from nettrace.model.errors import UserError
from tests.kernel.bed import Bed, eventually
from tests.kernel.changing import Node
from tests.kernel.repairs import everything, handles, in_child, killer, one_write, plan_of


def timers(journal: Journal) -> list[int]:
    """The processes that wait for a repair of this journal."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"nettrace.apply.timer" in words and str(journal.directory).encode() in words:
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def timed(journal: Journal) -> Iterator[Journal]:
    """A journal whose timers are ended with the test."""
    yield journal
    for pid in timers(journal):
        os.kill(pid, signal.SIGKILL)


def test_not_confirmed_in_time(netns: Bed, timed: Journal) -> None:
    """A repair that nobody confirms is taken back, although the process that made it was killed."""
    space = netns.new()
    plan = one_write(space.name)

    def run() -> None:
        apply_plan(plan, handles(plan), timed, confirm_within=2.0)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(run) == signal.SIGKILL
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    assert timed.find(plan.id).state == "applied"
    assert len(timers(timed)) == 1
    eventually(lambda: timed.find(plan.id).state == "rolled-back", 10)
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    assert timed.find(plan.id).note == "not confirmed in time"
    eventually(lambda: not timers(timed))


def test_killed_between_arming_and_the_end(node: Node, timed: Journal) -> None:
    """The timer stands before the first change: killed right after that, nobody needs to come back."""
    before = node.read()
    plan = plan_of(before, *everything(node))

    def run() -> None:
        apply_plan(plan, handles(plan), timed, confirm_within=1.0, on_step=killer(12))

    assert in_child(run) == signal.SIGKILL
    eventually(lambda: timed.find(plan.id).state == "rolled-back", 15)
    assert node.differs(before) == []


def test_confirmed(netns: Bed, timed: Journal) -> None:
    """A confirmed repair stays, and its timer ends."""
    space = netns.new()
    plan = one_write(space.name)
    entry = arm(apply_plan(plan, handles(plan), timed), timed, 1.5)
    assert entry.deadline is not None
    assert abs(entry.deadline - time.time() - 1.5) < 5
    assert timed.confirm(plan.id).state == "confirmed"
    eventually(lambda: not timers(timed))
    time.sleep(1.5)
    assert timed.find(plan.id).state == "confirmed"
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


def test_undone_before_the_deadline(netns: Bed, timed: Journal) -> None:
    """A timer whose repair was taken back by hand ends without doing anything; it is too late to confirm."""
    space = netns.new()
    plan = one_write(space.name)
    entry = apply_plan(plan, handles(plan), timed, confirm_within=30)
    roll_back(entry, timed)
    eventually(lambda: not timers(timed))
    with pytest.raises(UserError, match="undone, so there is nothing to confirm"):
        timed.confirm(plan.id)


def test_hangup_does_not_end_the_timer(netns: Bed, timed: Journal) -> None:
    """The timer is in a session of its own, a child of init, and ignores the end of the terminal."""
    space = netns.new()
    plan = one_write(space.name)
    apply_plan(plan, handles(plan), timed, confirm_within=60)
    (pid,) = timers(timed)
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    for number in (signal.SIGHUP, signal.SIGINT):
        os.kill(pid, number)
    time.sleep(0.3)
    assert timers(timed) == [pid]
    assert not [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if ".lock" in str(fd.readlink())]
    timed.confirm(plan.id)
    eventually(lambda: not timers(timed))


def test_a_timer_that_was_killed(netns: Bed, timed: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the timer itself is killed, the next start after the deadline takes the repair back."""
    space = netns.new()
    plan = one_write(space.name)
    apply_plan(plan, handles(plan), timed, confirm_within=60)
    (pid,) = timers(timed)
    os.kill(pid, signal.SIGKILL)
    assert timed.recover() == []
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)
    (late,) = timed.recover()
    roll_back(late, timed, final="rolled-back")
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def test_a_timer_that_does_not_start(netns: Bed, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a timer nothing is changed."""
    space = netns.new()
    plan = one_write(space.name)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(UserError, match="could not be started"):
        apply_plan(plan, handles(plan), journal, confirm_within=60)
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    assert journal.find(plan.id).state == "rolled-back"
