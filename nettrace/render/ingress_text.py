"""
A trace through an Ingress, laid out: the first flow, the rule, the second flow, the whole.

Not here: a flow's own page (walk_text).
"""

from nettrace.render.contract import IngressDocument
from nettrace.render.page import Line, Look, Page, Span, Style, line
from nettrace.render.walk_text import walk_page

__all__ = ["ingress_page"]


def ingress_page(document: IngressDocument, look: Look) -> Page:
    """Lay the whole answer out."""
    asked = f"{document.host or '*'}{document.path}"
    lines: list[Line] = [
        line(Span("ingress", Style.HEAD), f"  {document.ingress}  {asked}"),
        line(Span("controller", Style.HEAD), f"  svc/{document.controller}"),
    ]
    first, *others = document.parts
    lines += [
        (),
        line(Span(f"1  {first.source} to the controller", Style.HEAD)),
        (),
        *walk_page(first.walk, look),
    ]
    lines += [(), line(Span("2  the Ingress object", Style.HEAD)), ()]
    for check in document.checks:
        mark = Span(look.tick, Style.GOOD) if check.ok else Span(look.cross, Style.BAD)
        lines.append(line("  ", mark, f" {check.message}"))
    if document.status is not None:
        lines.append(line(f"  the controller answers with {document.status}"))
    for number, part in enumerate(others, 3):
        title = f"{number}  {part.source} to {part.target}"
        lines += [(), line(Span(title, Style.HEAD)), (), *walk_page(part.walk, look)]
    well = document.outcome == "connected"
    mark = Span(look.tick, Style.GOOD) if well else Span(look.cross, Style.BAD)
    lines += [(), line(mark, f" the whole: {document.outcome}")]
    return tuple(lines)
