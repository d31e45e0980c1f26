"""
BPF in ``nettrace show``: programs where they hang, maps with what they say, Service tables.

Lives here: the lines.  Not here: the items (shown_bpf), the other words of show (show_text).
"""

from collections.abc import Sequence

from nettrace.render.contract_state import ShownFrontend, ShownMap, ShownProgram
from nettrace.render.packet_text import end
from nettrace.render.page import Line, Look, Span, Style, columns, line

__all__ = ["frontend_lines", "program_lines"]

#: How many entries of a map are printed; --wide prints all.
_FEW = 8


def program_lines(items: Sequence[ShownProgram | ShownMap], look: Look) -> list[Line]:
    """Return a table of programs, and the maps below it."""
    programs = [item for item in items if isinstance(item, ShownProgram)]
    maps = [item for item in items if isinstance(item, ShownMap)]
    lines: list[Line] = []
    if programs:
        titles = ("NETNS", "WHERE", "HOOK", "PROGRAM", "ID", "TAG", "MAPS")
        rows: list[list[str | Span]] = [[Span(title, Style.HEAD) for title in titles]]
        rows += [_program(item) for item in programs]
        lines.extend(columns(rows))
    before = None
    for item in maps:
        if item.node != before:
            if lines:
                lines.append(())
            lines.append(line(Span(item.node, Style.NAME), "  maps"))
            before = item.node
        lines.extend(_map(item, look))
    return lines


def _program(item: ShownProgram) -> list[str | Span]:
    one = item.program
    maps = ", ".join(f"{ref.name or 'map'} ({ref.id})" for ref in one.maps)
    where = item.device or (f"cgroup {one.cgroup}" if one.cgroup else f"priority {one.priority}")
    where += "" if one.placed else ", in some namespace"
    none = Span("<none>", Style.DIM)
    return [item.netns, where, one.hook, one.name or none, str(one.id), one.tag or none, maps or none]


def _map(item: ShownMap, look: Look) -> list[Line]:
    one, words = item.map, item.words
    shape = f"{one.type}, keys of {one.key_size} bytes, values of {one.value_size}, {one.max_entries} at most"
    lines = [line("  ", Span(one.name or "a map", Style.HEAD), f" (id {one.id})  {shape}")]
    if one.pinned:
        lines.append(line(f"    pinned   {one.pinned}"))
    if item.programs:
        lines.append(line(f"    used by  {', '.join(item.programs)}"))
    if words is None:
        return lines
    count = "" if words.unknown else f", {len(words.rows)} entries" if len(words.rows) != 1 else ", 1 entry"
    lines.append(line(f"    {words.system}   {words.what}{count}"))
    if words.unknown:
        lines.append(line("    ", Span(f"? {words.unknown}", Style.UNSURE)))
    shown = words.rows if look.wide else words.rows[:_FEW]
    lines += [line("      ", Span(row, Style.CODE)) for row in shown]
    if len(shown) < len(words.rows):
        lines.append(line(f"      and {len(words.rows) - len(shown)} more"))
    return lines


def frontend_lines(items: Sequence[ShownFrontend]) -> list[Line]:
    """Return a table of what data paths answer for by themselves, one line a backend set."""
    titles = ("NODE", "KERNEL", "FRONTEND", "KIND", "SERVICE", "BACKENDS", "NOTES")
    rows: list[list[str | Span]] = [[Span(title, Style.HEAD) for title in titles]]
    for item in items:
        entry = item.entry
        proto = f"/{entry.proto}" if entry.proto else ""
        backends = ", ".join(
            end(one.address, one.port) + (f" ({one.state})" if one.state != "active" else "")
            for one in entry.backends
        )
        notes = [*entry.notes]
        if item.lacks:
            notes.append(f"lacks {', '.join(item.lacks)}")
        if item.beyond:
            notes.append(f"no endpoint: {', '.join(item.beyond)}")
        differs = bool(item.lacks or item.beyond)
        none = Span("<none>", Style.DIM)
        rows.append(
            [
                item.node,
                f"{item.system}: {entry.source}",
                end(entry.address, entry.port) + proto,
                entry.kind,
                item.service or none,
                backends or none,
                Span("; ".join(notes), Style.WARN if differs else Style.PLAIN) if notes else none,
            ]
        )
    return list(columns(rows))
