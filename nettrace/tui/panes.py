"""
What the panes show, and which view is on the screen.

Lives here: filling the panes from the session's answers.
Not here: the panes' places (nettrace.tui.frame), what actions do and what lines say (the modules beside).
"""

from textual.widgets import ContentSwitcher

from nettrace.render.page import Line, Span, Style, line
from nettrace.tui.actions import VIEWS, help_lines
from nettrace.tui.complete import words_of
from nettrace.tui.entries import listed
from nettrace.tui.frame import Frame
from nettrace.tui.lines import Lines
from nettrace.tui.places import End, lit_by, tree, wiring
from nettrace.tui.probe_lines import probe_list
from nettrace.tui.session import Session, Where
from nettrace.tui.state_lines import KINDS
from nettrace.tui.walk_lines import branches, detail, findings, walk_list

__all__ = ["Panes"]


class Panes(Frame):
    """The application without its actions."""

    def new_session(self, where: Where) -> None:
        """Begin anew on another source."""
        self.session = Session(where, self._progress)
        self.chosen = ("", "")
        self.lines("walk").show(listed(self.welcome()))
        self.lines("evidence").show(listed([]))

    def on_mount(self) -> None:
        """Begin to read."""
        self.set_class(self.ascii_only, "ascii")
        self.set_class(self.size.width >= 110, "wide")
        self.lines("kinds").show(listed([line(kind) for kind in KINDS]))
        self.lines("walk").show(listed(self.welcome()))
        self.set_focus(self.lines("where"))
        self.draw()
        self.set_interval(1.0, self.tick)
        self.run_look()

    def on_resize(self) -> None:
        """Give the picture room where there is some, and lay what is broken at the width out anew."""
        self.set_class(self.size.width >= 110, "wide")
        self.call_after_refresh(self.lay_out)

    def run_look(self) -> None:
        """Read who is there, then ask what was asked for."""

        def seen(_: object) -> None:
            self._words = words_of(self.session.landscape)
            self.show_where()
            if self._question is not None:
                question, self._question = self._question, None
                self.call_later(self.run_ask, *question)

        self.work("looking around", self.session.look, seen)

    def ask_again(self) -> None:
        """Read anew, and ask the same again."""
        asked = self.session.question
        if asked is not None:
            self._question = (asked.source, asked.target)
        self.run_look()

    def run_ask(self, source: str, target: str, *, with_probe: bool = False) -> None:
        """Ask, and show the answer with the step that fails selected."""
        what = f"{'probing' if with_probe else 'walking'} {source} -> {target}"

        def answered(_: object) -> None:
            self.outdated = False
            self.branch_number = 0
            self.folded = {fold for fold in self.folded if "/" not in fold}
            self.show_walk()
            if with_probe:
                self.go("probe")
                self.show_probe()
            else:
                self.go("walk")
                self.set_focus(self.lines("walk"))

        self.work(what, lambda: self.session.ask(source, target, with_probe=with_probe), answered)

    def welcome(self) -> list[Line]:
        """Say how to begin."""
        ways = {
            "source": "takes what is selected on the left as the source",
            "target": "takes it as the destination, and asks",
            "ask": "types a question: FROM -> TO",
            "debug": "goes through the selected Service or pod, step by step",
            "view_state": "shows what the node is: devices, routes, rules ...",
            "help": "tells all keys",
        }
        told = [line(Span(f"{self.key(name):<2}", Style.NAME), f" {words}") for name, words in ways.items()]
        return [line(Span("Why does this packet not arrive?", Style.HEAD)), (), *told]

    def _wants_port(self, target: str) -> bool:
        """Is a port to be typed: none is named, and there is not one alone that can be meant?"""
        ports = [word for word in self._words if word.startswith(f"{target}:")]
        return not target.startswith("svc/") and ":" not in target and len(ports) != 1

    def open_ask(self, text: str = "", *, to_go_on: bool = False) -> None:
        """Let a question be typed, which begins with *text*; *to_go_on* behind it."""

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
        found = probe_list(self.session.document, self.folded, self.look_of("seen"), probe=self.key("probe"))
        self.lines("seen").show(found, at=at)

    # --- views ---------------------------------------------------------------------------

    def go(self, view: str) -> None:
        """Show a view; `back` returns from it."""
        if view != self.view:
            self.views.append(self.view)
            self._enter(view)

    def _enter(self, view: str) -> None:
        self._left_at[self.view] = self.pane.id or ""
        self.unmaximise()
        self.view = view
        self.query_one("#views", ContentSwitcher).current = f"view-{view}"
        first = {
            "walk": "walk" if self.session.document is not None else "where",
            "state": "kinds",
            "probe": "seen",
            "watch": "drops",
            "lab": "labs",
            "debug": "check",
        }
        self.set_focus(self.lines(self._left_at.get(view) or first.get(view, view)))
        self.said = None
        if view == "walk" and self.outdated and not self.busy:
            self.outdated = False
            self.call_later(self.ask_again)
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

    def show_help(self) -> None:
        """Show the keys of the view."""
        view = self.view if self.view in VIEWS else "walk"
        self.lines("help").show(listed(help_lines(view, self.actions), self.look_of("help").width))
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
        if all(self.chosen) and self._wants_port(self.chosen[1]):
            self.open_ask(f"{self.chosen[0]} -> {self.chosen[1]}:", to_go_on=True)
        elif all(self.chosen):
            self.run_ask(self.chosen[0], self.chosen[1])
        else:
            self.tell(
                f"{self.chosen[0] or '?'} -> {self.chosen[1] or '?'}   "
                f"{self.key('source')} takes the source, {self.key('target')} the destination"
            )
