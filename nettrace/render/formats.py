"""
Formats by name: which documents each can show.

Lives here: everything but text for a terminal, which depends on the terminal.
"""

from nettrace.model.errors import UserError
from nettrace.render.contract import Document
from nettrace.render.contract_check import CheckReportDocument

__all__ = ["CHECK_FORMATS", "in_format"]

#: Formats that are about checks, and show nothing else.
CHECK_FORMATS = ("junit", "sarif", "github")


def in_format(document: Document, name: str) -> str:
    """Return *document* in the format *name*; UserError where the format cannot show it."""
    # Each is imported when it is asked for: a trace as a table needs none of them.
    if name in CHECK_FORMATS:
        if not isinstance(document, CheckReportDocument):
            raise UserError(
                f"{name} shows checks, and this is no CheckReport",
                hint="other results can be had as json, yaml, markdown, svg and html",
            )
        return _of_check(document, name)
    if name == "json":
        from nettrace.render import json  # noqa: PLC0415

        return json.render(document)
    if name == "yaml":
        from nettrace.render import yaml  # noqa: PLC0415

        return yaml.render(document)
    if name == "markdown":
        from nettrace.render import markdown  # noqa: PLC0415

        return markdown.render(document)
    if name == "html":
        from nettrace.render import html  # noqa: PLC0415

        return html.render(document)
    from nettrace.render import svg  # noqa: PLC0415

    return svg.render(document)


def _of_check(document: CheckReportDocument, name: str) -> str:
    from nettrace.render import github, junit, sarif  # noqa: PLC0415

    if name == "junit":
        return junit.render(document)
    return sarif.render(document) if name == "sarif" else github.render(document)
