"""
The lab's processes: starting them in a namespace, telling them apart, ending them.

Lives here: /proc/PID/stat and /proc/PID/ns/net as far as a lab needs them.
Not here: what the processes do (server, dns).

A process belongs to a lab if the lab recorded it (number and start time both), or if it lives
in one of its namespaces: then it is a listener whose nettrace was killed before it could be
recorded, or a shell that somebody opened there.  Threads of other programs that only visit a
namespace do not count, as /proc/PID/ns/net is the main thread's.
"""

import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from nettrace.collect.netns import in_netns, netns_inode
from nettrace.lab.blueprint import Daemon
from nettrace.lab.tools import netns_path, run
from nettrace.model.errors import UserError
from nettrace.model.lab import LabProcess

__all__ = ["await_settled", "end_all", "is_running", "left_by", "living_in", "start"]

_PATIENCE = 0.4  # seconds between SIGTERM and SIGKILL
_SETTLING = 30.0  # seconds that daemons have to find each other
_DEAD = frozenset("ZXx")  # states of proc(5): a zombie runs no more


def start(daemon: Daemon, root: Path) -> LabProcess:
    """Start a daemon in its namespace and return once it answers; UserError with its words if it fails."""
    (root / daemon.pid_file).unlink(missing_ok=True)  # one of an earlier process
    in_netns(netns_path(daemon.netns), run, daemon.argv, what=f"{daemon.netns}, {daemon.name}")
    pid = _left_pid(daemon, root / daemon.pid_file)
    found = _stat(pid)
    if found is None or found[0] in _DEAD:
        raise UserError(f"{daemon.name} ended as soon as it was started", where=daemon.netns)
    return LabProcess(pid=pid, started=found[1], name=daemon.name, netns=daemon.netns)


def await_settled(daemons: Iterable[Daemon]) -> None:
    """Return when every daemon has what it needs from the others; UserError for one that does not get it."""
    end = time.monotonic() + _SETTLING
    for daemon in (one for one in daemons if one.settled):
        while True:
            try:
                in_netns(netns_path(daemon.netns), run, daemon.settled)
                break
            except UserError as error:
                if time.monotonic() > end:
                    raise UserError(
                        f"{daemon.name} runs, and does not get from the others what it needs",
                        where=f"{daemon.netns}: {error.what}",
                    ) from error
            time.sleep(0.1)


def _left_pid(daemon: Daemon, path: Path) -> int:
    """The number in a pid file, which nginx writes a moment after its parent has returned."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return int(path.read_text())
        except (OSError, ValueError) as error:
            if time.monotonic() > end:
                raise UserError(f"{daemon.name} left no process id: {error}", where=daemon.netns) from error
        time.sleep(0.002)


def left_by(daemon: Daemon, root: Path) -> tuple[LabProcess, ...]:
    """The process that a daemon's pid file names, if it lives in its namespace; nobody recorded it."""
    try:
        pid = int((root / daemon.pid_file).read_text())
        same = netns_inode(f"/proc/{pid}/ns/net") == netns_inode(netns_path(daemon.netns))
    except (OSError, ValueError):
        return ()
    found = _stat(pid)
    return (
        (LabProcess(pid=pid, started=found[1], name=daemon.name, netns=daemon.netns),)
        if same and found
        else ()
    )


def is_running(process: LabProcess) -> bool:
    """Is this very process still there, and not only its number?"""
    found = _stat(process.pid)
    return found is not None and found[0] not in _DEAD and found[1] == process.started


def living_in(inodes: Collection[int]) -> tuple[LabProcess, ...]:
    """All processes whose namespace has one of these inodes, but for this one and its ancestors."""
    spared = _ancestors()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        with suppress(OSError):  # it ended, or is not ours to look at
            if netns_inode(f"/proc/{entry.name}/ns/net") in inodes:
                pid = int(entry.name)
                if (state := _stat(pid)) is not None:
                    found.append(LabProcess(pid=pid, started=state[1], name="", netns=""))
    return tuple(found)


def end_all(processes: Iterable[LabProcess]) -> None:
    """End these processes, by SIGTERM and after 0.4 s by SIGKILL; gone when it returns."""
    left = {process.pid: process for process in processes}
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 2.0)):
        left = {pid: process for pid, process in left.items() if is_running(process)}
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + patience
        while left and time.monotonic() < end:
            time.sleep(0.002)
            left = {pid: process for pid, process in left.items() if is_running(process)}


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time of a process; None if there is none of this number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in brackets may hold anything
    return fields[0], int(fields[19])


def _ancestors() -> frozenset[int]:
    found = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            break
        pid = int(text.rpartition(")")[2].split()[1])
    return frozenset(found)
