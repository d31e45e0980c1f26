"""
Breaking a lab and healing it.

Lives here: ``break_`` and ``heal``, and what they remember in the lab's directory.
Not here: which changes make a cause (node, kube_proxy).

What is going to be done, and how it is taken back, is written before the first change; so
a lab broken half-way heals as well.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from nettrace.apply.kernel import apply_change
from nettrace.collect.discover import discover
from nettrace.collect.reader import Reader
from nettrace.lab import store
from nettrace.lab.faults.catalogue import fault_of
from nettrace.lab.faults.scene import Scene
from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import Change, NoUndo, Undo
from nettrace.model.edit import edit
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from nettrace.model.undo import undo_of

__all__ = ["Injected", "break_", "heal", "injected"]

_FILE = "faults.json"


class Step(Struct, frozen=True):
    """One change and what takes it back."""

    change: Change
    undo: tuple[Change, ...]


class Injected(Struct, frozen=True, kw_only=True):
    """One cause that a lab was given."""

    cause: str
    parameters: dict[str, str]
    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """What was done."""
        return tuple(step.change for step in self.steps)


def injected(record: LabRecord) -> tuple[Injected, ...]:
    """What the lab was given and not yet healed of, oldest first; UserError if the note is damaged."""
    path = Path(record.root, _FILE)
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Injected, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"it cannot be read what was broken here: {error}",
            where=str(path),
            hint=f"build the lab anew: nettrace lab down {record.name}",
        ) from error


def break_(record: LabRecord, cause: str, **parameters: str) -> Injected:
    """
    Give a lab a cause of the catalogue, and return what was done.

    *parameters* choose the ``node`` (or ``all``), the ``peer`` node, the ``service``, the ``pod``;
    without them the first that fits.  UserError for a cause this topology cannot have, one
    it has already, and a state that is broken so already.
    """
    fault = fault_of(record, cause, set(parameters))
    with store.locked(record.name):
        before = injected(record)
        if any(entry.cause == cause for entry in before):
            raise UserError(f"the lab {record.name!r} has {cause} already", hint=f"nettrace lab heal {cause}")
        with _scene(record, parameters) as scene:
            entry = Injected(cause=cause, parameters=parameters, steps=_steps(scene, fault.changes(scene)))
            if not entry.steps:
                raise UserError(f"{cause}: there is nothing left in this lab to break")
            _remember(record, (*before, entry))
            try:
                for step in entry.steps:
                    apply_change(scene.path(step.change.netns), step.change)
            except BaseException:
                _take_back(record, entry)
                _remember(record, before)
                raise
    return entry


def heal(record: LabRecord, cause: str | None = None) -> tuple[str, ...]:
    """
    Take back what ``break_`` did: one cause, or all; returns their ids, the latest first.

    What somebody else has put right meanwhile is left as it is.  UserError if the lab does not
    have the cause, or if its state is neither broken nor whole.
    """
    with store.locked(record.name):
        left = injected(record)
        chosen = [entry for entry in left if cause in (None, entry.cause)]
        if cause is not None and not chosen:
            names = ", ".join(entry.cause for entry in left)
            raise UserError(
                f"the lab {record.name!r} was not given {cause}",
                hint=f"it was given {names}" if names else "nothing was broken here",
            )
        for entry in reversed(chosen):
            _take_back(record, entry)
            left = tuple(other for other in left if other is not entry)
            _remember(record, left)
    return tuple(entry.cause for entry in reversed(chosen))


@contextmanager
def _scene(record: LabRecord, parameters: dict[str, str]) -> Iterator[Scene]:
    with Reader(discover(record.name), lab=record.name) as reader:
        yield Scene(record, reader, parameters)


def _steps(scene: Scene, changes: Sequence[Change]) -> tuple[Step, ...]:
    """Pair each change with its undo, leaving out those that change nothing."""
    for netns in {change.netns for change in changes}:
        scene.read_touched(netns)
    found = []
    snapshot = scene.snapshot
    for change in changes:
        try:
            after = edit(snapshot, change)
            undo: Undo = undo_of(snapshot, change)
        except ValueError as error:
            raise UserError(f"this cannot be broken: {error}") from error
        if not snapshot_difference(after, snapshot):
            continue
        if isinstance(undo, NoUndo):
            raise UserError(f"this could not be healed: {undo.reason}")
        found.append(Step(change, undo.changes))
        snapshot = after
    return tuple(found)


def _take_back(record: LabRecord, entry: Injected) -> None:
    """Undo the steps of *entry* that are in force, the last first."""
    for step in reversed(entry.steps):
        with _scene(record, {}) as scene:
            netns = step.change.netns
            if netns not in scene.snapshot.namespaces:
                continue
            scene.read_touched(netns)
            if _is_undone(scene, step.change):
                continue
            for change in step.undo:
                apply_change(scene.path(netns), change)


def _is_undone(scene: Scene, change: Change) -> bool:
    """Would *change* still change something?  Then it is not in force."""
    try:
        return bool(snapshot_difference(edit(scene.snapshot, change), scene.snapshot))
    except ValueError:
        return False


def _remember(record: LabRecord, entries: Sequence[Injected]) -> None:
    path = Path(record.root, _FILE)
    if not entries:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(tuple(entries)), indent=2) + b"\n")
    temporary.replace(path)
