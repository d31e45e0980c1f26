"""
Colours: a page with the escape sequences of a terminal, or as a picture.

Lives here: what each style looks like.  rich is given text and styles, never its markup.
"""

from collections.abc import Iterable
from io import StringIO

from rich.console import Console
from rich.text import Text

from nettrace.render.page import Line, Style

__all__ = ["STYLES", "ansi", "as_text"]

#: Style -> rich's words for it.  Only the eight colours every terminal has, and never colour
#: alone: what a style says, a word or a symbol on the line says as well.
STYLES: dict[Style, str] = {
    Style.PLAIN: "",
    Style.HEAD: "bold",
    Style.NAME: "cyan",
    Style.DIM: "dim",
    Style.GOOD: "bold green",
    Style.BAD: "bold red",
    Style.WARN: "bold yellow",
    Style.UNSURE: "bold magenta",
    Style.CHANGE: "yellow",
    Style.CODE: "",
}


def as_text(spans: Line) -> Text:
    """Make rich's text of one line."""
    text = Text(no_wrap=True, end="")
    for span in spans:
        text.append(span.text, style=STYLES[span.style])
    text.rstrip()
    return text


def ansi(page: Iterable[Line]) -> str:
    """Return the page with colours for a terminal."""
    target = StringIO()
    console = Console(
        file=target,
        force_terminal=True,
        color_system="standard",
        width=100_000,
        legacy_windows=False,
        no_color=False,
        _environ={},
    )
    for spans in page:
        console.print(as_text(spans), highlight=False, soft_wrap=True)
    return target.getvalue()
