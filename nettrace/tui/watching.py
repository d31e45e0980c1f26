"""
Live drops on the screen.

Lives here: the thread that watches, and the view of what it finds.
Not here: watching (nettrace.app.watch), what a drop's line says (nettrace.render.watch_text).
"""

import threading
from collections.abc import Sequence
from queue import SimpleQueue

from textual.timer import Timer

from nettrace.app.watch import Wish, watch
from nettrace.model.dropped import DropSeen
from nettrace.model.errors import UserError
from nettrace.render.document import drop_document
from nettrace.render.page import Span, Style, line
from nettrace.render.watch_text import drop_page
from nettrace.tui.actions import ACTIONS, Action
from nettrace.tui.entries import Entry, Listed
from nettrace.tui.guiding import Guiding
from nettrace.tui.session import Where

__all__ = ["Watching"]

#: Lines of drops that are kept.
_DROPS = 5000


class Watching(Guiding):
    """The application with live drops."""

    def __init__(
        self,
        where: Where,
        *,
        ascii_only: bool = False,
        question: tuple[str, str] | None = None,
        actions: Sequence[Action] = ACTIONS,
    ) -> None:
        super().__init__(where, ascii_only=ascii_only, question=question, actions=actions)
        self._drops: list[Entry] = []
        self._watching: threading.Event | None = None  # set: stop
        self._frozen = False
        self._news: SimpleQueue[DropSeen | str | UserError] = SimpleQueue()
        self._reading_news: Timer | None = None

    def begin_watch(self) -> None:
        """Watch drops until the view is left for good."""
        if self._watching is not None:
            return
        stop = self._watching = threading.Event()
        where = self.session.where

        def run() -> None:
            try:
                with where.open() as context:
                    reopen = where.open if where.lab is None and not where.from_files else None
                    for one in watch(context, Wish(), reopen=reopen, stop=stop.is_set):
                        self._news.put(one)
            except UserError as error:
                self._news.put(error)
            finally:
                self._watching = None

        self.dropped("watching ...")
        if self._reading_news is None:
            self._reading_news = self.set_interval(0.2, self._read_news)
        self.run_worker(run, thread=True, group="watch", exit_on_error=False)

    def _read_news(self) -> None:
        """Show what the thread that watches has found: it never waits for the screen."""
        while not self._news.empty():
            one = self._news.get()
            if isinstance(one, UserError):
                self.complain(one)
            else:
                self.dropped(one)

    def on_unmount(self) -> None:
        """End what runs in threads, however the application ends."""
        self.end_threads()

    def end_threads(self) -> None:
        """Let everything that runs in threads end at the next thing that it would do."""
        if self._watching is not None:
            self._watching.set()
        self.session.cancel()
        if self.offer is not None:
            self.offer.decide(taken=False)

    def dropped(self, one: DropSeen | str) -> None:
        """Show a drop, or a remark about the watching."""
        look = self.look_of("drops")
        if isinstance(one, DropSeen):
            page = drop_page(drop_document(one), look)
            self._drops.extend(Entry(spans, problem=not n) for n, spans in enumerate(page))
        else:
            self._drops.append(Entry(line(Span(one, Style.DIM))))
        del self._drops[:-_DROPS]
        if not self._frozen:
            pane = self.lines("drops")
            follow = pane.cursor >= len(pane.source) - 1
            pane.show(Listed(self._drops), at=len(self._drops) - 1 if follow else None)

    def do_freeze(self) -> None:
        """Stop the live view, or go on."""
        self._frozen = not self._frozen
        self.lines("drops").border_subtitle = "frozen" if self._frozen else ""
        if not self._frozen:
            self.lines("drops").show(Listed(self._drops), at=len(self._drops) - 1)
