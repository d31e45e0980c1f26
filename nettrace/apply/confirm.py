"""
The rollback that waits outside of this process, for a repair that cuts its own maker off.

Lives here: starting the timer, and what the timer does.  It needs the journal and the tools,
nothing of the process that started it, and ends as soon as the repair is confirmed or over.
Not here: taking back (repair).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nettrace
from nettrace.journal.book import Journal
from nettrace.model.errors import UserError
from nettrace.model.plan import JournalEntry

__all__ = ["arm", "detach", "say_ready", "start_timer", "wait_and_roll_back"]

#: Seconds for an interpreter to start and load what it needs.
_START = 20.0

#: Seconds between two looks at the journal: how soon a timer ends that is not needed any more.
_POLL = 0.5

#: States of a repair that nobody has settled.
_WAITING = ("applying", "applied", "undoing")

_READY = b"ready\n"


def arm(entry: JournalEntry, journal: Journal, seconds: float) -> JournalEntry:
    """
    Have a repair taken back in *seconds* unless ``Journal.confirm`` comes first.

    Armed again, a repair has the new deadline only.  Returns the entry with its deadline.
    UserError if the timer cannot be started.
    """
    with journal.lock():
        return start_timer(journal.load(entry.id), journal, seconds)


def start_timer(entry: JournalEntry, journal: Journal, seconds: float) -> JournalEntry:
    """Do what ``arm`` does while the journal's lock is held; returns when the timer is waiting."""
    if not 0 < seconds < 86400:
        raise UserError(f"cannot wait {seconds:g} s for a confirmation", hint="give 1 s to 24 h, e.g. 60s")
    entry = journal.set_deadline(entry, time.time() + seconds)
    reading, writing = os.pipe()
    try:
        # A fresh interpreter, not a fork: this process may have threads that hold locks.
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nettrace.apply.timer",
                str(journal.directory.resolve()),
                entry.id,
                repr(seconds),
            ],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "PYTHONPATH": _import_path()},
            start_new_session=True,
        )
        os.close(writing)
        writing = -1
        ready, _, _ = select.select([reading], [], [], _START)
        if not ready or os.read(reading, 64) != _READY:
            process.kill()
            process.wait()
            raise UserError("the process that would take the repair back could not be started")
        process.wait()  # it has left a child of its own behind
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    return entry


def _import_path() -> str:
    """Return PYTHONPATH for a process that must find this nettrace, wherever it was started."""
    given = os.environ.get("PYTHONPATH")
    here = str(Path(nettrace.__file__).resolve().parent.parent)
    return os.pathsep.join((here, given) if given else (here,))


def wait_and_roll_back(
    journal: Journal, identity: str, seconds: float, undo: Callable[[JournalEntry, Journal], object]
) -> str:
    """
    Wait until the deadline of a repair, then *undo* it; returns how it ended.

    The time counts also while the machine sleeps and whatever is done to its clock
    (CLOCK_BOOTTIME, clock_gettime(2)).
    """
    end = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    deadline = _deadline(journal, identity)

    def pending() -> bool:
        return _state(journal, identity) in _WAITING and _deadline(journal, identity) == deadline

    while (left := end - time.clock_gettime(time.CLOCK_BOOTTIME)) > 0:
        if not pending():
            return "not needed"
        time.sleep(min(left, _POLL))
    while pending():
        try:
            undo(journal.load(identity), journal)
        except UserError:
            # Somebody holds the lock, or the tools refuse.  The journal says which.
            time.sleep(_POLL)
            if _state(journal, identity) == "failed":
                return "failed"
        else:
            return "rolled back"
    return "not needed"


def _state(journal: Journal, identity: str) -> str:
    try:
        return journal.load(identity).state
    except UserError:
        return ""


def _deadline(journal: Journal, identity: str) -> float | None:
    try:
        return journal.load(identity).deadline
    except UserError:
        return None


def detach() -> None:
    """
    Leave the process that started this one: a child of init, in a session of its own.

    The parent has made the session (setsid(2)); the second fork gives up its leadership, so
    that no terminal is ever acquired, and lets the starter reap its child at once.
    """
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def say_ready() -> None:
    """Tell the starter that the timer is waiting, then let go of the pipe to it."""
    os.write(1, _READY)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
