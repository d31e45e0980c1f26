"""
What ``nettrace show systems`` prints: node by node, each system with its reasons and its debts.

Lives here: the lines of a system.  Not here: the other words of show (show_text).
"""

from collections.abc import Sequence

from nettrace.model.finding import Evidence
from nettrace.model.system import OwedCount, System
from nettrace.render.page import Line, Look, Span, Style, line

__all__ = ["nothing_line", "systems_lines"]

#: How many lines of one kind are printed; --wide prints all.
_FEW = 6


def systems_lines(systems: Sequence[System], look: Look) -> list[Line]:
    """Return the lines of all systems, under the names of their nodes."""
    lines: list[Line] = []
    before = None
    for system in systems:
        if system.node != before:
            if lines:
                lines.append(())
            lines.append(line(Span(system.node, Style.NAME)))
            before = system.node
        said = ", ".join(word for word in (system.mode, system.version) if word)
        lines.append(line("  ", Span(system.name, Style.HEAD), f"  {said}" if said else ""))
        lines += _labelled("because", _texts(system.evidence), look)
        lines += _owed(system, look)
        lines += _labelled("leftover", _texts(system.leftovers), look, Style.WARN)
    return lines


def _texts(evidence: Sequence[Evidence]) -> list[str]:
    return [f"{one.text}{f' ({one.note})' if one.note else ''}" for one in evidence]


def nothing_line(asked: Sequence[str]) -> Line:
    """Return what is said where no system was recognised."""
    return line(f"no network system was recognised here; looked for {', '.join(asked)}")


def _owed(system: System, look: Look) -> list[Line]:
    lines: list[Line] = []
    if system.owed:
        differing = any(count.differing for count in system.owed)
        unknown = any(count.unknown for count in system.owed)
        style = Style.WARN if differing else Style.UNSURE if unknown else Style.PLAIN
        words = ", ".join(_count(count) for count in system.owed)
        whole = "" if differing or unknown else ": all there"
        lines.append(line("    owes     ", Span(f"{words}{whole}", style)))
    elif not system.unknown:
        lines.append(line("    owes     nothing"))
    if system.unknown:
        lines.append(line("    ", Span(f"? {' '.join(system.unknown.split())}", Style.UNSURE)))
    return [*lines, *_labelled("differs", list(system.differs), look, Style.WARN)]


def _count(count: OwedCount) -> str:
    kind = count.kind if count.owed != 1 else _one(count.kind)
    words = f"{count.owed} {kind}"
    if count.differing:
        words += f" ({count.differing} not as owed)"
    if count.unknown:
        words += f" ({count.unknown} not known)"
    return words


def _one(kind: str) -> str:
    head, space, rest = kind.partition(" ")
    if kind == "forwarding entries":
        return "forwarding entry"
    if kind == "sets and maps":
        return "set or map"
    if kind == "virtual servers":
        return "virtual server"
    return head.removesuffix("s") + space + rest


def _labelled(label: str, texts: list[str], look: Look, style: Style = Style.PLAIN) -> list[Line]:
    shown = texts if look.wide else texts[:_FEW]
    left = len(texts) - len(shown)
    lines = [
        line(f"    {label if number == 0 else '':8} ", Span(text, style)) for number, text in enumerate(shown)
    ]
    return [*lines, line(f"             and {left} more")] if left else lines
