"""
Plans and the journal on a page: every command, its inverse, whose state it is, what was checked.

Commands are never cut or broken: they are there to be copied.
Lives here: ``repair plan`` and ``repair history`` for people.
"""

from collections.abc import Sequence

from nettrace.model.change import Exact, NoUndo, Rebuilds
from nettrace.model.plan import JournalEntry, PlannedChange, RepairPlan
from nettrace.render.contract import HistoryDocument
from nettrace.render.finding_text import owner_text, source_options
from nettrace.render.page import Line, Look, Page, Span, Style, columns, line, wrapped
from nettrace.render.visible import visible

__all__ = ["changes_lines", "history_page", "plan_page"]

_SAFETY = {
    "auto": "node-local kernel state that no controller disagrees about",
    "guarded": "node-local kernel state, within the limits of this cause",
    "kick": "a stop-gap: a live agent owns this and should write it itself",
    "advice": "only a person may decide it",
}

_STATES = {
    "applied": Style.WARN,
    "confirmed": Style.GOOD,
    "undone": Style.DIM,
    "rolled-back": Style.DIM,
    "failed": Style.BAD,
}


#: States in which nothing is left to be done.
_ENDED = frozenset({"applied", "confirmed", "undone", "rolled-back"})


def plan_page(plan: RepairPlan, look: Look) -> Page:
    """Lay a plan out: one block a namespace, then what there is to know before it is applied."""
    lines = changes_lines(plan)
    facts = [
        ("safety", f"{plan.safety.value}: {_SAFETY[plan.safety.value]}"),
        ("owner", owner_text(plan.owner, plan.overwritten)),
        ("lasting", plan.lasting),
        ("with it", plan.effect.removeprefix("with it: ")),
        *(("checked", check) for check in plan.checks),
    ]
    for name, text in facts:
        lines.extend(_fact(name, text, look))
    if plan.safety.value != "advice" and plan.changes:
        options = source_options(plan.context)
        lines.append(line(Span("help: ", Style.HEAD), f"nettrace repair apply {plan.cause}{options}"))
    return tuple(lines)


def changes_lines(plan: RepairPlan) -> list[Line]:
    """Lay the changes of a plan out, under the names of their namespaces."""
    head: list[str | Span] = [
        Span(f"plan {plan.id}", Style.HEAD),
        f"   {plan.cause}   ",
        Span(plan.context, Style.DIM),
    ]
    lines: list[Line] = [line(*head)]
    place = ""
    for planned in plan.changes:
        if (planned.netns or planned.node) != place:
            place = planned.netns or planned.node
            node = f"  on {planned.node}" if planned.node and planned.node != place else ""
            lines.append(line("  ", Span(place, Style.NAME), node))
        lines.extend(_change(planned))
    return lines


def _change(planned: PlannedChange) -> list[Line]:
    lines = [line("    + ", Span(planned.command, Style.CODE))]
    lines.extend(line("    - ", Span(command, Style.CODE)) for command in planned.inverse)
    match planned.undo:
        case Exact():
            words = Span("undo: exact", Style.DIM)
        case Rebuilds(differs=differs):
            words = Span(f"undo: but for {differs}", Style.WARN)
        case NoUndo(reason=reason):
            words = Span(f"no undo: {reason}", Style.WARN)
    lines.append(line("      ", words))
    return lines


def _fact(name: str, text: str, look: Look) -> list[Line]:
    if not text:
        return []
    words, *manifest = text.split("\n")  # a manifest is copied: its lines stay as they are
    pieces = [*wrapped(words, look.width - 10), *map(visible, manifest)]
    return [
        line(Span((name if not index else "").ljust(10), Style.HEAD), piece)
        for index, piece in enumerate(pieces)
    ]


def history_page(history: HistoryDocument, look: Look) -> Page:
    """Lay the journal out, one line a repair."""
    if not history.entries:
        return (line("no repair has been made here"),)
    rows: list[Sequence[str | Span]] = [
        [Span(name, Style.HEAD) for name in ("ID", "CAUSE", "CONTEXT", "STATE", "CHANGES", "STARTED", "NOTE")]
    ]
    rows.extend(_entry(entry) for entry in history.entries)
    lines = columns(rows)
    if look.wide:
        for entry in history.entries:
            lines.extend(((), *changes_lines(entry.plan)))
    return tuple(lines)


def _entry(entry: JournalEntry) -> list[str | Span]:
    count = len(entry.plan.changes)
    # while it is under way, and where it went wrong, how far it came
    done = str(count) if entry.state in _ENDED else f"{entry.done} of {count}"
    return [
        entry.id or entry.plan.id,
        entry.plan.cause,
        entry.plan.context,
        Span(entry.state, _STATES.get(entry.state, Style.WARN)),
        done,
        entry.started or "-",
        entry.note or "-",
    ]
