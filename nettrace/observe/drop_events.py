"""
Reasons of drops from tracefs, where BPF is not allowed.

Lives here: an instance with the event skb:kfree_skb, read as text.  It tells neither packet nor
namespace.  An instance outlives a process that is killed, so its name holds the process's number,
and those of dead processes are removed at the next start.
Not here: the better way (drops).
Source: Documentation/trace/ftrace.rst, include/trace/events/skb.h.
"""

import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nettrace.observe.drops import Dropped

__all__ = ["DropEvents", "EventsError", "decode_event", "tracefs"]

_PREFIX = "nettrace-"
_KILOBYTES = 1024  # for each CPU
_EVENT = re.compile(
    r"\s(?P<time>\d+\.\d+): kfree_skb: .*?protocol=(?P<protocol>\d+) location=(?P<location>\S+)"
    r"(?: reason: (?P<reason>\w+))?"
)
_OVERRUN = re.compile(r"^overrun: (\d+)$", re.MULTILINE)


class EventsError(Exception):
    """Tracefs is not there or not allowed; the text says which, as half a sentence."""


def tracefs() -> Path | None:
    """Return where tracefs is mounted."""
    for path in (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")):
        with suppress(OSError):
            if (path / "instances").is_dir():
                return path
    return None


def decode_event(line: str) -> Dropped | None:
    """Read one line of trace_pipe; None for what is no drop."""
    found = _EVENT.search(line)
    if found is None:
        return None
    return Dropped(
        time=float(found["time"]),
        inodes=(),
        device="",
        ifindex=0,
        iif=0,
        ethertype=int(found["protocol"]),
        mark=0,
        length=0,
        sent_here=False,
        reason=found["reason"] or "NOT_SPECIFIED",
        function=found["location"].split("+", 1)[0],
        header=b"",
    )


class DropEvents:
    """Watches from entering until leaving; EventsError where that is not possible."""

    def __init__(self) -> None:
        self._instance: Path | None = None
        self._pipe = -1
        self._rest = b""
        self._overruns = 0

    def __enter__(self) -> Self:
        root = tracefs()
        if root is None:
            raise EventsError("tracefs is not mounted")
        _remove_left_over(root / "instances")
        instance = root / "instances" / f"{_PREFIX}{os.getpid()}"
        try:
            instance.mkdir()
            self._instance = instance
            (instance / "trace_clock").write_text("mono")
            (instance / "buffer_size_kb").write_text(str(_KILOBYTES))
            self._pipe = os.open(instance / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            (instance / "events/skb/kfree_skb/enable").write_text("1")
        except OSError as error:
            self._close()
            raise EventsError(f"tracefs: {(error.strerror or str(error)).lower()}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._instance is not None:
            with suppress(OSError):
                self._instance.rmdir()
            self._instance = None

    def wait(self, seconds: float) -> bool:
        """Wait until there may be something to read."""
        ready, _, _ = select.select([self._pipe], [], [], seconds)
        if ready:
            time.sleep(min(seconds, 0.01))  # the pipe is ready before its lines are whole
        return bool(ready)

    def read(self, most: int | None = None) -> Iterator[Dropped]:
        """Yield what was dropped since the last call, at most about *most* of it."""
        taken = 0
        while self._pipe >= 0 and (most is None or taken < most):
            try:
                data = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for one in lines:
                dropped = decode_event(one.decode(errors="replace"))
                if dropped is not None:
                    taken += 1
                    yield dropped

    def lost(self) -> int:
        """Return how many events the kernel wrote over since the last call."""
        if self._instance is None:
            return 0
        total = 0
        for one in self._instance.glob("per_cpu/cpu*/stats"):
            with suppress(OSError):
                total += sum(int(number) for number in _OVERRUN.findall(one.read_text()))
        fresh, self._overruns = total - self._overruns, total
        return max(fresh, 0)


def _remove_left_over(instances: Path) -> None:
    """Remove the instances of processes that are no more."""
    with suppress(OSError):
        for one in instances.iterdir():
            number = one.name.removeprefix(_PREFIX)
            if one.name.startswith(_PREFIX) and number.isdigit() and not Path("/proc", number).exists():
                with suppress(OSError):
                    one.rmdir()
