"""
The application: what each action of the table does.

Lives here: keys to actions, views, the commands after a colon, and what is the same in all views.
Not here: the actions of one view (asking, repairing, guiding, watching, browsing, labs beside), the
panes (nettrace.tui.panes), what lines say.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textual.app import SystemCommand
from textual.screen import Screen

from nettrace.model.errors import UserError
from nettrace.render.page import Style, line, plain
from nettrace.render.svg import offline
from nettrace.tui.actions import ACTIONS, VIEWS
from nettrace.tui.labs import Labs
from nettrace.tui.lines import Lines
from nettrace.tui.state_lines import KINDS, RuleList
from nettrace.tui.walk_lines import summary

__all__ = ["NettraceApp"]


class NettraceApp(Labs):
    """The application; its result is what is printed when it has ended."""

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Give the command palette the table of actions."""
        for action in self.actions:
            yield SystemCommand(action.label, action.words, lambda name=action.id: self.action_do(name))

    def action_do(self, name: str) -> None:
        """Do what a key, the palette or a command names."""
        self.said = None
        if name.startswith("view_"):
            self.open_view(name.removeprefix("view_"))
        else:
            getattr(self, f"do_{name}")()
        self.draw()

    def on_lines_moved(self, moved: Lines.Moved) -> None:
        """Show what is selected."""
        if moved.lines.id == "walk":
            self.show_detail()
        elif (moved.lines.id or "").startswith("lane-"):
            entry = moved.lines.entry
            if entry is not None and entry.key is not None:
                self.check_number = entry.key
                self.show_check()
        elif moved.lines.id == "kinds":
            self.kind = KINDS[moved.lines.cursor]
            if self.kind in self._states:
                self.show_kind(self.kind)

    def on_lines_opened(self, opened: Lines.Opened) -> None:
        """Open what was clicked twice."""
        self.do_enter()

    def do_reload(self) -> None:
        """Read anew, and ask the same again."""
        service = self._service
        self._states.clear()
        if self.view == "state":
            if service:
                self.load_service(service)
            else:
                self.load_kind(self.kind)
            return
        self.ask_again()

    # --- views ---------------------------------------------------------------------------

    def open_view(self, view: str) -> None:
        """Show a view and what belongs in it."""
        self.go(view)
        if view == "state" and self.kind not in self._states:
            self.load_kind(self.kind)
        elif view == "probe":
            self.show_probe()
        elif view == "watch":
            self.begin_watch()
        elif view == "debug" and not self.checks:
            self.do_debug()
        elif view == "repair" and self.session.plan is None and not self.busy:
            self.show_history()
        elif view == "lab" and not self.busy:
            try:
                self.show_lab()
            except UserError as error:
                self.complain(error)

    def do_enter(self) -> None:
        """Open what is selected."""
        pane, entry = self.pane, self.pane.entry
        if pane.id == "kinds":
            self.load_kind(KINDS[pane.cursor])
        elif pane.id == "rows":
            self.open_row()
        elif pane.id == "labs" and entry is not None and isinstance(entry.key, tuple):
            self.lab_line(*entry.key)
        elif self.view == "debug":
            if self.check_flow is not None:
                self.run_ask(*self.check_flow)
        elif pane.id == "walk":
            self.show_detail()
            self.set_focus(self.lines("evidence"))
        else:
            self.do_fold()

    def do_fold(self) -> None:
        """Fold or unfold what is selected, or what it is in."""
        pane = self.pane
        if isinstance(pane.source, RuleList):
            pane.select(pane.source.step(pane.cursor, 1))
            return
        index = pane.cursor
        while index > 0 and pane.source.entry(index).fold is None:
            index -= 1
        entry = pane.source.entry(index) if len(pane.source) else None
        if entry is None or entry.fold is None:
            return
        self.folded ^= {entry.fold}
        pane.cursor = index
        {"where": self.show_where, "walk": self.show_walk, "seen": self.show_probe}[pane.id or ""](at=None)

    # --- the application -----------------------------------------------------------------

    def do_copy(self) -> None:
        """Copy the command that gives this view."""
        text = self.session.command(self.view, self.kind)
        self.copy_to_clipboard(text)
        self.tell(f"copied: {text}")

    def do_svg(self) -> None:
        """Save the screen."""
        path = Path.cwd() / time.strftime("nettrace-%H%M%S.svg")
        try:
            path.write_text(offline(self.export_screenshot()))
        except OSError as error:
            self.complain(UserError(f"cannot write the picture: {error.strerror}", where=str(path)))
        else:
            self.tell(f"saved: {path}")

    def do_theme(self) -> None:
        """Change between light and dark."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"
        self.call_after_refresh(self.refresh, layout=True)
        for pane in self.query(Lines):
            pane.refresh()

    def do_help(self) -> None:
        """Show the keys."""
        self.show_help()

    def do_back(self) -> None:
        """Cancel what runs; else end a search, the large pane, the view."""
        if self.answer_offer(taken=False):
            return
        if self.busy:
            self.session.cancel()
        elif self.pane.sought:
            self.pane.seek("")
        elif self.has_class("maximised"):
            self.do_maximise()
        elif self.leave_service():
            return
        elif self.views:
            self._enter(self.views.pop())

    def do_quit(self) -> None:
        """One level back; from the first view, leave."""
        if self.views or self.has_class("maximised"):
            self.do_back()
        else:
            self.leave()

    def leave(self) -> None:
        """End, with what is to be said afterwards."""
        self.end_threads()
        said = []
        if self.session.document is not None:
            said = [
                summary(self.session.document, self.look_of("evidence")),
                line(self.session.command("walk")),
            ]
        entry = self.session.entry
        if entry is not None:
            waits = f"a repair waits: nettrace repair confirm {entry.id or entry.plan.id}, or it is undone"
            said.append(line(waits))
        self.exit(plain(said))

    def obey(self, text: str) -> None:
        """Do what was typed after a colon."""
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        named = {action.id for action in ACTIONS}
        if word in ("trace", "ask") and len(rest.split()) == 2:
            self.run_ask(*rest.split())
        elif word == "show" and rest in KINDS:
            self.go("state")
            self.load_kind(rest)
        elif word == "route" and rest:
            self._route(rest)
        elif word == "debug" and rest:
            self.run_debug(rest)
        elif word == "guess" and rest:
            self.guess(rest)
        elif word == "service" and rest:
            self.go("state")
            self.kind = "services"
            self.load_service(rest if rest.startswith("svc/") else f"svc/{rest}")
        elif word in VIEWS:
            self.open_view(word)
        elif word in ("q", "quit", "exit"):
            self.leave()
        elif word in named:
            self.action_do(word)
        elif word:
            kinds = "|".join(KINDS[:3])
            hint = (
                f"commands: trace SRC DST, show {kinds}..., service NS/NAME, route ADDRESS, "
                f"{', '.join(VIEWS)}"
            )
            self.complain(UserError(f"there is no command {word!r}", hint=hint))

    def _route(self, address: str) -> None:
        """Ask which route a packet to *address* takes, from the selected end or the source asked for."""
        end = self.lines("where").entry
        asked = self.session.question
        source = asked.source if asked is not None else end.key.target if end is not None and end.key else ""
        if not source:
            self.tell("select an end first: the route is looked up from there", Style.WARN)
        else:
            self.run_ask(source, address)
