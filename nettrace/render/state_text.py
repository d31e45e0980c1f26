"""
Explanations, labs and the doctor's checks on a page.

Lives here: the short pages of the commands around a trace.
"""

from collections.abc import Sequence

from nettrace.render.contract_state import DoctorDocument, ExplanationDocument, LabsDocument
from nettrace.render.page import Line, Look, Page, Span, Style, columns, line, wrapped

__all__ = ["doctor_page", "explanation_page", "labs_page"]

_PARTS = (
    ("what", "what it is"),
    ("shows", "how it shows"),
    ("dies", "where it dies"),
    ("proof", "what proves it"),
    ("repair", "the repair"),
    ("owner", "whose state"),
    ("source", "met in"),
)


def explanation_page(document: ExplanationDocument, look: Look) -> Page:
    """Lay the words of a cause out."""
    lines: list[Line] = [line(Span(document.id, Style.HEAD), f": {document.title}")]
    for name, title in _PARTS:
        pieces = list(wrapped(getattr(document, name) or "-", look.width - 16))
        lines.append(())
        for index, piece in enumerate(pieces):
            lines.append(line(Span((title if not index else "").ljust(16), Style.HEAD), piece))
    return tuple(lines)


def labs_page(document: LabsDocument, look: Look) -> Page:
    """Lay labs out, one line each; with everything wanted, their members too."""
    if not document.labs:
        return (line("there is no lab; make one with: nettrace lab up flannel-vxlan"),)
    titles: list[str | Span] = [
        Span(name, Style.HEAD) for name in ("LAB", "TOPOLOGY", "STATE", "NAMESPACES", "CREATED")
    ]
    rows: list[Sequence[str | Span]] = [titles]
    for lab in document.labs:
        state = Span(lab.state, Style.GOOD if lab.state == "up" else Style.WARN)
        rows.append([lab.name, lab.topology, state, str(len(lab.namespaces)), lab.created or "-"])
    lines = columns(rows)
    if look.wide:
        members: list[Sequence[str | Span]] = [
            [Span(name, Style.HEAD) for name in ("LAB", "NAME", "ROLE", "NODE", "POD", "NETNS", "ADDRESSES")]
        ]
        members.extend(
            [
                lab.name,
                one.name,
                one.role,
                one.node,
                one.pod or "-",
                one.netns,
                ", ".join(one.addresses) or "-",
            ]
            for lab in document.labs
            for one in lab.namespaces
        )
        lines.extend(((), *columns(members)))
    return tuple(lines)


def doctor_page(document: DoctorDocument, look: Look) -> Page:
    """Lay the checks out, what is missing with what to do about it."""
    marks = {
        "ok": Span(look.tick, Style.GOOD),
        "missing": Span(look.cross, Style.BAD),
        "unknown": Span("?", Style.UNSURE),
    }
    width = max((len(check.name) for check in document.checks), default=0)
    lines: list[Line] = []
    for check in document.checks:
        state = "" if check.state == "ok" else f"{check.state}: "
        text = f"{state}{check.text}"
        lines.append(line(marks[check.state], f" {check.name.ljust(width)}  {text}"))
        if check.state != "ok":
            indent = " " * (width + 4)
            lines.append(line(indent, Span(f"needed for {check.needed_for}", Style.DIM)))
            if check.help:
                lines.append(line(indent, f"help: {check.help}"))
    missing = sum(check.state == "missing" for check in document.checks)
    lines.extend(((), line(f"{len(document.checks)} checks, {missing} missing")))
    return tuple(lines)
