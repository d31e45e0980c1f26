"""Lines, columns and wrapping."""

from hypothesis import given
from hypothesis import strategies as st

from nettrace.render.colour import ansi
from nettrace.render.page import Span, Style, columns, line, plain, wrapped


def test_plain_and_coloured_say_the_same() -> None:
    """Colours add escape sequences and nothing else."""
    page = (line(Span("error", Style.BAD), ": [bold]name[/bold] http://x/"), (), line("a", Span("  ")))
    coloured = ansi(page)
    assert "\x1b[1;31merror\x1b[0m" in coloured
    without = coloured.replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert without == plain(page) == "error: [bold]name[/bold] http://x/\n\na\n"


def test_coloured_lines_are_never_broken() -> None:
    """A command of any length stays on one line, so that it can be copied."""
    assert ansi((line("x" * 5000),)).count("\n") == 1


def test_untrusted_text_cannot_end_a_line() -> None:
    """A newline inside a name does not make a second line."""
    assert plain((line("a\nerror: forged"),)) == "a\\nerror: forged\n"


def test_columns_are_as_wide_as_their_cells() -> None:
    """Cells of a column start below each other, the last column is ragged."""
    rows = columns([["A", "LONG"], ["abc", Span("x", Style.DIM)]])
    assert plain(rows) == "A    LONG\nabc  x\n"


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.integers(1, 40))
def test_wrapping_loses_no_word(text: str, width: int) -> None:
    """Every word survives wrapping, and a line is too long only if it is one word."""
    pieces = list(wrapped(text, width))
    assert " ".join(pieces).split() == text.split()
    assert all(len(piece) <= width or " " not in piece.strip() for piece in pieces)
