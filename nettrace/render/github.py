"""
A check as annotations of GitHub Actions: workflow commands, one line each.

Lives here: the commands ``error``, ``warning`` and ``notice``, and their escaping.  Source: GitHub's
toolkit, packages/core/src/command.ts (escapeData and escapeProperty).
"""

from nettrace.model.check import Status
from nettrace.render.check_words import (
    bad_suppressions,
    described,
    label,
    not_passed,
    rule_of,
    summary,
    suppression_words,
)
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.visible import visible

__all__ = ["render"]

_COMMANDS = {
    Status.ERROR: "error",
    Status.FAILED: "error",
    Status.INCONCLUSIVE: "warning",
    Status.SUPPRESSED: "notice",
}


def render(document: CheckReportDocument) -> str:
    """Return *document* as workflow commands; the last one is a notice with the summary."""
    lines: list[str] = []
    for check in not_passed(document):
        where = {"file": document.file, "line": str(check.line)} if document.file and check.line else {}
        title = f"{rule_of(check)}: {label(check)}"
        text = "\n".join(described(document, check))
        lines.append(_command(_COMMANDS[check.status], text, **where, title=title))
    lines += [
        _command(
            "warning", suppression_words(one), file=document.file, line=str(one.line), title="suppression"
        )
        for one in bad_suppressions(document)
    ]
    lines += [_command("notice", visible(words), title="left out") for words in document.left_out]
    lines.append(_command("notice", summary(document), title="nettrace check"))
    return "\n".join(lines) + "\n"


def _command(name: str, text: str, **properties: str) -> str:
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
