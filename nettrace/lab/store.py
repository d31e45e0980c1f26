"""
The records of labs on disk.

Lives here: LAB_ROOT/NAME/ (made, locked, read, written, removed) and finding a lab by its name.
Not here: namespaces and processes (build, teardown).

The directory is the claim on the name: mkdir(2) succeeds for one only.  The lock is held by
flock(2) while a lab is built or taken down, and inherited by the tools that do it, so that
nobody takes a lab down under an `ip` whose nettrace was killed.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from nettrace.lab.blueprint import Blueprint
from nettrace.lab.names import check_lab_name
from nettrace.model.errors import UserError
from nettrace.model.lab import LAB_RECORD, LAB_ROOT, LabRecord

__all__ = ["claim", "find", "free_name", "lab_names", "list_labs", "locked", "read"]
__all__ += ["pending_blueprint", "read_blueprint", "remove", "write", "write_blueprint"]

_LOCK = "lock"
_BLUEPRINT = "blueprint.json"
_PENDING = "blueprint.next.json"
_LOCK_WAIT = 10.0  # seconds; what an orphaned tool may still need


def directory(name: str) -> Path:
    """Where the lab *name* keeps its things."""
    return Path(LAB_ROOT) / name


def claim(name: str) -> Path:
    """Make the directory of the lab *name*; UserError if there is one."""
    path = directory(name)
    while True:
        Path(LAB_ROOT).mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            raise UserError(
                f"there is a lab called {name!r} already",
                where=str(path),
                hint=f"take it down with `nettrace lab down {name}`, or give the new one another --name",
            ) from None
        except FileNotFoundError:
            continue  # a `down` in between removed the empty LAB_ROOT
        return path


def remove(name: str) -> None:
    """Remove the directory of the lab *name*, and the directories above it if they are empty."""
    path = directory(name)
    if path.exists():
        shutil.rmtree(path)
    with suppress(OSError):  # others are in it
        path.parent.rmdir()
        path.parent.parent.rmdir()


@contextmanager
def locked(name: str) -> Iterator[int]:
    """
    Hold the lock of an existing lab; yields its descriptor, for children to inherit.

    UserError if there is no such lab, or if another process is busy with it for 10 s.
    """
    path = directory(name) / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise _no_lab(name) from None
    try:
        _wait_for(descriptor, name)
        try:
            same = os.fstat(descriptor).st_ino == path.stat().st_ino
        except FileNotFoundError:
            same = False
        if not same:  # taken down while this one waited
            raise _no_lab(name)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, name: str) -> None:
    end = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise UserError(
                    f"the lab {name!r} is being built or taken down by another process",
                    where=str(directory(name)),
                    hint="wait for it, or end it, and try again",
                ) from None
            time.sleep(0.02)
        else:
            return


def write(record: LabRecord) -> None:
    """Write a record so that a reader sees the old one or the new one, whole."""
    path = Path(record.root) / LAB_RECORD
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    temporary.replace(path)


def write_blueprint(record: LabRecord, blueprint: Blueprint, *, pending: bool = False) -> None:
    """
    Keep what a lab was made from, so that it can be changed later.

    *pending*: what it is about to become; kept beside the other until that is done.
    """
    new = Path(record.root) / _PENDING
    new.write_bytes(msgspec.json.encode(blueprint))
    if not pending:
        new.replace(Path(record.root) / _BLUEPRINT)


def pending_blueprint(record: LabRecord) -> Blueprint | None:
    """Return what an interrupted change would have made of a lab; None if there was none."""
    path = Path(record.root) / _PENDING
    try:
        return msgspec.json.decode(path.read_bytes(), type=Blueprint)
    except (OSError, msgspec.MsgspecError):  # broken off while it was written: nothing was done yet
        return None


def read_blueprint(record: LabRecord) -> Blueprint:
    """Return what a lab was made from; UserError if that is not there or damaged."""
    path = Path(record.root) / _BLUEPRINT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Blueprint)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"what the lab {record.name!r} was made from cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            hint=f"build it anew: nettrace lab down {record.name}",
        ) from error


def read(name: str) -> LabRecord:
    """Read the record of the lab *name*; UserError if there is none or it cannot be read."""
    path = directory(check_lab_name(name)) / LAB_RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabRecord)
    except FileNotFoundError:
        if not path.parent.exists():
            raise _no_lab(name) from None
        reason = "it is not there"
    except PermissionError:
        raise UserError(
            f"the record of the lab {name!r} may not be read", where=str(path), hint="run it as root"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        reason = str(error).splitlines()[0]
    raise UserError(
        f"the record of the lab {name!r} is damaged: {reason}",
        where=str(path),
        hint=f"`nettrace lab down {name}` takes the lab down without it",
    )


def lab_names() -> tuple[str, ...]:
    """The names of all labs that have a directory, sorted."""
    try:
        return tuple(sorted(entry.name for entry in os.scandir(LAB_ROOT) if entry.is_dir()))
    except FileNotFoundError:
        return ()


def free_name() -> str:
    """Return the first of ``lab1``, ``lab2`` ... that no lab has."""
    taken = set(lab_names())
    return next(name for number in range(1, len(taken) + 2) if (name := f"lab{number}") not in taken)


def list_labs() -> tuple[LabRecord, ...]:
    """
    Return the records of all labs by name.

    One whose record cannot be read is listed with the topology ``?`` and the state ``damaged``.
    """
    found = []
    for name in lab_names():
        try:
            found.append(read(name))
        except UserError:
            if not directory(name).exists():
                continue
            found.append(LabRecord(name=name, topology="?", root=str(directory(name)), state="damaged"))
    return tuple(found)


def find(name: str | None) -> LabRecord:
    """
    Return the lab *name*, or the only one if it is None.

    UserError if there is none, if there are several, or if it is not ready.
    """
    if name is None:
        names = lab_names()
        if not names:
            raise UserError("there is no lab", hint="make one with `nettrace lab up flannel-vxlan`")
        if len(names) > 1:
            raise UserError(
                f"there are {len(names)} labs: {', '.join(names)}", hint=f"choose one: --lab {names[0]}"
            )
        name = names[0]
    record = read(name)
    if record.state != "up":
        raise UserError(
            f"the lab {name!r} is not up but {record.state}",
            where=record.root,
            hint=f"`nettrace lab down {name}` removes what is left of it",
        )
    return record


def _no_lab(name: str) -> UserError:
    names = lab_names()
    return UserError(
        f"there is no lab called {name!r}",
        hint=f"there is {', '.join(names)}" if names else "make one with `nettrace lab up flannel-vxlan`",
    )
