"""
The panes of the application, and work in threads.

Lives here: what is on the screen when, typing, notices.
Not here: what actions do (nettrace.tui.app), what lines say (the modules beside), reading and
changing (nettrace.tui.session).
"""

import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input, Static

from nettrace.model.errors import UserError
from nettrace.render.page import Line, Look, Span, Style, line
from nettrace.tui.actions import ACTIONS, VIEWS, footer, help_lines
from nettrace.tui.complete import complete, words_of
from nettrace.tui.entries import listed
from nettrace.tui.guide_lines import LANES
from nettrace.tui.lines import Lines
from nettrace.tui.looks import rich_style
from nettrace.tui.places import End, lit_by, tree, wiring
from nettrace.tui.probe_lines import probe_list
from nettrace.tui.session import Cancelled, Session, Where
from nettrace.tui.state_lines import KINDS
from nettrace.tui.walk_lines import branches, detail, findings, summary, walk_list

__all__ = ["Panes"]

T = TypeVar("T")

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


class Panes(App[str]):
    """The application without its actions; its result is what is printed when it has ended."""

    TITLE = "nettrace"
    CSS = _CSS
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            ",".join(action.keys),
            f"do('{action.id}')",
            action.label,
            show=False,
            id=action.id,
            priority=action.id == "pane",
        )
        for action in ACTIONS
    ]

    def __init__(
        self, where: Where, *, ascii_only: bool = False, question: tuple[str, str] | None = None
    ) -> None:
        super().__init__()
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
        self._picture = False
        self._prompt = ""
        self._back_to: Widget | None = None
        self._recalled = 0
        self.said: Span | None = None
        self.chosen: tuple[str, str] = ("", "")

    def compose(self) -> ComposeResult:
        """Make the panes of all views."""
        yield Static(id="top", markup=False)
        yield Input(id="ask", placeholder="FROM -> TO   tab completes, up and down recall", compact=True)
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
        yield Input(id="prompt", compact=True)
        yield Static(id="foot", markup=False)

    def new_session(self, where: Where) -> None:
        """Begin anew on another source."""
        self.session = Session(where, self._progress)
        self.chosen = ("", "")
        self.lines("walk").show(listed(_WELCOME))
        self.lines("evidence").show(listed([]))

    def on_mount(self) -> None:
        """Begin to read."""
        self.set_class(self.ascii_only, "ascii")
        self.set_class(self.size.width >= 110, "wide")
        self.lines("kinds").show(listed([line(kind) for kind in KINDS]))
        self.lines("walk").show(listed(_WELCOME))
        self.lines("where").focus()
        self.draw()
        self.set_interval(1.0, self.tick)
        self.run_look()

    def on_resize(self) -> None:
        """Give the picture room where there is some, and lay what is broken at the width out anew."""
        self.set_class(self.size.width >= 110, "wide")
        self.call_after_refresh(self.lay_out)

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
        flow = f"{asked.source} -> {asked.target}" if asked is not None else "a asks: FROM -> TO"
        label = self.session.label or "opening"
        top = line(Span("nettrace  ", Style.HEAD), Span(label, Style.NAME), "   ", Span(flow, Style.PLAIN))
        self.query_one("#top", Static).update(self.text(top))
        self.query_one("#status", Static).update(self.text(self._status()))
        keys = footer(self.view)
        foot = [part for key, label in keys for part in (Span(f"{key} ", Style.NAME), f"{label}  ")]
        self.query_one("#foot", Static).update(self.text(line(*foot)))

    def _status(self) -> Line:
        if self.busy:
            return line(Span(f"... {self.busy}", Style.UNSURE), Span("   esc cancels", Style.DIM))
        parts: list[str | Span] = []
        entry = self.session.entry
        if entry is not None and entry.deadline is not None:
            left = max(0, round(entry.deadline - time.time()))
            parts.append(Span(f"undone in {left} s   c keeps  u undoes   ", Style.WARN))
        if self.said is not None:
            return line(*parts, self.said)
        if self.session.document is not None:
            return (*line(*parts), *summary(self.session.document, self.look_of("evidence")))
        return line(*parts)

    def tick(self) -> None:
        """Count down to when a repair is undone, and say so when it is."""
        entry = self.session.entry
        if entry is None or entry.deadline is None:
            return
        if time.time() > entry.deadline + 1:
            self.session.entry = None
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

    def complain(self, error: UserError) -> None:
        """Show what went wrong, where, and what to do."""
        self.tell(f"error: {error.what}", Style.BAD)
        said = [line(Span("error: ", Style.BAD), error.what)]
        said.extend([line("  --> ", Span(error.where, Style.NAME))] if error.where else [])
        said.extend([line(Span("help: ", Style.HEAD), error.hint)] if error.hint else [])
        words = "\n".join("".join(span.text for span in spans) for spans in said)
        self.notify(words, severity="error", markup=False, timeout=8)

    # --- work in threads -----------------------------------------------------------------

    def work(self, what: str, job: Callable[[], T], then: Callable[[T], Any]) -> None:
        """Run *job* in a thread, then give its result to *then*; errors are notices."""
        if self.busy:
            self.notify(f"still busy: {self.busy}", markup=False)
            return
        self.busy, self.said = what, None
        self.draw()

        def ended(after: Callable[[], Any]) -> None:
            self.busy = ""
            after()
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

    def run_look(self) -> None:
        """Read who is there, then ask what was asked for."""

        def seen(_: object) -> None:
            self._words = words_of(self.session.landscape)
            self.show_where()
            if self._question is not None:
                question, self._question = self._question, None
                self.call_later(self.run_ask, *question)

        self.work("looking around", self.session.look, seen)

    def run_ask(self, source: str, target: str, *, with_probe: bool = False) -> None:
        """Ask, and show the answer with the step that fails selected."""
        what = f"{'probing' if with_probe else 'walking'} {source} -> {target}"

        def answered(_: object) -> None:
            self.branch_number = 0
            self.folded = {fold for fold in self.folded if "/" not in fold}
            self.show_walk()
            if with_probe:
                self.go("probe")
                self.show_probe()
            else:
                self.go("walk")
                self.lines("walk").focus()

        self.work(what, lambda: self.session.ask(source, target, with_probe=with_probe), answered)

    # --- what the panes show -------------------------------------------------------------

    def lay_out(self) -> None:
        """Lay out anew, each pane at its place."""
        self.show_where(at=None)
        if self.session.document is not None:
            self.show_walk(at=None)
        self.draw()

    def show_where(self, at: int | None = 0) -> None:
        """Show the ends, or their wiring."""
        document, look = self.session.document, self.look_of("where")
        path = branches(document)[self.branch_number] if document is not None else None
        lit = lit_by(document, path)
        landscape = self.session.landscape
        pane = self.lines("where")
        pane.border_title = "wiring" if self._picture else "where"
        pane.show(
            wiring(landscape, lit, look) if self._picture else tree(landscape, lit, self.folded, look), at=at
        )

    def show_walk(self, at: int | None = 0) -> None:
        """Show one branch; a fresh one with its first problem selected."""
        document = self.session.document
        if document is None:
            return
        pane = self.lines("walk")
        found = walk_list(document, self.branch_number, self.folded, self.look_of("walk"))
        problems = found.problems()
        pane.show(found, at=problems[0] if at == 0 and problems else at)
        self.show_where(at=None)
        self.show_detail()

    def show_detail(self) -> None:
        """Show the row that is selected in full; all findings where it is none."""
        document, entry, pane = self.session.document, self.lines("walk").entry, self.lines("evidence")
        if document is None:
            return
        if entry is not None and isinstance(entry.key, tuple):
            leg, row = entry.key
            pane.border_title = "why" if row.mark and document.findings else "step"
            pane.show(detail(leg, row, document, self.look_of("evidence")))
        elif entry is None or entry.fold is None:
            pane.border_title = "why"
            pane.show(findings(document, self.look_of("evidence")))

    def show_probe(self, at: int | None = 0) -> None:
        """Show what the last probe saw."""
        found = probe_list(self.session.document, self.folded, self.look_of("seen"))
        self.lines("seen").show(found, at=at)

    # --- views ---------------------------------------------------------------------------

    def go(self, view: str) -> None:
        """Show a view; `back` returns from it."""
        if view != self.view:
            self.views.append(self.view)
            self._enter(view)

    def _enter(self, view: str) -> None:
        self.unmaximise()
        self.view = view
        self.query_one("#views", ContentSwitcher).current = f"view-{view}"
        first = {
            "walk": "walk",
            "state": "kinds",
            "probe": "seen",
            "watch": "drops",
            "lab": "labs",
            "debug": "check",
        }
        self.lines(first.get(view, view)).focus()
        self.said = None
        self.draw()

    def unmaximise(self) -> None:
        """Show all panes of the view."""
        self.remove_class("maximised")
        for pane in self.query(Lines):
            pane.remove_class("largest")
        self.query_one("#upper").remove_class("empty")

    @property
    def pane(self) -> Lines:
        """The pane that moves."""
        if isinstance(self.focused, Lines):
            return self.focused
        found = self.query_one(f"#view-{self.view}").query(Lines)
        return found.first()

    # --- typing --------------------------------------------------------------------------

    def open_ask(self, text: str = "") -> None:
        """Let a question be typed."""
        asked = self.session.question
        bar = self.query_one("#ask", Input)
        bar.value = text or (f"{asked.source} -> {asked.target}" if asked is not None else "")
        self.query_one("#top").display = False
        bar.display = True
        self._back_to, self._recalled = self.focused, 0
        bar.focus()

    def open_prompt(self, kind: str) -> None:
        """Let a text to find, or a command, be typed."""
        prompt = self.query_one("#prompt", Input)
        prompt.value = ""
        prompt.placeholder = {"/": "/ find", ":": ": command, such as show routes"}[kind]
        self.query_one("#foot").display = False
        prompt.display = True
        self._prompt, self._back_to = kind, self.focused
        prompt.focus()

    def close_typing(self) -> None:
        """Put the lines back that the typing was over."""
        for name, under in (("ask", "top"), ("prompt", "foot")):
            self.query_one(f"#{name}").display = False
            self.query_one(f"#{under}").display = True
        if self._back_to is not None:
            self._back_to.focus()

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Find as it is typed."""
        if changed.input.id == "prompt" and self._prompt == "/" and isinstance(self._back_to, Lines):
            self._back_to.seek(changed.value, here=True)

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        """Do what was typed."""
        text = submitted.value.strip()
        self.close_typing()
        if submitted.input.id == "ask":
            source, _, target = text.partition("->")
            if source.strip() and target.strip():
                self.run_ask(source.strip(), target.strip())
            elif text:
                self.complain(UserError("a question is FROM -> TO", hint="pod/ns/a -> svc/ns/b:80"))
        elif self._prompt == ":":
            self.obey(text)

    def complete_ask(self) -> None:
        """Complete what stands in the bar."""
        bar = self.query_one("#ask", Input)
        found = complete(bar.value, self._words)
        if found is not None:
            bar.value = found if "->" in found else f"{found} -> "
            bar.cursor_position = len(bar.value)

    def recall(self, by: int) -> None:
        """Put an earlier question into the bar."""
        history = self.session.history
        if history:
            self._recalled = max(-len(history), min(self._recalled + by, -1))
            source, target = history[self._recalled]
            bar = self.query_one("#ask", Input)
            bar.value = f"{source} -> {target}"
            bar.cursor_position = len(bar.value)

    def obey(self, text: str) -> None:
        """Do what was typed after a colon."""

    def typing(self, name: str) -> None:
        """Do what a key means while something is typed."""
        asking = self.focused is not None and self.focused.id == "ask"
        if name == "back":
            if self._prompt == "/" and not asking and isinstance(self._back_to, Lines):
                self._back_to.seek("")
            self.close_typing()
        elif asking and name == "pane":
            self.complete_ask()
        elif asking and name in ("up", "down"):
            self.recall(-1 if name == "up" else 1)

    def show_help(self) -> None:
        """Show the keys of the view."""
        view = self.view if self.view in VIEWS else "walk"
        self.lines("help").show(listed(help_lines(view), self.look_of("help").width))
        self.go("help")

    def take_end(self, *, source: bool) -> None:
        """Take the selected end as source or destination; ask once there are both."""
        entry = self.lines("where").entry
        end = entry.key if entry is not None else None
        if not isinstance(end, End):
            self.tell("select an end on the left: a pod, a node, a Service, internet", Style.WARN)
            return
        if source:
            self.chosen = (end.target, self.chosen[1])
        else:
            self.chosen = (self.chosen[0], end.target)
        if all(self.chosen):
            self.run_ask(self.chosen[0], self.chosen[1])
        else:
            self.tell(
                f"{self.chosen[0] or '?'} -> {self.chosen[1] or '?'}   f takes the source, t the destination"
            )


_WELCOME = [
    line(Span("Why does this packet not arrive?", Style.HEAD)),
    (),
    line(Span("f", Style.NAME), "  takes what is selected on the left as the source"),
    line(Span("t", Style.NAME), "  takes it as the destination, and asks"),
    line(Span("a", Style.NAME), "  types a question: FROM -> TO"),
    line(Span("2", Style.NAME), "  shows what the node is: devices, routes, rules ..."),
    line(Span("?", Style.NAME), "  tells all keys"),
]
