"""
The frame of the application: what is on the screen, the lines at the top and bottom, work in threads.

Lives here: the panes' places, colours, notices, one piece of work at a time.
Not here: what the panes show (nettrace.tui.panes), what actions do (the modules beside).
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import Event, Key
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from nettrace.model.errors import UserError
from nettrace.render.page import Line, Look, Span, Style, line
from nettrace.render.visible import visible
from nettrace.tui.actions import ACTIONS, VIEWS, Action, footer
from nettrace.tui.guide_lines import LANES
from nettrace.tui.line_editor import TypedLine
from nettrace.tui.lines import Lines
from nettrace.tui.looks import rich_style
from nettrace.tui.session import Cancelled, Session, Where
from nettrace.tui.walk_lines import summary

__all__ = ["Frame"]

T = TypeVar("T")

#: So many remarks are shown at once.
_REMARKS = 3
_CSS = """
Screen { background: $background; overflow: hidden; }
#views { height: 1fr; }
#top, #status, #foot { height: 1; padding: 0 1; }
#top { background: $panel; }
#foot { background: $panel; }
#ask, #prompt { height: 1; border: none; padding: 0 1; display: none; background: $boost; }
#ask:focus, #prompt:focus { border: none; }
Lines { border: round $foreground 25%; border-title-color: $text-muted; padding: 0; }
Lines:focus { border: round $primary; border-title-color: $primary; border-title-style: bold; }
.ascii Lines { border: ascii $foreground 25%; }
.ascii Lines:focus { border: ascii $primary; }
#upper, #lanes { height: 13fr; }
#evidence, #check { height: 10fr; }
#where { width: 22; }
#where.picture { width: 44; }
.wide #where { width: 46; }
#kinds { width: 15; }
#labs { width: 36; }
.maximised #where, .maximised #walk, .maximised #evidence { display: none; }
.maximised #kinds, .maximised #labs, .maximised #check, .maximised #lanes Lines { display: none; }
.maximised Lines.largest { display: block; width: 1fr; height: 1fr; }
.maximised #upper.empty, .maximised #lanes.empty { display: none; }
"""


class Frame(App[str]):
    """The application without its actions; its result is what is printed when it has ended."""

    TITLE = "nettrace"
    CSS = _CSS
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        where: Where,
        *,
        ascii_only: bool = False,
        question: tuple[str, str] | None = None,
        actions: Sequence[Action] = ACTIONS,
    ) -> None:
        super().__init__()
        self.actions = actions
        self._meant = {key: action.id for action in actions for key in action.keys}
        self.ascii_only = ascii_only
        self.session = Session(where, self._progress)
        self.view = "walk"
        self.branch_number = 0
        self.folded: set[str] = set()
        self.kind = "namespaces"
        self.busy = ""
        self._question = question
        self._words: tuple[str, ...] = ()
        self.views: list[str] = []
        self._left_at: dict[str, str] = {}  # view -> the pane that had the keys when it was left
        self._picture = False
        self._prompt = ""
        self._back_to: Widget | None = None
        self._recalled = 0
        self.said: Span | None = None
        self.chosen: tuple[str, str] = ("", "")
        self.outdated = False  # the node was changed since the walk on the screen was made

    def compose(self) -> ComposeResult:
        """Make the panes of all views."""
        yield Static(id="top", markup=False)
        yield TypedLine(id="ask", placeholder="FROM -> TO   tab completes, up and down recall")
        with ContentSwitcher(initial="view-walk", id="views"):
            with Vertical(id="view-walk"):
                with Horizontal(id="upper"):
                    yield Lines("where", id="where")
                    yield Lines("walk", id="walk")
                yield Lines("why", id="evidence")
            with Horizontal(id="view-state"):
                yield Lines("state", id="kinds")
                yield Lines("namespaces", id="rows")
            with Vertical(id="view-probe"):
                yield Lines("probe", id="seen")
            with Vertical(id="view-watch"):
                yield Lines("drops", id="drops")
            with Vertical(id="view-repair"):
                yield Lines("repair", id="repair")
            with Horizontal(id="view-lab"):
                yield Lines("lab", id="labs")
                yield Lines("what was done", id="done")
            with Vertical(id="view-debug"):
                with Horizontal(id="lanes"):
                    for lane, title in LANES.items():
                        yield Lines(title, id=f"lane-{lane}")
                yield Lines("check", id="check")
            with Vertical(id="view-help"):
                yield Lines("keys", id="help")
        yield Static(id="status", markup=False)
        yield TypedLine(id="prompt")
        yield Static(id="foot", markup=False)

    # --- keys ----------------------------------------------------------------------------

    async def on_event(self, event: Event) -> None:
        """
        Do what a key means before the next one is looked at.

        Widgets have queues of their own: what is typed right behind `/` would reach the list before
        `/` has opened the line that it is meant for.
        """
        if isinstance(event, Key) and not event.is_forwarded and len(self.screen_stack) == 1:
            self.app_focus = True
            if isinstance(self.focused, TypedLine):
                if self.typed_key(event.key) or await self.focused.typed(event):
                    self.typed_text(self.focused)
                    return
            elif event.key in self._meant:
                self.action_do(self._meant[event.key])
                return
        await super().on_event(event)

    def action_do(self, name: str) -> None:
        """Do what a key, the palette or a command names."""

    def typed_key(self, key: str) -> bool:
        """Do what a key means in a line that is typed into; False if it is for the line itself."""
        return False

    def typed_text(self, widget: Widget | None) -> None:
        """Do what follows from what stands in a line that is typed into."""

    def key(self, identity: str) -> str:
        """Return what the user presses for an action: its key, or the command for it where it has none."""
        shown = next(action.shown for action in self.actions if action.id == identity)
        return shown or f":{identity}"

    # --- looks ---------------------------------------------------------------------------

    def lines(self, name: str) -> Lines:
        """Return a pane."""
        return self.query_one(f"#{name}", Lines)

    def look_of(self, name: str) -> Look:
        """Return the look of what is laid out for a pane."""
        pane = self.lines(name)
        beside = {"rows": 15, "done": 36}.get(name, 0)
        width = pane.region.width or self.size.width - beside  # a pane that is not shown yet has no width
        return Look(width=max(width - 5, 18), ascii=self.ascii_only)

    def text(self, spans: Line) -> Text:
        """Return a line in the colours of the theme."""
        text = Text(no_wrap=True, overflow="ellipsis", end="")
        for span in spans:
            text.append(span.text, style=rich_style(span.style, dark=self.current_theme.dark))
        return text

    def draw(self) -> None:
        """Draw the lines at the top and at the bottom."""
        asked = self.session.question
        flow = (
            f"{asked.source} -> {asked.target}"
            if asked is not None
            else f"{self.key('ask')} asks: FROM -> TO"
        )
        label = visible(self.session.label or "opening")
        room = self.size.width - 15 - len(visible(flow))
        if len(label) > room >= 0:  # the question is worth more than where it is asked
            label = label[: max(room - 1, 0)] + ("~" if self.ascii_only else "…")
        top = line(Span("nettrace  ", Style.HEAD), Span(label, Style.NAME), "   ", Span(flow, Style.PLAIN))
        # The three lines are always one line each: nothing is laid out anew for what they say.
        self.query_one("#top", Static).update(self.text(top), layout=False)
        self.query_one("#status", Static).update(self.text(self._status()), layout=False)
        keys = footer(self.view, self.actions)
        foot = [part for key, label in keys for part in (Span(f"{key} ", Style.NAME), f"{label}  ")]
        self.query_one("#foot", Static).update(self.text(line(*foot)), layout=False)

    def _status(self) -> Line:
        parts: list[str | Span] = []
        entry = self.session.entry
        if entry is not None and entry.deadline is not None:
            left = max(0, round(entry.deadline - time.time()))
            parts.append(
                Span(
                    f"undone in {left} s   {self.key('keep')} keeps  {self.key('undo')} undoes   ", Style.WARN
                )
            )
        if self.waits:
            return line(*parts, Span(self.waits, Style.WARN))
        if self.busy:
            return line(
                *parts,
                Span(f"... {self.busy}", Style.UNSURE),
                Span(f"   {self.key('back')} cancels", Style.DIM),
            )
        if self.said is not None:
            return line(*parts, self.said)
        if self.session.document is not None and self.view in ("walk", "probe", "repair", "help"):
            return (*line(*parts), *summary(self.session.document, self.look_of("evidence")))
        if self.view in VIEWS:
            parts.append(Span(VIEWS[self.view], Style.DIM))
        return line(*parts)

    @property
    def waits(self) -> str:
        """What the application waits for the user to say, "" for nothing."""
        return ""

    def tick(self) -> None:
        """Count down to when a repair is undone, and say so when it is."""
        entry = self.session.entry
        if entry is None or entry.deadline is None:
            return
        if time.time() > entry.deadline + 1:
            self.session.waiting.pop(0)
            self.outdated = True
            self.tell("not kept in time: the repair has been undone", Style.WARN)
        self.draw()

    def _progress(self, text: str) -> None:
        self.call_from_thread(self._told, text)

    def _told(self, text: str) -> None:
        if self.busy:
            self.busy = text
            self.draw()

    def tell(self, text: str, style: Style = Style.PLAIN) -> None:
        """Say something on the line of the verdict, until the next key."""
        self.said = Span(text, style)
        self.draw()

    def _remark(self) -> None:
        """Show what there is to know of a source that has just been opened."""
        remarks = self.session.take_remarks()
        if remarks:
            more = [f"and {len(remarks) - _REMARKS} more"] if len(remarks) > _REMARKS else []
            words = "\n".join([*remarks[:_REMARKS], *more])
            self.notify(words, severity="warning", markup=False, timeout=8)

    def complain(self, error: UserError) -> None:
        """Show what went wrong, where, and what to do."""
        self.tell(f"error: {error.what}", Style.BAD)
        said = [line(Span("error: ", Style.BAD), error.what)]
        said.extend([line("  --> ", Span(error.where, Style.NAME))] if error.where else [])
        said.extend([line(Span("help: ", Style.HEAD), error.hint)] if error.hint else [])
        words = "\n".join("".join(span.text for span in spans) for spans in said)
        self.notify(words, severity="error", markup=False, timeout=8)

    # --- work in threads -----------------------------------------------------------------

    def work(self, what: str, job: Callable[[], T], then: Callable[[T], Any], *, aside: bool = False) -> None:
        """
        Run *job* in a thread, then give its result to *then*; errors are notices.

        One thing is worked on at a time, but for what is short and *aside*.
        """
        if not aside:
            if self.busy:
                self.notify(f"still busy: {self.busy}", markup=False)
                return
            self.busy, self.said = what, None
            self.draw()

        def ended(after: Callable[[], Any]) -> None:
            if not aside:
                self.busy = ""
            after()
            self._remark()
            self.draw()

        def run() -> None:
            try:
                result = job()
            except Cancelled:
                self.call_from_thread(ended, lambda: self.tell(f"cancelled: {what}", Style.WARN))
            except UserError as error:
                wrong = error
                self.call_from_thread(ended, lambda: self.complain(wrong))
            except Exception as error:  # noqa: BLE001  (a bug is said, and the screen stays)
                bug = UserError(f"this is a bug in nettrace: {type(error).__name__}: {error}")
                self.call_from_thread(ended, lambda: self.complain(bug))
            else:
                self.call_from_thread(ended, lambda: then(result))

        self.run_worker(run, thread=True, group="work", exit_on_error=False)
