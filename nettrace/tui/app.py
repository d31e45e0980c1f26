"""
The application: what each action of the table does.

Lives here: one method an action, the commands after a colon.
Not here: the panes (nettrace.tui.panes), what lines say (the modules beside).
"""

import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textual.app import SystemCommand
from textual.screen import Screen
from textual.widgets import Input

from nettrace.lab import break_, find, heal, injected, list_labs, possible, up
from nettrace.lab.topologies import topologies
from nettrace.model.errors import UserError
from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.model.snapshot import Snapshot
from nettrace.render.command import command
from nettrace.render.contract import RepairDocument
from nettrace.render.document import history_document, plan_document
from nettrace.render.page import Line, Span, Style, line, plain
from nettrace.render.plan_text import history_page, plan_page
from nettrace.render.repair_text import repair_page
from nettrace.render.svg import offline
from nettrace.tui.actions import ACTIONS, VIEWS
from nettrace.tui.entries import Entry, Listed, listed
from nettrace.tui.lines import Lines
from nettrace.tui.session import Where
from nettrace.tui.state_lines import KINDS, RuleList, state_list
from nettrace.tui.walk_lines import branches, findings, summary
from nettrace.tui.watching import Watching

__all__ = ["NettraceApp"]


class NettraceApp(Watching):
    """The application; its result is what is printed when it has ended."""

    def __init__(
        self, where: Where, *, ascii_only: bool = False, question: tuple[str, str] | None = None
    ) -> None:
        super().__init__(where, ascii_only=ascii_only, question=question)
        self._states: dict[str, Snapshot] = {}
        self._done: list[Line] = []
        self._quiz = ""

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Give the command palette the table of actions."""
        for action in ACTIONS:
            yield SystemCommand(action.label, action.words, lambda name=action.id: self.action_do(name))

    def action_do(self, name: str) -> None:
        """Do what a key, the palette or a command names."""
        if isinstance(self.focused, Input):
            self.typing(name)
            return
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

    # --- asking --------------------------------------------------------------------------

    def do_ask(self) -> None:
        """Let a question be typed."""
        self.open_ask()

    def do_source(self) -> None:
        """Take the selected end as the source."""
        self.take_end(source=True)

    def do_target(self) -> None:
        """Take the selected end as the destination."""
        self.take_end(source=False)

    def do_swap(self) -> None:
        """Ask the other way round."""
        asked = self.session.question
        if asked is None:
            self.chosen = (self.chosen[1], self.chosen[0])
            self.tell(f"{self.chosen[0] or '?'} -> {self.chosen[1] or '?'}")
        else:
            self.run_ask(asked.target, asked.source)

    def do_reload(self) -> None:
        """Read anew, and ask the same again."""
        asked = self.session.question
        self._states.clear()
        if self.view == "state":
            self.load_kind(self.kind)
            return
        if asked is not None:
            self._question = (asked.source, asked.target)
        self.run_look()

    def do_branch(self) -> None:
        """Show the next branch."""
        document = self.session.document
        if document is not None:
            self.branch_number = (self.branch_number + 1) % len(branches(document))
            self.show_walk()

    def do_why(self) -> None:
        """Show all findings."""
        if self.session.document is not None:
            pane = self.lines("evidence")
            pane.border_title = "why"
            pane.show(findings(self.session.document, self.look_of("evidence")))
            pane.focus()

    def do_wiring(self) -> None:
        """Change between the tree and the picture."""
        self._picture = not self._picture
        self.lines("where").set_class(self._picture, "picture")
        self.show_where()

    def do_probe(self) -> None:
        """Send the real packet."""
        asked = self.session.question
        if asked is None:
            self.tell("ask first: a, or f and t on two ends", Style.WARN)
        elif not self.session.live:
            self.complain(UserError("a snapshot file cannot be probed", hint="run it on the node, or --lab"))
        else:
            self.run_ask(asked.source, asked.target, with_probe=True)

    def do_pcap(self) -> None:
        """Write the probe's frames."""
        path = Path.cwd() / time.strftime("nettrace-%H%M%S.pcapng")

        def written(count: int) -> None:
            self.tell(f"{count} frames: {path}" if count else "no frames yet: p sends the real packet")

        self.work("writing frames", lambda: self.session.save_frames(path), written)

    # --- repair --------------------------------------------------------------------------

    def do_plan(self) -> None:
        """Plan the repair of the selected finding, else of the first."""
        if self.view == "debug":
            if self.check_cause is not None:
                self._plan(*self.check_cause)
            return
        document = self.session.document
        entry = self.lines("evidence").entry
        causes = [finding.cause for finding in document.findings] if document is not None else []
        if not causes:
            self.tell("there is no finding to repair", Style.WARN)
            return
        self._plan(entry.key if entry is not None and entry.key in causes else causes[0])

    def _plan(self, chosen: str, flow: tuple[str, str] | None = None) -> None:
        """Plan the repair of a cause, and show it."""

        def planned(plan: RepairPlan) -> None:
            look = self.look_of("repair")
            tail = (line(), line(Span("A", Style.NAME), " applies it; undone after 60 seconds unless kept"))
            self.lines("repair").show(listed([*plan_page(plan_document(plan), look), *tail], look.width))
            self.lines("repair").border_title = "plan"
            self.go("repair")

        self.work(f"planning {chosen}", lambda: self.session.make_plan(chosen, flow), planned)

    def do_apply(self) -> None:
        """Apply the plan."""
        plan = self.session.plan
        if plan is None:
            self.tell("there is no plan: r makes one", Style.WARN)
            return

        def applied(document: RepairDocument) -> None:
            pane = self.lines("repair")
            pane.border_title = "applied" if document.kept else "taken back"
            look = self.look_of("repair")
            pane.show(listed(repair_page(document, look), look.width))
            if document.kept:
                self.tell("repaired and proven", Style.GOOD)
            else:
                self.tell(f"taken back: {document.reason}", Style.BAD)

        self.work("applying", lambda: self.session.apply(plan), applied)

    def do_keep(self) -> None:
        """Keep the repair."""

        def kept(entry: JournalEntry | None) -> None:
            self.tell("kept" if entry is not None else "no repair waits to be kept", Style.GOOD)
            self.show_history()

        self.work("confirming", self.session.keep, kept)

    def do_undo(self) -> None:
        """Take the last repair back."""

        def undone(entry: JournalEntry) -> None:
            good = entry.state in ("undone", "rolled-back")
            told = f"{entry.id or entry.plan.id} {entry.state}" + (f": {entry.note}" if entry.note else "")
            self.said = Span(told, Style.GOOD if good else Style.BAD)
            self.show_history()

        self.work("undoing", self.session.undo, undone)

    def do_history(self) -> None:
        """Show all repairs."""
        self.show_history()

    def show_history(self) -> None:
        """Show the journal of this source."""
        said = self.said
        entries = self.session.repairs()
        pane = self.lines("repair")
        pane.border_title = "history"
        look = self.look_of("repair")
        pane.show(listed(history_page(history_document(entries), look)))
        self.go("repair")
        self.said = said

    # --- state ---------------------------------------------------------------------------

    def load_kind(self, kind: str) -> None:
        """Read what is shown of one kind."""

        def read(snapshot: Snapshot) -> None:
            self._states[kind] = snapshot
            self.show_kind(kind)
            self.lines("rows").focus()

        self.work(f"reading {kind}", lambda: self.session.state(kind), read)

    def show_kind(self, kind: str) -> None:
        """Show what was read of one kind."""
        self.kind = kind
        pane = self.lines("rows")
        pane.border_title = kind
        found = state_list(kind, self._states[kind], self.look_of("rows"))
        pane.border_subtitle = f"{len(found)} lines"
        pane.show(found)

    # --- lab -----------------------------------------------------------------------------

    def show_lab(self) -> None:
        """Show what can be built, and what the lab at hand can be broken by."""
        label = self.session.label
        if label.startswith("lab "):
            record = find(label.removeprefix("lab "))
            head = [Entry(line(Span(f"{record.name}  {record.topology}", Style.HEAD)))]
            broken = {one.cause for one in injected(record)} if not self._quiz else set()
            causes = [
                Entry(line(*([Span("! ", Style.WARN)] if c in broken else ["  "]), c), key=("break", c))
                for c in possible(record.topology)
            ]
            entries = [*head, *causes]
        else:
            labs = [
                Entry(line(f"  {lab.name}  {lab.topology}"), key=("open", lab.name)) for lab in list_labs()
            ]
            build = [Entry(line(f"  {name}"), key=("up", name)) for name in topologies()]
            entries = [Entry(line(Span("labs", Style.HEAD))), *labs] if labs else []
            entries.extend((Entry(line(Span("build one", Style.HEAD))), *build))
        self.lines("labs").show(Listed(entries), at=1)

    def _did(self, *lines: Line) -> None:
        self._done.extend(lines)
        self.lines("done").show(listed(self._done, self.look_of("done").width), at=len(self._done) - 1)

    def do_quiz(self) -> None:
        """Break the lab by a cause that is not told."""
        name = self._lab()
        if name is None:
            return
        record = find(name)

        def broken(cause: str) -> None:
            self._quiz = cause
            self._did(line("something is broken now.  Find it: ask, read, repair."))
            self._did(line("`:guess CAUSE` tells whether that is it, E heals."))
            self.show_lab()

        def run() -> str:
            causes = list(possible(record.topology))
            random.shuffle(causes)
            for cause in causes:
                try:
                    break_(record, cause)
                except UserError:
                    continue  # this lab has nothing that it could be done to
                return cause
            raise UserError("no cause of the catalogue fits this lab", where=name)

        self.work("breaking something", run, broken)

    def do_heal(self) -> None:
        """Take back everything that broke the lab."""
        name = self._lab()
        if name is None:
            return

        def healed(causes: tuple[str, ...]) -> None:
            self._quiz = ""
            self._did(
                line(Span(f"healed of {', '.join(causes)}" if causes else "nothing was broken", Style.GOOD))
            )
            self.show_lab()

        self.work("healing", lambda: heal(find(name)), healed)

    def _lab(self) -> str | None:
        if not self.session.label.startswith("lab "):
            self.tell("this is no lab: open or build one below", Style.WARN)
            return None
        return self.session.label.removeprefix("lab ")

    def _do_lab(self, what: str, name: str) -> None:
        if what == "break":
            lab = self._lab() or ""

            def run() -> list[Line]:
                done = break_(find(lab), name)
                return [
                    line(f"{change.netns}: ", Span(command(change), Style.CODE)) for change in done.changes
                ]

            def broken(lines: list[Line]) -> None:
                self._did(line(Span(f"broken by {name}", Style.WARN)), *lines)
                self.show_lab()

            self.work(f"breaking: {name}", run, broken)
        elif what == "up":
            self.work(f"building {name}", lambda: up(name, progress=self._progress).name, self._change_to)
        else:
            self._change_to(name)

    def _change_to(self, name: str) -> None:
        """Work on a lab from now on."""
        old = self.session
        self.new_session(Where(lab=name))
        old.close()
        self._states.clear()
        self._quiz = ""
        self.call_later(self.run_look)
        self.call_later(self.go, "walk")

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
        elif pane.id == "rows" and isinstance(pane.source, RuleList):
            target = pane.source.target(pane.cursor)
            if target is not None:
                pane.select(target)
        elif pane.id == "labs" and entry is not None and isinstance(entry.key, tuple):
            self._do_lab(*entry.key)
        elif self.view == "debug":
            if self.check_flow is not None:
                self.run_ask(*self.check_flow)
        elif pane.id == "walk":
            self.show_detail()
            self.lines("evidence").focus()
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
        if self.busy:
            self.session.cancel()
        elif self.pane.sought:
            self.pane.seek("")
        elif self.has_class("maximised"):
            self.do_maximise()
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
        if self._watching is not None:
            self._watching.set()
        self.session.cancel()
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
            self._guess(rest)
        elif word in VIEWS:
            self.open_view(word)
        elif word in ("q", "quit", "exit"):
            self.leave()
        elif word in named:
            self.action_do(word)
        elif word:
            hint = (
                f"commands: trace SRC DST, show {'|'.join(KINDS[:3])}..., route ADDRESS, {', '.join(VIEWS)}"
            )
            self.complain(UserError(f"there is no command {word!r}", hint=hint))

    def _guess(self, cause: str) -> None:
        if not self._quiz:
            self.tell("nothing is asked: Q breaks something", Style.WARN)
        elif cause == self._quiz:
            self.tell(f"yes: {cause}", Style.GOOD)
        else:
            self.tell(f"no, it is not {cause}", Style.WARN)

    def _route(self, address: str) -> None:
        """Ask which route a packet to *address* takes, from the selected end or the source asked for."""
        end = self.lines("where").entry
        asked = self.session.question
        source = asked.source if asked is not None else end.key.target if end is not None and end.key else ""
        if not source:
            self.tell("select an end first: the route is looked up from there", Style.WARN)
        else:
            self.run_ask(source, address)
