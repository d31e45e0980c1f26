"""
Documents as Markdown: a check as tables and sections, everything else as its text.

Lives here: GitHub's Markdown, for summaries of pipelines and comments.  Nothing that others wrote
becomes markup.
"""

import re

from nettrace.model.check import Status
from nettrace.render import text as plain_text
from nettrace.render.check_words import (
    bad_suppressions,
    described,
    not_passed,
    rule_of,
    summary,
    suppression_words,
)
from nettrace.render.contract import Document
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.page import Look
from nettrace.render.visible import visible

__all__ = ["render"]

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&@:])")
_BACKTICKS = re.compile("`+")


def render(document: Document) -> str:
    """Return *document* as Markdown."""
    if isinstance(document, CheckReportDocument):
        return "\n".join(_check(document)) + "\n"
    return _fenced(plain_text.render(document, Look(width=100))) + "\n"


def _check(document: CheckReportDocument) -> list[str]:
    lines = [f"## nettrace check: {escaped(summary(document))}", "", escaped(document.context), ""]
    names = list(dict.fromkeys(check.name for check in document.checks))
    if names:
        lines += ["| check | passed | failed | inconclusive | suppressed |", "|---|---:|---:|---:|---:|"]
    for name in names:
        own = [check.status for check in document.checks if check.name == name]
        bad = own.count(Status.FAILED) + own.count(Status.ERROR)
        counts = (own.count(Status.PASSED), bad, own.count(Status.INCONCLUSIVE), own.count(Status.SUPPRESSED))
        lines.append(f"| {escaped(name)} | " + " | ".join(str(count) for count in counts) + " |")
    for check in not_passed(document):
        head = f"### {check.status.value}: {escaped(check.name)}: {escaped(check.flow)}"
        lines += ["", head, "", f"`{rule_of(check)}`", "", _fenced("\n".join(described(document, check)))]
    said = [*document.left_out, *map(suppression_words, bad_suppressions(document))]
    if said:
        lines += ["", "### Left out, and warnings", "", *(f"* {escaped(words)}" for words in said)]
    return lines


def escaped(text: str) -> str:
    """Return *text* so that Markdown shows it as it is."""
    return _MARKUP.sub(r"\\\1", visible(text))


def _fenced(text: str) -> str:
    """Put *text* between fences that are longer than any in it."""
    longest = max((len(found) for found in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"
