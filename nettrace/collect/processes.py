"""
Processes: in which namespace they live, which sockets they hold.

Lives here: one look over /proc, made once for all namespaces of a collection.
Not here: which processes matter (node).
"""

import ctypes
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

__all__ = ["Owner", "Running", "command_line", "running", "socket_option", "socket_owners"]

_PIDFD_GETFD = 438  # the same number on all architectures since Linux 5.6
_libc = ctypes.CDLL(None, use_errno=True)

_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Running(Struct, frozen=True):
    """One process: its id, its command name (at most 15 bytes), the inode of its namespace."""

    pid: int
    name: str
    netns: int


class Owner(Struct, frozen=True):
    """Who holds a socket: process, its command name, and the descriptor it has there."""

    pid: int
    name: str
    descriptor: int


def running() -> tuple[Running, ...]:
    """
    Return the processes whose namespace this user may see.

    One that ends meanwhile is left out.  Threads that moved elsewhere are not looked for.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            inode = (entry / "ns/net").stat().st_ino
            name = (entry / "comm").read_text().rstrip("\n")
        except OSError:
            continue
        found.append(Running(int(entry.name), name, inode))
    return tuple(sorted(found, key=lambda process: process.pid))


def socket_owners(processes: Iterable[Running]) -> dict[int, Owner]:
    """Return socket inode -> the first of *processes* that holds it, where this user may see it."""
    owners: dict[int, Owner] = {}
    for process in processes:
        try:
            descriptors = list(Path(f"/proc/{process.pid}/fd").iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                match = _SOCKET.match(str(descriptor.readlink()))
            except OSError:
                continue
            if match:
                owners.setdefault(int(match[1]), Owner(process.pid, process.name, int(descriptor.name)))
    return owners


def socket_option(owner: Owner, level: int, option: int, size: int) -> bytes | None:
    """
    Ask another process's socket for an option, by a duplicate of its descriptor (pidfd_getfd(2)).

    None where that is not allowed (it needs the right to trace the process) or no longer possible.
    """
    try:
        process = os.pidfd_open(owner.pid)
    except OSError:
        return None
    try:
        copy = _libc.syscall(_PIDFD_GETFD, process, owner.descriptor, 0)
        if copy < 0:
            return None
        with socket.socket(fileno=copy) as duplicate:
            return duplicate.getsockopt(level, option, size)
    except OSError:
        return None
    finally:
        os.close(process)


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; empty for a kernel thread and for one that is gone."""
    try:
        raw = Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.rstrip(b"\0").split(b"\0")) if raw else ()
