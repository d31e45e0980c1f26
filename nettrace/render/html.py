"""
Documents as a page of HTML that stands by itself: no script, nothing fetched.

Lives here: a check with a table and a section for each failure; everything else as its text.
"""

from html import escape

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
from nettrace.render.contract_check import CheckReportDocument, CheckView
from nettrace.render.page import Look
from nettrace.render.visible import visible

__all__ = ["render"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8885; padding: .3rem .6rem; text-align: left; vertical-align: top; }
pre { background: #8882; overflow-x: auto; padding: .8rem; white-space: pre-wrap; }
code, pre, td.flow { font-family: ui-monospace, monospace; font-size: 13px; }
.passed { color: #1a7f37; } .failed, .error { color: #cf222e; font-weight: 600; }
.inconclusive { color: #9a6700; font-weight: 600; } .suppressed { color: #6e7781; }
"""


def render(document: Document) -> str:
    """Return *document* as HTML."""
    if isinstance(document, CheckReportDocument):
        return _page(f"nettrace check: {summary(document)}", _check(document))
    body = f"<pre>{_shown(plain_text.render(document, Look(width=120)), keep_lines=True)}</pre>"
    return _page("nettrace", [body])


def _page(title: str, body: list[str]) -> str:
    head = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_shown(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
    ]
    return "\n".join([*head, *body, "</body>", "</html>"]) + "\n"


def _check(document: CheckReportDocument) -> list[str]:
    about = f"{document.context}, {document.taken}, {document.seconds:.1f} s"
    lines = [f"<h1>{_shown(summary(document))}</h1>", f"<p>{_shown(about)}</p>"]
    for check in not_passed(document):
        lines += _failure(document, check)
    said = [*document.left_out, *map(suppression_words, bad_suppressions(document))]
    if said:
        lines += ["<h2>Left out, and warnings</h2>", "<ul>", *(f"<li>{_shown(words)}</li>" for words in said)]
        lines.append("</ul>")
    lines += [
        "<h2>All checks</h2>",
        "<table>",
        "<tr><th>status</th><th>check</th><th>flow</th><th>seen</th></tr>",
    ]
    lines += [_row(check) for check in document.checks]
    return [*lines, "</table>"]


def _row(check: CheckView) -> str:
    seen = check.walked or check.probed or check.reason
    status = check.status.value
    cells = f'<td>{_shown(check.name)}</td><td class="flow">{_shown(check.flow)}</td><td>{_shown(seen)}</td>'
    return f'<tr><td class="{status}">{status}</td>{cells}</tr>'


def _failure(document: CheckReportDocument, check: CheckView) -> list[str]:
    text = "\n".join(described(document, check))
    status = check.status.value
    head = f"{_shown(check.name)}: {_shown(check.flow)} <code>{_shown(rule_of(check))}</code>"
    return [
        f'<h2><span class="{status}">{status}</span> {head}</h2>',
        f"<pre>{_shown(text, keep_lines=True)}</pre>",
    ]


def _shown(text: str, *, keep_lines: bool = False) -> str:
    if keep_lines:
        return "\n".join(_shown(line) for line in text.splitlines())
    return escape(visible(text))
