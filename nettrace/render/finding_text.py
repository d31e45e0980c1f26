"""
A finding on a page, in rustc's manner: what, where, the evidence, what would mend it, what to type.

Lives here: findings for people.
"""

from collections.abc import Sequence

from nettrace.model.finding import Safety, Severity
from nettrace.render.contract import EvidenceView, FindingView, RepairView
from nettrace.render.page import Line, Look, Page, Span, Style, columns, line, wrapped
from nettrace.render.visible import visible

__all__ = ["finding_page", "owner_text", "source_options"]

_STYLES = {Severity.ERROR: Style.BAD, Severity.WARNING: Style.WARN, Severity.INFO: Style.HEAD}


def finding_page(finding: FindingView, look: Look, *, context: str = "", options: str | None = None) -> Page:
    """
    Lay one finding out; *context* decides which options the suggested commands need.

    *options* of ``repair plan`` take the place of those; with "-" it is not suggested.
    """
    style = _STYLES[finding.severity]
    head = f"{finding.severity.value}[{finding.cause}]"
    first, *more = wrapped(f"{head}: {finding.message}", look.width)
    lines: list[Line] = [line(Span(first[: len(head)], style), first[len(head) :])]
    lines.extend(line("    ", piece) for piece in more)
    place = "  ".join(part for part in (finding.where, finding.subject) if part)
    if place:
        lines.append(line("  --> ", Span(place, Style.NAME)))
    lines.extend(_evidence(finding.evidence, look))
    repair = finding.repairs[0] if finding.repairs else None
    if repair is not None and repair.effect:
        advice = repair.safety is Safety.ADVICE  # its effect says itself what it is the effect of
        effect = repair.effect if advice else f"with it: {repair.effect.removeprefix('with it: ')}"
        lines.extend(_note(effect, look))
    if repair is not None and repair.owner:
        lines.extend(_note(f"owner: {owner_text(repair.owner, repair.overwritten)}", look))
    for note in finding.notes:
        lines.extend(_note(note, look))
    if finding.alternatives:
        lines.extend(_note(f"nothing here tells it apart from {', '.join(finding.alternatives)}", look))
    lines.extend(_help(finding, repair, source_options(context) if options is None else options, look))
    return tuple(lines)


def owner_text(owner: str, overwritten: str) -> str:
    """Say whose state it is and whether it will be written over, the owner's name once."""
    return "; ".join(part for part in (owner, overwritten.removeprefix(f"{owner} ")) if part)


def source_options(context: str) -> str:
    """Return what a suggested command needs so that it speaks of the same source."""
    return f" --lab {context.removeprefix('lab ')}" if context.startswith("lab ") else ""


def _evidence(pieces: Sequence[EvidenceView], look: Look) -> list[Line]:
    """Lay evidence out: what stands there, and beside or below it what that means."""
    lines: list[Line] = []
    beside = max((len(p.text) for p in pieces if 5 + len(p.text) + 2 + len(p.note) <= look.width), default=0)
    for piece in pieces:
        bar = Span(f"   {look.bar} ", Style.DIM)
        fits = len(piece.text) <= beside and 5 + beside + 2 + len(piece.note) <= look.width
        if piece.note and fits:
            gap = " " * (beside - len(piece.text) + 2)
            lines.append(line(bar, Span(piece.text, Style.CODE), gap, Span(piece.note, Style.DIM)))
            continue
        texts = list(wrapped(piece.text, look.width - 5))
        lines.append(line(bar, Span(texts[0], Style.CODE)))
        lines.extend(line(bar, Span(f"  {more}", Style.CODE)) for more in texts[1:])
        if piece.note:
            lines.extend(
                line(bar, Span(f"    {note}", Style.DIM)) for note in wrapped(piece.note, look.width - 9)
            )
        if look.wide and piece.ref:
            lines.append(line(bar, Span(f"    {piece.ref}", Style.DIM)))
    return lines


def _note(text: str, look: Look) -> list[Line]:
    pieces = list(wrapped(text, look.width - 5))
    return [line("   = " if not index else "     ", piece) for index, piece in enumerate(pieces)]


def _help(finding: FindingView, repair: RepairView | None, options: str, look: Look) -> list[Line]:
    """Say what to type next; a repair that only a person may decide is told in words."""
    rows: list[tuple[str, str]] = []
    if repair is not None and repair.safety is not Safety.ADVICE and repair.changes and options != "-":
        count = f"{len(repair.changes)} change" + ("s" if len(repair.changes) > 1 else "")
        undo = f", undo {repair.undo}" if repair.undo else ""
        rows.append((f"nettrace repair plan {finding.cause}{options}", count + undo))
    rows.append((f"nettrace explain {finding.cause}", ""))
    lines: list[Line] = []
    if repair is not None and repair.lasting:
        words, *manifest = repair.lasting.split("\n")  # a manifest is copied: its lines stay as they are
        lines.extend(line(piece) for piece in wrapped(words, look.width - 6))
        lines.extend(line(Span(visible(piece), Style.CODE)) for piece in manifest)
    lines.extend(columns(rows, gap=3))
    return [
        (Span("help: " if not index else "      ", Style.HEAD), *spans) for index, spans in enumerate(lines)
    ]
