"""
One leg of a walk on a page.

Lives here: rows of steps laid out in columns, and how a leg ended that did not arrive.
Not here: what a row says (step_text), which legs are shown (walk_text).
"""

from collections.abc import Sequence

from msgspec.structs import replace

from nettrace.model.step import Verdict
from nettrace.render.contract_walk import LegView
from nettrace.render.page import Line, Look, Span, Style, line, width_of, wrapped
from nettrace.render.step_text import Row

__all__ = ["adds_nothing", "end_of_leg", "ending_text", "leg_lines", "name_width"]

_INDENT = "  "

#: Words of a step that say no more than the leg's verdict does.
_BARE = frozenset({*(verdict.value.lower() for verdict in Verdict), "drop", "dropped", "stop", "unknown", ""})


def name_width(every: Sequence[Row]) -> int:
    """Return the width of the column of namespaces for these rows."""
    return min(max((len(row.netns) for row in every), default=0), 14)


def leg_lines(found: Sequence[Row], names: int, places: int, cause: str, look: Look) -> list[Line]:
    """Lay rows out: a name is said once, an effect stands on the right where there is room."""
    lines: list[Line] = []
    before: tuple[str, str] | None = None
    place_before = ""
    with_ticks = any(row.seen is not None for row in found)
    for row in found:
        fresh = row.netns != before[0] if before else True
        name = row.netns if fresh else ""
        if len(name) > names:
            lines.append(line(_INDENT, Span(name, Style.NAME)))
            name = ""
        place = row.place if fresh or row.place != place_before or row.mark else ""
        before, place_before = (row.netns, row.place), row.place
        style = {"x": Style.BAD, "!": Style.WARN}.get(row.mark, Style.PLAIN)
        lead: list[str | Span] = [
            _INDENT,
            Span(name.ljust(names), Style.NAME),
            " ",
            *_marks(row, style, look, with_ticks=with_ticks),
            Span(place.ljust(places), style),
            "  ",
        ]
        told = row
        if row.is_culprit and cause:
            tail = f"<- {cause}"
            fits = width_of(line(*lead)) + len(row.text) + 3 + len(tail) <= look.width
            text = f"{row.text}   {tail}" if fits else row.text
            told = replace(row, text=text, effects=row.effects if fits else (*row.effects, tail))
        lines.extend(_row_lines(line(*lead), told, style, look))
    return lines


def _marks(row: Row, style: Style, look: Look, *, with_ticks: bool) -> tuple[Span, ...]:
    """What the walk says of the row, and with a probe whether it was seen so."""
    if not with_ticks:
        return (Span(row.mark.ljust(2), style),)
    seen = Span(" ")
    if row.seen is not None:
        seen = Span(look.tick, Style.GOOD) if row.seen else Span(look.unlike, Style.BAD)
    return (Span(row.mark.ljust(1), style), seen, Span(" "))


def _row_lines(lead: Line, row: Row, style: Style, look: Look) -> list[Line]:
    """Put the text of a row and its effects behind *lead*, on as many lines as it takes."""
    at = width_of(lead)
    room = max(look.width - at, 24)
    text = row.text
    effect = ", ".join(row.effects)
    if len(text) + len(effect) + 2 <= room:
        gap = max(2, min(room - len(effect) - len(text), 40 - len(text))) if effect else 0
        lines = [(*lead, *line(Span(text, style), " " * gap, Span(effect, Style.CHANGE)))]
    else:
        pieces = list(wrapped(text, room - 2))
        lines = [(*lead, *line(Span(pieces[0], style)))]
        lines.extend(line(" " * (at + 2), Span(piece, style)) for piece in pieces[1:])
        last = width_of(lines[-1])
        if effect and last + 2 + len(effect) <= look.width:
            gap = max(2, min(look.width - len(effect) - last, at + 40 - last))
            lines[-1] = (*lines[-1], *line(" " * gap, Span(effect, Style.CHANGE)))
        else:
            lines.extend(line(" " * (at + 2), Span(part, Style.CHANGE)) for part in row.effects)
    if look.wide and row.ref:
        lines.append(line(" " * (at + 2), Span(row.ref, Style.DIM)))
    return lines


def adds_nothing(row: Row, leg: LegView) -> bool:
    """Does the last row of a leg say no more than how the leg ended?"""
    verdict, _, words = row.text.partition("  ")
    said = words.partition("  ")[0]  # what stands after it is the state that says so
    return verdict.lower() in _BARE and (said in leg.reason or leg.reason in said)


def ending_text(leg: LegView) -> str:
    """``DROPPED_BY_RULE: rule 3 of filter FORWARD``."""
    return f"{leg.verdict.value}: {leg.reason}" if leg.reason else leg.verdict.value


def end_of_leg(leg: LegView, words: str, look: Look) -> list[Line]:
    """Say how a leg ended that did not arrive."""
    style = Style.UNSURE if leg.verdict is Verdict.UNKNOWN else Style.BAD
    symbol = "?" if leg.verdict is Verdict.UNKNOWN else "x"
    pieces = list(wrapped(words, max(look.width - 6, 40)))
    return [
        line(_INDENT, Span(f"{symbol} {piece}" if not index else f"  {piece}", style))
        for index, piece in enumerate(pieces)
    ]
