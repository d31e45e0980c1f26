"""
The terminal: is there one, how wide is it, does it want colours; and errors on stderr.

Lives here: every decision that depends on what standard output and error are.
"""

import os
import shutil
import sys
from typing import IO

from nettrace.render.page import Line, Span, Style, line, plain

__all__ = ["complain", "say", "speaks_unicode", "wants_colour", "width"]

_NARROWEST = 60


def wants_colour(choice: str, stream: IO[str]) -> bool:
    """
    Decide on colours for *stream*; *choice* is ``auto``, ``always`` or ``never``.

    ``auto``: on a terminal that is not dumb, unless NO_COLOR is set to anything but "".
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def speaks_unicode(stream: IO[str]) -> bool:
    """Can *stream* carry the symbols that a page uses?"""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "") in (
        "utf8",
        "utf16",
        "utf32",
    )


def width() -> int:
    """Return the columns of the terminal (COLUMNS first), 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, _NARROWEST)


def say(text: str) -> None:
    """Tell of progress, on stderr."""
    print(plain([line(text)]), end="", file=sys.stderr, flush=True)  # noqa: T201


def complain(what: str, *, where: str = "", hint: str = "", kind: str = "error") -> None:
    """Write an error on stderr as rustc would: what, where, what to do."""
    head: list[str | Span] = [Span(kind, Style.BAD), ": "] if kind else []
    first, *more = what.splitlines() or [""]
    page: list[Line] = [line(*head, first), *(line("  | ", words) for words in more)]
    if where:
        page.append(line("  --> ", Span(where, Style.NAME)))
    if hint:
        page.append(line(Span("help", Style.HEAD), f": {hint}"))
    text = plain(page)
    if wants_colour("auto", sys.stderr):
        from nettrace.render.colour import ansi

        text = ansi(page)
    try:
        print(text, end="", file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        return  # stderr is closed: the exit code has to do
