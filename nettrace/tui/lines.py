"""
A list of lines of any length: only what is on the screen is made and drawn.

Lives here: the widget that every pane is made of: moving, selecting, searching.
"""

import time
from functools import partial

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from nettrace.render.page import width_of
from nettrace.tui.entries import Entry, Listed, Source
from nettrace.tui.looks import rich_style

__all__ = ["Lines"]

#: Seconds that a search may take before the screen has its turn.
_SLICE = 0.012
#: Columns that a list may be wide, where nobody has looked at all of it.
_WIDE = 1200


class Lines(ScrollView, can_focus=True):
    """Lines with one of them selected."""

    DEFAULT_CSS = """
    Lines { background: $background; scrollbar-size: 1 1; overflow-x: hidden;
        scrollbar-background: $background; scrollbar-background-hover: $background;
        scrollbar-color: $border-blurred; scrollbar-color-hover: $primary; }
    """

    class Moved(Message):
        """Another line is selected."""

        def __init__(self, lines: "Lines") -> None:
            super().__init__()
            self.lines = lines

        @property
        def control(self) -> "Lines":
            """The widget."""
            return self.lines

    class Opened(Moved):
        """A line was chosen by a click on the selected one."""

    def __init__(self, title: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = title
        self.source: Source = Listed([])
        self.cursor = 0
        self.sought = ""
        self._seeking = 0
        self._chosen_by_hand = False

    # --- contents ------------------------------------------------------------------------

    def show(self, source: Source, *, at: int | None = 0) -> None:
        """Show other lines; *at* None keeps the place."""
        self.source = source
        top = self.scroll_offset.y
        few = len(source) <= 2000
        width = max((width_of(source.entry(i).line) for i in range(len(source))), default=0) if few else _WIDE
        self.virtual_size = Size(width + 2, len(source))
        self.cursor = max(0, min(self.cursor if at is None else at, len(source) - 1))
        self.refresh()
        if at is None:
            self.scroll_to(y=top, animate=False, immediate=True)
        else:
            self.scroll_to(x=0, animate=False, immediate=True)
        self.call_after_refresh(self._reveal)

    @property
    def entry(self) -> Entry | None:
        """The line that is selected."""
        return self.source.entry(self.cursor) if 0 <= self.cursor < len(self.source) else None

    # --- moving --------------------------------------------------------------------------

    def select(self, index: int, *, quiet: bool = False) -> None:
        """Select a line, the nearest if there is none of that number."""
        index = max(0, min(index, len(self.source) - 1))
        if index != self.cursor:
            before, self.cursor = self.cursor, index
            self.refresh_lines(before, 1)
            self.refresh_lines(index, 1)
            self._reveal()
            if not quiet:
                self.post_message(self.Moved(self))

    def move(self, by: int) -> None:
        """Move the selection."""
        self.select(self.cursor + by)

    def page(self, direction: int) -> None:
        """Move by a page."""
        self.move(direction * max(self.scrollable_content_region.height - 1, 1))

    def sideways(self, by: int) -> None:
        """Look at another part of long lines."""
        furthest = max(self.virtual_size.width - self.scrollable_content_region.width, 0)
        self.scroll_to(x=max(0, min(self.scroll_offset.x + by, furthest)), animate=False, immediate=True)
        self.refresh()

    def _reveal(self) -> None:
        height = max(self.scrollable_content_region.height, 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, immediate=True)

    def problem(self, direction: int) -> bool:
        """Select the next problem, around the end; False if there is none."""
        found = self.source.problems()
        if not found:
            return False
        ahead = [i for i in found if (i > self.cursor if direction > 0 else i < self.cursor)]
        chosen = (ahead or list(found))[0 if direction > 0 else -1]
        self.select(chosen)
        return True

    # --- searching -----------------------------------------------------------------------

    def seek(self, text: str, direction: int = 1, *, here: bool = False) -> None:
        """Select the next line with *text* in it, a slice of time after the other."""
        self.sought = text
        self._seeking += 1
        if text and len(self.source):
            start = self.cursor if here else self.cursor + direction
            self._seek(self._seeking, text.lower(), start % len(self.source), direction, len(self.source))
        self.refresh()

    def _seek(self, number: int, text: str, index: int, direction: int, left: int) -> None:
        if number != self._seeking:
            return  # another search has begun
        until = time.monotonic() + _SLICE
        count = len(self.source)
        while left > 0:
            if text in self.source.text(index).lower():
                self.select(index)
                return
            index, left = (index + direction) % count, left - 1
            if time.monotonic() > until:
                self.set_timer(0.001, partial(self._seek, number, text, index, direction, left))
                return

    # --- drawing -------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen."""
        x, top = self.scroll_offset
        index = y + top
        width = self.scrollable_content_region.width
        base = self.rich_style
        if index >= len(self.source):
            return Strip.blank(width, base)
        dark = self.app.current_theme.dark
        selected = index == self.cursor
        if selected:
            base += self._selection()
        segments = [Segment(">" if selected and self.has_focus else " ", base)]
        for span in self.source.entry(index).line:
            segments.extend(self._segments(span.text, base + rich_style(span.style, dark=dark)))
        strip = Strip(segments).crop(x, x + width)
        return strip.extend_cell_length(width, base)

    def _selection(self) -> RichStyle:
        dark = self.app.current_theme.dark
        if self.has_focus:
            return RichStyle(bgcolor="#27415e" if dark else "#cfe3f7", bold=True)
        return RichStyle(bgcolor="#232a33" if dark else "#e8ecf0")

    def _segments(self, text: str, style: RichStyle) -> list[Segment]:
        """Underline what is sought."""
        at = text.lower().find(self.sought.lower()) if self.sought else -1
        if at < 0:
            return [Segment(text, style)]
        end = at + len(self.sought)
        found = style + RichStyle(underline=True, bold=True)
        return [Segment(text[:at], style), Segment(text[at:end], found), Segment(text[end:], style)]

    def on_click(self, event: Click) -> None:
        """Select by the mouse; a second click opens."""
        index = event.y + self.scroll_offset.y - self.gutter.top
        if index == self.cursor and event.chain > 1:
            self.post_message(self.Opened(self))
        self.select(index)
