"""
Taking a lab down, whatever is left of it.

Lives here: ending its processes, removing its namespaces and its directory, also half-built
ones and those whose record is damaged or gone.
Not here: locking, which the caller does.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path

from nettrace.lab.names import lab_prefix
from nettrace.lab.processes import end_all, is_running, living_in
from nettrace.lab.store import lab_names, read, remove
from nettrace.lab.tools import NETNS_DIRECTORY, ip_batch, netns_path
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord

__all__ = ["leftovers", "tear_down"]

_ROUNDS = 50
_PAUSE = 0.05  # seconds between rounds


def leftovers(name: str) -> tuple[str, ...]:
    """
    The namespaces under /run/netns that carry the prefix of the lab *name*.

    The prefix of ``a`` is that of ``a-b`` too: what a lab that has a directory may call its
    own is not counted.
    """
    prefix = lab_prefix(name)
    others = tuple(lab_prefix(other) for other in lab_names() if other.startswith(f"{name}-"))
    try:
        entries = [entry.name for entry in os.scandir(NETNS_DIRECTORY)]
    except FileNotFoundError:
        return ()
    return tuple(
        sorted(entry for entry in entries if entry.startswith(prefix) and not entry.startswith(others))
    )


def tear_down(name: str) -> None:
    """
    Remove the processes, namespaces and directory of the lab *name*.

    Its record, if it can be read, adds what the namespaces do not show.  UserError if a
    namespace will not go; everything else is gone then.
    """
    try:
        record: LabRecord | None = read(name)
    except UserError:
        record = None
    recorded: set[str] = set()
    if record:
        # What lacks the prefix is not a lab's, whatever its record says.
        recorded = {n.netns for n in record.namespaces if n.netns.startswith(lab_prefix(name))}
        end_all(process for process in record.processes if is_running(process))
    inodes: set[int] = set()
    for _ in range(_ROUNDS):
        left = _present(recorded.union(leftovers(name)))
        inodes |= _inodes(left)
        processes = living_in(inodes)
        if not left and not processes:
            break
        end_all(processes)
        ip_batch(None, [f"netns del {netns}" for netns in left], force=True)
        if _present(left):
            time.sleep(_PAUSE)
    else:
        raise UserError(
            f"these namespaces could not be removed: {', '.join(left)}",
            where=NETNS_DIRECTORY,
            hint=f"ip netns del {left[0]}" if left else "something in them keeps starting processes",
        )
    remove(name)


def _present(names: Collection[str]) -> list[str]:
    return sorted(netns for netns in names if os.path.lexists(netns_path(netns)))


def _inodes(names: list[str]) -> frozenset[int]:
    found = set()
    for netns in names:
        try:
            status = Path(netns_path(netns)).stat()
        except FileNotFoundError:
            continue
        # Between open(2) and mount(2) of `ip netns add` the file is no namespace yet.
        if status.st_dev == _nsfs():
            found.add(status.st_ino)
    return frozenset(found)


def _nsfs() -> int:
    return Path("/proc/self/ns/net").stat().st_dev
