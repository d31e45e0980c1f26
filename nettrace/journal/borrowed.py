"""
Sysctls that a probe changes for a moment: written down first, put back afterwards or at the next start.

Lives here: borrowing, giving back, and putting back what a killed process had borrowed.  One file a
loan; its owner holds a lock on it for as long as it lives (flock(2)), so that a loan without an owner
shows, whatever ended it.
Not here: repairs (book), which sysctls and why (nettrace.observe.legacy_log).
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from nettrace.collect.failure import CollectError
from nettrace.collect.netns import in_netns
from nettrace.journal.book import boot_id
from nettrace.journal.files import locked, sync_directory

__all__ = ["FOLDER", "Borrowed", "borrow", "put_back"]

#: Inside the directory of the journal.
FOLDER = "borrowed"

_PROC = Path("/proc/sys")
_LOCK_WAIT = 15.0  # seconds


class _Loan(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed: sysctls of one namespace, by their path below /proc/sys."""

    netns: str
    inode: int
    boot: str
    before: dict[str, str]
    meanwhile: dict[str, str]


class Borrowed(NamedTuple):
    """A loan of this process: give_back() ends it."""

    folder: Path
    path: Path
    descriptor: int
    before: Mapping[str, str]

    def give_back(self) -> None:
        """Write the old values, in a thread of the namespace; OSError where that fails."""
        try:
            with _locked(self.folder):
                for name, value in self.before.items():
                    _write(name, value)
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)


def borrow(directory: Path, netns: str, inode: int, wanted: Mapping[str, str]) -> Borrowed:
    """
    Set sysctls in the namespace of the calling thread, which *netns* leads to.

    *directory* is that of the journal; *wanted* maps paths below /proc/sys to values.  What is to be
    put back is on the disk before anything is changed.  OSError where something cannot be written,
    UserError where somebody holds the lock; nothing is changed then.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder):
        _put_back(folder)
        before = {name: (_PROC / name).read_text().strip() for name in wanted}
        loan = _Loan(netns=netns, inode=inode, boot=boot_id(), before=before, meanwhile=dict(wanted))
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        descriptor = _keep(path, loan)
        borrowed = Borrowed(folder, path, descriptor, before)
        try:
            for name, value in wanted.items():
                _write(name, value)
        except OSError:
            for name, value in before.items():
                with suppress(OSError):
                    _write(name, value)
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
    return borrowed


def put_back(directory: Path) -> tuple[str, ...]:
    """
    Put back what processes had borrowed that are gone; returns a sentence for each loan.

    UserError where the lock cannot be had; OSError where a value cannot be written.
    """
    folder = directory / FOLDER
    try:
        if not any(True for _ in folder.glob("*.json*")):
            return ()
    except OSError:
        return ()
    with _locked(folder):
        return tuple(_put_back(folder))


def _put_back(folder: Path) -> list[str]:
    said = []
    for path in sorted(folder.glob("*.json*")):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its owner lives
        else:
            if path.suffix == ".json":
                said += _restore(path)
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    return said


def _restore(path: Path) -> list[str]:
    try:
        loan = msgspec.json.decode(path.read_bytes(), type=_Loan)
    except msgspec.DecodeError:
        return [f"{path} is damaged: whatever it was about was left as it is"]
    if loan.boot != boot_id():
        return []  # gone with that start of the machine
    try:
        if not in_netns(loan.netns, _restore_here, loan):
            return []
    except CollectError:
        return []  # the namespace is gone, and its sysctls with it
    names = ", ".join(name.replace("/", ".") for name in loan.before)
    return [f"a probe was killed that had changed {names} in {loan.netns}: put back"]


def _restore_here(loan: _Loan) -> bool:
    """Put back what nobody else has changed since; false where this is another namespace by now."""
    if Path("/proc/thread-self/ns/net").stat().st_ino != loan.inode:
        return False
    for name, value in loan.before.items():
        if (_PROC / name).read_text().strip() == loan.meanwhile[name]:
            _write(name, value)
    return True


def _keep(path: Path, loan: _Loan) -> int:
    """Write *loan* to the disk; returns the descriptor that holds its lock."""
    scratch = path.with_name(f"{path.name}.new")
    descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, msgspec.json.encode(loan))
        os.fsync(descriptor)
        scratch.replace(path)
        sync_directory(path.parent)
    except BaseException:
        scratch.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor


def _write(name: str, value: str) -> None:
    (_PROC / name).write_text(value)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with locked(folder / ".lock", _LOCK_WAIT):
        yield
