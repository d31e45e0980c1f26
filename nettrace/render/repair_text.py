"""
What became of a repair, on a page: the changes, the walk and the probe afterwards, what to do next.

Lives here: ``repair apply`` for people.
"""

from nettrace.render.contract import RepairDocument
from nettrace.render.finding_text import source_options
from nettrace.render.observed_text import observed_text
from nettrace.render.page import Line, Look, Page, Span, Style, line, wrapped
from nettrace.render.plan_text import changes_lines
from nettrace.render.summary_text import outcomes_text

__all__ = ["repair_page"]


def repair_page(document: RepairDocument, look: Look) -> Page:
    """Lay a finished repair out."""
    entry = document.entry
    plan = entry.plan
    identity = entry.id or plan.id
    lines: list[Line] = changes_lines(plan)
    lines.append(line(Span("applied   ", Style.HEAD), f"{entry.started}   journal {identity}".strip()))
    if document.walked is not None:
        lines.append(line(Span("walked    ", Style.HEAD), outcomes_text(document.walked.paths)))
    if document.observed is not None:
        lines.append(line(Span("probed    ", Style.HEAD), observed_text(document.observed)))
    if not document.kept:
        for index, piece in enumerate(wrapped(document.reason, look.width - 11)):
            lines.append(line(Span(("" if index else "taken back").ljust(10), Style.BAD), " ", piece))
        return tuple(lines)
    options = source_options(plan.context)
    if entry.deadline is not None and entry.state == "applied":
        lines.append(
            line(
                Span("confirm   ", Style.WARN), f"nettrace repair confirm {identity}   otherwise it is undone"
            )
        )
    else:
        lines.append(line(Span("undo      ", Style.HEAD), f"nettrace repair undo {identity}{options}"))
    return tuple(lines)
