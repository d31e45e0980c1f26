"""
The journal's files: written so that a reader sees the old text or the new one, never half.

Lives here: durable replacement of a file, the lock, encoding of one entry.
Not here: what the entries mean (book).
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from nettrace.model.errors import UserError
from nettrace.model.plan import JournalEntry

__all__ = ["locked", "read_entry", "write_entry"]

API_VERSION = "nettrace/v1"
KIND = "JournalEntry"

#: Seconds between two tries for the lock.
_POLL = 0.05


class _Header(msgspec.Struct, rename="camel"):
    api_version: str | None = None
    kind: str | None = None


class _File(_Header, kw_only=True):
    entry: JournalEntry


def write_entry(path: Path, entry: JournalEntry) -> None:
    """
    Put *entry* on the disk: when this returns, a crash of the machine does not lose it.

    The new text is written beside the old one, synced, and renamed over it; then the
    directory is synced, which makes the name durable (fsync(2), rename(2)).  UserError if
    the text cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        data = msgspec.json.encode(_File(api_version=API_VERSION, kind=KIND, entry=entry))
    except UnicodeEncodeError as error:
        raise UserError(
            "the plan holds text that is not Unicode, so it could not be taken back from the journal",
            where=str(path),
            hint="apply its commands by hand",
        ) from error
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        scratch.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UserError(f"cannot write the journal: {_words(error)}", where=str(path)) from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_entry(path: Path) -> JournalEntry:
    """Return the entry in a file; UserError, naming the file, if it is none."""
    hint = "see by hand what it was about, then move the file away"
    try:
        data = path.read_bytes()
        header = msgspec.json.decode(data, type=_Header)
        if header.kind != KIND or header.api_version != API_VERSION:
            raise UserError(
                f"this is {header.kind or 'JSON'} of {header.api_version or 'no version'}, "
                f"not a {KIND} of {API_VERSION}",
                where=str(path),
                hint="read it with the nettrace that wrote it",
            )
        return msgspec.json.decode(data, type=_File).entry
    except OSError as error:
        raise UserError(f"cannot read the journal: {_words(error)}", where=str(path)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"this journal file is damaged: {error}", where=str(path), hint=hint) from error


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


@contextmanager
def locked(path: Path, wait: float) -> Iterator[int]:
    """
    Hold the lock file *path* exclusively, and give its descriptor.

    The lock belongs to the open file (flock(2)): it ends with the last process that has the
    descriptor, also when that is killed.  A tool that inherits the descriptor keeps the lock
    until it is done, although its parent is gone.  UserError if somebody else has it for more
    than *wait* seconds.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"cannot write the journal: {_words(error)}", where=str(path)) from error
    try:
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                    raise UserError(
                        f"another nettrace (process {holder or 'unknown'}) is repairing on this machine",
                        where=str(path),
                        hint="wait until it is done",
                    ) from None
                time.sleep(_POLL)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
