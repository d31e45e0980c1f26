"""
A page: lines of styled spans, before anybody decides on colour.

Lives here: what text renderings are made of, their plain form, and laying words out in a
width.  Every span is made visible on its way in, so nothing untrusted reaches a terminal.
Not here: what the lines say; colours (nettrace.render.colour).
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from nettrace.render.visible import visible

__all__ = [
    "Line",
    "Look",
    "Page",
    "Span",
    "Style",
    "columns",
    "line",
    "plain",
    "titled",
    "width_of",
    "wrapped",
]


class Style(StrEnum):
    """What a span means; how it looks is decided by nettrace.render.colour."""

    PLAIN = "plain"
    HEAD = "head"  # the word that begins a section
    NAME = "name"  # a node, a namespace, a device
    DIM = "dim"  # said for completeness
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    UNSURE = "unsure"  # UNKNOWN and what was not read
    CHANGE = "change"  # what a step does to the packet
    CODE = "code"  # a rule or a command


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    style: Style = Style.PLAIN


Line: TypeAlias = tuple[Span, ...]
Page: TypeAlias = tuple[Line, ...]


class Look(Struct, frozen=True, kw_only=True):
    """
    How a page is to look.

    ``width`` in columns.  ``wide`` shows everything that a document holds.  ``ascii`` keeps
    to ASCII symbols.
    """

    width: int = 80
    wide: bool = False
    ascii: bool = False

    @property
    def tick(self) -> str:
        """The symbol of what is well."""
        return "+" if self.ascii else "\N{CHECK MARK}"

    @property
    def cross(self) -> str:
        """The symbol of what failed."""
        return "x" if self.ascii else "\N{BALLOT X}"

    @property
    def unlike(self) -> str:
        """The symbol of what was predicted and is otherwise; one column."""
        return "#" if self.ascii else "\N{NOT EQUAL TO}"

    @property
    def bar(self) -> str:
        """The line beside evidence."""
        return "|" if self.ascii else "\N{BOX DRAWINGS LIGHT VERTICAL}"


def line(*parts: str | Span) -> Line:
    """Make a line; bare strings are plain.  The text is made visible here."""
    spans = (part if isinstance(part, Span) else Span(part) for part in parts)
    return tuple(Span(visible(span.text), span.style) for span in spans if span.text)


def width_of(spans: Line) -> int:
    """Return the number of characters of a line."""
    return sum(len(span.text) for span in spans)


def plain(page: Iterable[Line]) -> str:
    """Return the page as text without any colour, each line ended, no blanks at line ends."""
    return "".join("".join(span.text for span in spans).rstrip() + "\n" for spans in page)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield *text* in pieces of at most *width* characters, broken between words where possible."""
    text = visible(text)
    while len(text) > width > 0:
        cut = text.rfind(" ", 1, width + 1)
        if cut <= 0:
            cut = text.find(" ", width)  # a word longer than the width stays whole: it may be copied
        if cut <= 0:
            break
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    yield text


def titled(title: str, text: str, look: Look, style: Style = Style.PLAIN) -> list[Line]:
    """Put *text* behind a title, broken at the width, the further lines below the first."""
    head = title.ljust(9)
    pieces = list(wrapped(text, max(look.width - len(head), 40)))
    return [
        line(Span(head if not index else " " * len(head), Style.HEAD), Span(piece, style))
        for index, piece in enumerate(pieces)
    ]


def columns(rows: Sequence[Sequence[str | Span]], *, gap: int = 2) -> list[Line]:
    """Lay *rows* out in columns as wide as their widest cell; the last column is left ragged."""
    cells = [
        [
            Span(visible(cell.text), cell.style) if isinstance(cell, Span) else Span(visible(cell))
            for cell in row
        ]
        for row in rows
    ]
    widths: list[int] = []
    for row in cells:
        for index, cell in enumerate(row):
            if index == len(widths):
                widths.append(0)
            widths[index] = max(widths[index], len(cell.text))
    lines = []
    for row in cells:
        spans: list[Span] = []
        for index, cell in enumerate(row):
            spans.append(cell)
            if index + 1 < len(row):
                spans.append(Span(" " * (widths[index] - len(cell.text) + gap)))
        lines.append(tuple(spans))
    return lines
