"""
The journal: one file a repair, one writer at a time.

Lives here: beginning, continuing, finishing and finding entries, and which of them a killed
process left half done.
Not here: how files are made durable (files), taking changes back (nettrace.apply.repair).
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from nettrace.collect.netns import netns_inode
from nettrace.journal.files import locked, read_entry, sync_directory, write_entry
from nettrace.model.errors import UserError
from nettrace.model.plan import ChainImage, JournalEntry, RepairPlan

__all__ = ["CLOSED", "DIRECTORY", "IN_FORCE", "OPEN", "Journal"]

DIRECTORY = Path("/run/nettrace/journal")

#: States of a repair that is in force, that was left in the middle, that is over.
IN_FORCE = ("applied", "confirmed")
OPEN = ("applying", "undoing")
CLOSED = ("undone", "rolled-back")

#: Seconds to wait for another nettrace, or for a tool that one left behind when it was killed:
#: longer than the tools wait for their own lock.
LOCK_WAIT = 15.0

#: Seconds after a deadline by which the timer has done its work if it still lives.
_GRACE = 30.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Journal:
    """
    The repairs of this machine.

    Everything that writes an entry that exists must hold ``lock()``; whoever changes the kernel
    holds it from before the first change until after the last.
    """

    def __init__(self, directory: Path | str = DIRECTORY) -> None:
        self.directory = Path(directory)

    # --- writing -----------------------------------------------------------------------

    @contextmanager
    def lock(self, wait: float = LOCK_WAIT) -> Iterator[int]:
        """
        Keep every other nettrace from repairing; gives the lock's descriptor.

        UserError after *wait* seconds, or if the directory cannot be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UserError(
                f"cannot write the journal: {(error.strerror or str(error)).lower()}",
                where=str(self.directory),
                hint="repairs need root",
            ) from error
        with locked(self.directory / ".lock", wait) as descriptor:
            for scratch in self.directory.glob(".*.json.*"):  # of a process that was killed while it wrote
                scratch.unlink(missing_ok=True)
            yield descriptor

    def begin(self, plan: RepairPlan, handles: Mapping[str, str]) -> JournalEntry:
        """
        Write the entry of a repair that is about to begin; nothing has been changed yet.

        *handles* maps each namespace of the plan to its path.  UserError if one cannot be
        opened: it could not be reached for the way back either.
        """
        inodes = {}
        for name in sorted({planned.change.netns for planned in plan.changes}):
            if name not in handles:
                raise UserError(f"the plan changes {name}, which is not a namespace here")
            try:
                inodes[name] = netns_inode(handles[name])
            except OSError as error:
                words = (error.strerror or str(error)).lower()
                raise UserError(
                    f"the network namespace {name} is gone: {words}", where=handles[name]
                ) from error
        entry = JournalEntry(
            id=self._free_id(plan.id),
            plan=plan,
            state="applying",
            started=_now(),
            handles={name: handles[name] for name in inodes},
            inodes=inodes,
            boot=boot_id(),
        )
        write_entry(self._path(entry.id), entry)
        sync_directory(self.directory.parent)
        return entry

    def mark(self, entry: JournalEntry, *, done: int, image: ChainImage | None = None) -> JournalEntry:
        """
        Write how far a repair has come; see JournalEntry for what *done* means.

        Called before a change (*done* is its index) and after it (the next one's).
        """
        images = entry.images if image is None else (*entry.images, image)
        return self._write(replace(entry, done=done, images=images))

    def undoing(self, entry: JournalEntry, *, done: int) -> JournalEntry:
        """Write that the changes 0 .. *done* - 1 are to be taken back."""
        return self._write(replace(entry, state="undoing", done=done))

    def finish(self, entry: JournalEntry, state: str, note: str = "") -> JournalEntry:
        """Write the state that a repair or its rollback ended in; a rollback calls the deadline off."""
        deadline = entry.deadline if state == "applied" else None
        return self._write(
            replace(entry, state=state, finished=_now(), note=note or entry.note, deadline=deadline)
        )

    def set_deadline(self, entry: JournalEntry, deadline: float) -> JournalEntry:
        """Write when the rollback is due, in seconds since the epoch."""
        return self._write(replace(entry, deadline=deadline))

    def confirm(self, identity: str) -> JournalEntry:
        """Keep a repair: its deadline is called off.  UserError if it is not in force any more."""
        with self.lock():
            entry = self.find(identity)
            if entry.state not in IN_FORCE:
                raise UserError(
                    f"repair {entry.id} is {entry.state}, so there is nothing to confirm",
                    hint=entry.note or "nettrace repair history",
                )
            return self._write(replace(entry, state="confirmed", deadline=None))

    def _write(self, entry: JournalEntry) -> JournalEntry:
        write_entry(self._path(entry.id), entry)
        return entry

    def _path(self, identity: str) -> Path:
        return self.directory / f"{identity}.json"

    def _free_id(self, wanted: str) -> str:
        """Return the plan's id, numbered if that plan was applied before."""
        base = _NOT_IN_A_NAME.sub("-", wanted).lstrip(".") or "repair"
        number, name = 1, base
        while self._path(name).exists():
            number += 1
            name = f"{base}-{number}"
        return name

    # --- reading -----------------------------------------------------------------------

    def entries(self) -> list[JournalEntry]:
        """Return the repairs, the oldest first, without those whose files are damaged (``damaged``)."""
        return self._read()[0]

    def damaged(self) -> list[UserError]:
        """Return an error for each file of the journal that cannot be read."""
        return self._read()[1]

    def _read(self) -> tuple[list[JournalEntry], list[UserError]]:
        entries: list[JournalEntry] = []
        errors: list[UserError] = []
        try:
            paths = sorted(p for p in self.directory.glob("*.json") if not p.name.startswith("."))
        except PermissionError as error:
            raise UserError(
                "cannot read the journal: permission denied", where=str(self.directory)
            ) from error
        for path in paths:
            try:
                entry = read_entry(path)
            except UserError as error:
                errors.append(error)
            else:
                entries.append(entry if entry.id == path.stem else replace(entry, id=path.stem))
        return sorted(entries, key=lambda entry: entry.started), errors

    def load(self, identity: str) -> JournalEntry:
        """Return the entry with exactly this id as it is now; UserError if there is none."""
        return replace(read_entry(self._path(identity)), id=identity)

    def find(self, identity: str) -> JournalEntry:
        """
        Return the repair whose id or plan's id is *identity* or begins with it.

        Of several applications of one plan: the last that is in force or half done, else the
        last.  UserError if there is none, if several plans fit, or if its file is damaged.
        """
        entries, errors = self._read()
        exact = [entry for entry in entries if entry.id == identity and entry.id != entry.plan.id]
        fitting = [entry for entry in entries if identity in (entry.id, entry.plan.id)] or [
            entry for entry in entries if identity and entry.id.startswith(identity)
        ]
        if exact:
            return exact[0]
        if not fitting:
            for error in errors:
                if identity and Path(error.where).name.startswith(identity):
                    raise error
            raise UserError(f"there is no repair {identity!r}", hint="nettrace repair history")
        plans = sorted({entry.plan.id for entry in fitting})
        if len(plans) > 1:
            raise UserError(f"{identity} is the beginning of several repairs: {', '.join(plans)}")
        standing = [entry for entry in fitting if entry.state not in CLOSED]
        return (standing or fitting)[-1]

    def recover(self) -> list[JournalEntry]:
        """
        Return what is to be rolled back because its process is gone, the newest first.

        Repairs left in the middle, and those whose deadline passed without their timer doing
        its work.  Nothing while another nettrace holds the lock: it is at work on them.  A
        tool that a killed one left behind is waited for.
        """
        if not self.abandoned():
            return []
        try:
            with self.lock(wait=0 if self._holder_lives() else LOCK_WAIT):
                return self.abandoned()
        except UserError:
            return []

    def abandoned(self) -> list[JournalEntry]:
        """Return what ``recover`` would if nobody held the lock."""
        return [entry for entry in reversed(self.entries()) if _is_due(entry)]

    def _holder_lives(self) -> bool:
        try:
            os.kill(int((self.directory / ".lock").read_text()), 0)
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return True


def _is_due(entry: JournalEntry) -> bool:
    if entry.state in OPEN:
        return True
    late = entry.deadline is not None and entry.deadline + _GRACE < time.time()
    return entry.state == "applied" and late


def boot_id() -> str:
    """Return what tells this start of the machine from all others (random(4))."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _now() -> str:
    """Return the time in RFC 3339, with milliseconds: the order of repairs is read from it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
