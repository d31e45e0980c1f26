"""
A plan into the kernel, change by change, and back.

Each step is in the journal before the kernel is touched, so that a process killed at any
instant leaves what ``Journal.recover`` and ``roll_back`` need to restore the state before.
Not here: single changes (kernel), what took effect (effect), whether the repair helped
(nettrace.app.repair), the timer (confirm).
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from nettrace.apply.confirm import start_timer
from nettrace.apply.effect import OneRule, image_of, take_back
from nettrace.apply.kernel import apply_change
from nettrace.apply.tool import Refused
from nettrace.collect.netns import still_there
from nettrace.journal.book import CLOSED, IN_FORCE, Journal, boot_id
from nettrace.model.errors import UserError
from nettrace.model.plan import ChainImage, JournalEntry, RepairPlan

__all__ = ["OnStep", "apply_plan", "roll_back"]

#: Told of each step as it is over, e.g. ``marked 0``, ``applied 0``, ``done 0``.
OnStep = Callable[[str], None]


def apply_plan(
    plan: RepairPlan,
    handles: Mapping[str, str],
    journal: Journal,
    *,
    on_step: OnStep = lambda _: None,
    confirm_within: float | None = None,
) -> JournalEntry:
    """
    Make all changes of *plan* and return its entry in the journal, state ``applied``.

    *handles* maps each namespace of the plan to its path.  *confirm_within*: seconds until a
    process of its own takes the repair back unless it is confirmed; that process is ready
    before the first change.

    If a change is refused, those before it are taken back and the refusal is raised
    (UserError); the same for an interruption.
    """
    with journal.lock() as lock:
        left = journal.abandoned()
        if left:
            raise UserError(
                f"repair {left[0].id} was left in the middle by a process that is gone",
                hint=f"nettrace repair undo {left[0].id}",
            )
        entry = journal.begin(plan, handles)
        on_step("begun")
        try:
            if confirm_within is not None:
                entry = start_timer(entry, journal, confirm_within)
                on_step("armed")
            for index in range(len(plan.changes)):
                entry = _apply_one(entry, index, journal, lock, on_step)
        except BaseException as error:
            # What was refused had no effect, so the changes before it are all there is.
            entry = journal.load(entry.id)
            done = entry.done if isinstance(error, Refused) else min(entry.done + 1, len(plan.changes))
            words = error.what if isinstance(error, UserError) else type(error).__name__
            note = f"not applied: {words}"
            back = _Back(done=done, certain=entry.done, final="rolled-back", note=note)
            _take_all_back(entry, journal, lock, back, on_step)
            raise
        entry = journal.finish(entry, "applied")
        on_step("finished")
        return entry


def _apply_one(entry: JournalEntry, index: int, journal: Journal, lock: int, on_step: OnStep) -> JournalEntry:
    change = entry.plan.changes[index].change
    path = entry.handles[change.netns]
    image = image_of(path, change, index, keep=(lock,)) if isinstance(change, OneRule) else None
    entry = journal.mark(entry, done=index, image=image)
    on_step(f"marked {index}")
    apply_change(path, change, keep=(lock,))
    on_step(f"applied {index}")
    entry = journal.mark(entry, done=index + 1)
    on_step(f"done {index}")
    return entry


def roll_back(
    entry: JournalEntry,
    journal: Journal,
    *,
    final: str | None = None,
    note: str = "",
    on_step: OnStep = lambda _: None,
) -> JournalEntry:
    """
    Take back whatever of a repair took effect, the last change first, and return its entry.

    May be killed at any instant and called again.  *final* is the state to end in; by itself
    ``undone`` for a repair in force and ``rolled-back`` for one left in the middle.  *note*
    says why.  UserError if it was taken back already, and if the tools refuse (the rest is
    taken back nevertheless; state ``failed``).
    """
    with journal.lock() as lock:
        entry = journal.load(entry.id)
        if entry.state in CLOSED:
            raise UserError(f"repair {entry.id} is {entry.state} already", hint=entry.note)
        if final is None:
            final = "undone" if entry.state in IN_FORCE else "rolled-back"
        if entry.boot != boot_id():
            return journal.finish(entry, final, "the machine was started again: nothing of it is left")
        return _take_all_back(entry, journal, lock, _way_back(entry, final, note), on_step)


class _Back(Struct, frozen=True, kw_only=True):
    """Which changes to take back: 0 .. *done* - 1, of which the first *certain* are known to be in effect."""

    done: int
    certain: int
    final: str
    note: str


def _way_back(entry: JournalEntry, final: str, note: str) -> _Back:
    number = len(entry.plan.changes)
    match entry.state:
        case "applying":  # the next one may have taken effect
            return _Back(done=min(entry.done + 1, number), certain=entry.done, final=final, note=note)
        case "undoing":  # the last one may have been taken back
            return _Back(done=entry.done, certain=max(entry.done - 1, 0), final=final, note=note)
        case "failed":
            return _Back(done=number, certain=0, final=final, note=note)
        case _:
            return _Back(done=number, certain=number, final=final, note=note)


def _take_all_back(
    entry: JournalEntry, journal: Journal, lock: int, back: _Back, on_step: OnStep
) -> JournalEntry:
    """
    Take changes of *entry* back, the last first, and finish it.

    Nothing stops this half-way: what fails is kept for the end, and so is a journal that
    cannot be written.
    """
    notes = [back.note] if back.note else []
    problems: list[UserError] = []

    def written(write: Callable[..., JournalEntry], *args: object, **fields: object) -> JournalEntry:
        try:
            return write(entry, *args, **fields)
        except UserError as error:
            problems.append(error)
            return entry

    entry = written(journal.undoing, done=back.done)
    on_step("undoing")
    for index in reversed(range(back.done)):
        planned = entry.plan.changes[index]
        path = entry.handles[planned.change.netns]
        if not still_there(path, entry.inodes.get(planned.change.netns, 0)):
            notes.append(f"the network namespace {planned.change.netns} is gone, and its state with it")
        else:
            try:
                images = _images(entry, index)
                notes.append(take_back(path, planned, images, certain=index < back.certain, keep=(lock,)))
            except UserError as error:
                problems.append(error)
                notes.append(error.what)
        on_step(f"taken back {index}")
        entry = written(journal.mark, done=index)
        on_step(f"left {index}")
    text = "; ".join(dict.fromkeys(part for part in notes if part))
    entry = written(journal.finish, "failed" if problems else back.final, text)
    on_step("finished")
    if problems:
        raise UserError(
            f"repair {entry.id} could not be taken back whole: {problems[0].what}",
            where=problems[0].where,
            hint=f"put that right, then `nettrace repair undo {entry.id}` again",
        )
    return entry


def _images(entry: JournalEntry, index: int) -> list[ChainImage]:
    """Return the images of the chain of change *index* up to its own; none if it has none."""

    def place(number: int) -> tuple[object, ...]:
        change = entry.plan.changes[number].change
        return tuple(getattr(change, name, None) for name in ("netns", "backend", "table", "chain"))

    found = [one for one in entry.images if one.index <= index and place(one.index) == place(index)]
    return found if found and found[-1].index == index else []
