"""
A check on a page: what is not passed first, in full; the rest in a table with -o wide.
"""

from nettrace.model.check import Status
from nettrace.render.check_words import (
    bad_suppressions,
    not_passed,
    repair_options,
    summary,
    suppression_words,
)
from nettrace.render.contract_check import CheckReportDocument, CheckView
from nettrace.render.finding_text import finding_page
from nettrace.render.page import Line, Look, Page, Span, Style, columns, line, wrapped

__all__ = ["check_page"]

_STYLES = {
    Status.PASSED: Style.GOOD,
    Status.FAILED: Style.BAD,
    Status.ERROR: Style.BAD,
    Status.INCONCLUSIVE: Style.UNSURE,
    Status.SUPPRESSED: Style.DIM,
}


def check_page(document: CheckReportDocument, look: Look) -> Page:
    """Lay a check out: a line for each group of checks, then all that is not passed, then the summary."""
    lines: list[Line] = [*_groups(document, look), ()]
    told: dict[str, str] = {}
    for check in not_passed(document):
        lines.extend(_check(document, check, look, told))
        lines.append(())
    if look.wide:
        passed = [one for one in document.checks if one.status is Status.PASSED]
        lines.extend(columns([_row(one, look) for one in passed]))
        lines.extend([()] if passed else [])
    for words in document.left_out:
        lines.extend(_wrapped("left out: ", words, look, Style.UNSURE))
    for one in bad_suppressions(document):
        lines.extend(_wrapped("warning: ", suppression_words(one), look, Style.WARN))
    good = document.counts.passed + document.counts.suppressed == len(document.checks)
    style = Style.GOOD if good and document.checks else Style.HEAD
    lines.append(line(Span(summary(document), style), f"   {document.context}, {document.seconds:.1f} s"))
    return tuple(lines)


def _groups(document: CheckReportDocument, look: Look) -> list[Line]:
    """One line for each name: how many of its checks came to what."""
    groups: dict[str, list[CheckView]] = {}
    for check in document.checks:
        groups.setdefault(check.name, []).append(check)
    rows: list[list[str | Span]] = []
    for name, checks in groups.items():
        counts = {status: sum(one.status is status for one in checks) for status in _STYLES}
        worst = next(s for s in (Status.ERROR, Status.FAILED, Status.INCONCLUSIVE, *_STYLES) if counts[s])
        words = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
        rows.append([_mark(worst, look), name, Span(words, _STYLES[worst])])
    return columns(rows)


def _mark(status: Status, look: Look) -> Span:
    symbol = {Status.PASSED: look.tick, Status.INCONCLUSIVE: "?", Status.SUPPRESSED: "-"}.get(
        status, look.cross
    )
    return Span(symbol, _STYLES[status])


def _row(check: CheckView, look: Look) -> list[str | Span]:
    return [_mark(check.status, look), check.name, check.flow, check.walked or check.probed or check.expected]


def _check(document: CheckReportDocument, check: CheckView, look: Look, told: dict[str, str]) -> list[Line]:
    place = f"   {document.file}:{check.line}" if check.line else ""
    lines: list[Line] = [
        line(
            *(_mark(check.status, look), " ", Span(check.status.value, _STYLES[check.status])),
            *("  ", Span(check.name, Style.HEAD), "  ", check.flow, Span(place, Style.DIM)),
        )
    ]
    for name, words in (
        ("expected", check.expected),
        ("walked", "" if check.walked and check.reason.startswith(check.walked) else check.walked),
        ("probed", check.probed),
        ("reason", check.reason),
    ):
        if words:
            lines.extend(_wrapped(f"  {name:<9}", words, look, Style.DIM))
    for finding in check.findings:
        key = f"{finding.cause} {finding.where} {finding.subject}"
        if key in told and not look.wide:
            lines.extend(_wrapped("  cause    ", f"{finding.cause}, as of {told[key]}", look, Style.DIM))
            continue
        told[key] = check.flow
        options = repair_options(document, check) if check.target else "-"
        lines.extend(finding_page(finding, look, context=document.context, options=options))
    for note in check.notes:
        lines.extend(_wrapped("  note     ", note, look, Style.DIM))
    return lines


def _wrapped(head: str, text: str, look: Look, style: Style) -> list[Line]:
    pieces = wrapped(text, max(look.width - len(head), 20))
    return [
        line(Span(head if not index else " " * len(head), style), piece) for index, piece in enumerate(pieces)
    ]
