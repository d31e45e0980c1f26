"""
A cause as a page of documentation.

Lives here: the form of docs/causes/ID.md.  The words are the cause's own.
"""

from collections.abc import Iterable

from nettrace.diagnose.cause import Explanation

__all__ = ["index_page", "page"]

_PARTS = (
    ("What it is", "what"),
    ("How it shows", "shows"),
    ("Where the packet dies", "dies"),
    ("What proves it", "proof"),
    ("The least repair", "repair"),
    ("Whose state it is", "owner"),
    ("Where people met it", "source"),
)

_HEAD = "<!-- written by scripts/cause_pages.py from the cause itself; change it there -->"


def page(cause: Explanation) -> str:
    """Return the page of one cause in Markdown."""
    lines = [_HEAD, f"# {cause.id}", "", f"{cause.title[0].upper()}{cause.title[1:]}.", ""]
    for title, name in _PARTS:
        lines += [f"## {title}", "", getattr(cause, name), ""]
    return "\n".join(lines)


def index_page(causes: Iterable[Explanation]) -> str:
    """Return the page that lists all causes."""
    lines = [_HEAD, "# Causes", "", "`nettrace explain CAUSE` says the same on the command line.", ""]
    lines += [f"* [{cause.id}]({cause.id}.md): {cause.title}" for cause in sorted(causes, key=lambda c: c.id)]
    return "\n".join([*lines, ""])
