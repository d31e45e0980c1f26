"""
What a list shows: lines that may be selected, searched and folded.

Lives here: the types between what is to be seen and the widget that draws it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from nettrace.render.page import Line, Span, width_of

__all__ = ["Entry", "Filtered", "Listed", "Source", "filtered", "listed"]


class Entry(NamedTuple):
    """
    One line of a list.

    ``key`` is what it stands for, None for words; ``problem``: `n` stops at it; ``fold`` names the
    group that it heads.
    """

    line: Line
    key: Any = None
    problem: bool = False
    fold: str | None = None


class Source(Protocol):
    """Lines by number, made when they are looked at: there may be hundreds of thousands."""

    def __len__(self) -> int:
        """Return the number of lines."""
        ...

    def entry(self, index: int) -> Entry:
        """Return a line."""
        ...

    def text(self, index: int) -> str:
        """Return what a search looks at."""
        ...

    def problems(self) -> Sequence[int]:
        """Return the numbers of the lines that are problems, in order."""
        ...


class Listed:
    """Lines that are there already."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.entries)

    def entry(self, index: int) -> Entry:
        """Return a line."""
        return self.entries[index]

    def text(self, index: int) -> str:
        """Return a line's words."""
        return "".join(span.text for span in self.entries[index].line)

    def problems(self) -> Sequence[int]:
        """Return the numbers of the lines that are problems."""
        return [index for index, entry in enumerate(self.entries) if entry.problem]


class Filtered:
    """Some lines of another list, by their numbers there."""

    def __init__(self, whole: Source, numbers: Sequence[int]) -> None:
        self.whole, self.numbers = whole, numbers

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.numbers)

    def entry(self, index: int) -> Entry:
        """Return a line."""
        return self.whole.entry(self.numbers[index])

    def text(self, index: int) -> str:
        """Return what a search looks at."""
        return self.whole.text(self.numbers[index])

    def problems(self) -> Sequence[int]:
        """Return the numbers of the lines that are problems, in order."""
        wrong = set(self.whole.problems())
        return [index for index, number in enumerate(self.numbers) if number in wrong]


def filtered(source: Source, text: str, *, keep: int, stop: Callable[[], bool]) -> Filtered:
    """
    Return the lines of *source* with *text* in them, capitals or not, and the first *keep* in any case.

    *stop* is asked now and then whether the rest is not wanted any more.
    """
    wanted = text.lower()
    numbers = []
    for index in range(len(source)):
        if index % 1000 == 0 and stop():
            break
        if index < keep or wanted in source.text(index).lower():
            numbers.append(index)
    return Filtered(source, numbers)


def listed(lines: Sequence[Line], width: int | None = None) -> Listed:
    """Make a list of words; what is longer than *width* goes on below, set in."""
    if width is None:
        return Listed([Entry(line) for line in lines])
    return Listed([Entry(piece) for line in lines for piece in _folded(line, width)])


def _folded(line: Line, width: int) -> Iterator[Line]:
    """Break a line at *width*, between words where possible."""
    indent = len(line[0].text) - len(line[0].text.lstrip()) + 2 if line else 0
    while width_of(line) > width > indent + 8:
        text = "".join(span.text for span in line)
        at = text.rfind(" ", indent, width + 1)
        at = width if at <= indent else at
        yield _part(line, 0, at)
        rest = at + 1 if text[at] == " " else at
        line = (Span(" " * indent), *_part(line, rest, len(text)))
    yield line


def _part(line: Line, begin: int, end: int) -> Line:
    """Return the spans of the characters *begin* to *end* of a line."""
    spans = []
    at = 0
    for span in line:
        piece = span.text[max(begin - at, 0) : max(end - at, 0)]
        if piece:
            spans.append(Span(piece, span.style))
        at += len(span.text)
    return tuple(spans)
