"""
The lab's view: build, break, quiz, heal, change to another one.

Lives here: these actions of the table.  Not here: labs (nettrace.lab).
"""

import random
from collections.abc import Sequence

from nettrace.lab import break_, find, heal, injected, list_labs, possible, up
from nettrace.lab.topologies import topologies
from nettrace.model.errors import UserError
from nettrace.render.command import command
from nettrace.render.page import Line, Span, Style, line
from nettrace.tui.actions import ACTIONS, Action
from nettrace.tui.browsing import Browsing
from nettrace.tui.entries import Entry, Listed, listed
from nettrace.tui.session import Where

__all__ = ["Labs"]


class Labs(Browsing):
    """The application with labs."""

    def __init__(
        self,
        where: Where,
        *,
        ascii_only: bool = False,
        question: tuple[str, str] | None = None,
        actions: Sequence[Action] = ACTIONS,
    ) -> None:
        super().__init__(where, ascii_only=ascii_only, question=question, actions=actions)
        self._done: list[Line] = []
        self._quiz = ""

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
        if not self._done:
            self._say_how(at_a_lab=label.startswith("lab "))

    def _say_how(self, *, at_a_lab: bool) -> None:
        """Say what can be done, until something was."""
        opens, quiz, heals = (self.key(name) for name in ("enter", "quiz", "heal"))
        said = (
            f"{opens} breaks the lab by the selected cause; {quiz} by one that is not told; {heals} heals it."
            if at_a_lab
            else f"{opens} opens the selected lab, or builds one of the selected topology."
        )
        self.lines("done").show(listed([line(said)], self.look_of("done").width))

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
            self.outdated = True
            self._did(line("something is broken now.  Find it: ask, read, repair."))
            self._did(line(f"`:guess CAUSE` tells whether that is it, {self.key('heal')} heals."))
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
            self.outdated = True
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

    def lab_line(self, what: str, name: str) -> None:
        """Do what a line of the list is for: ``break`` by a cause, ``up`` a topology, ``open`` a lab."""
        if what == "break":
            lab = self._lab() or ""

            def run() -> list[Line]:
                done = break_(find(lab), name)
                return [
                    line(f"{change.netns}: ", Span(command(change), Style.CODE)) for change in done.changes
                ]

            def broken(lines: list[Line]) -> None:
                self.outdated = True
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

    def guess(self, cause: str) -> None:
        """Tell whether the quiz's answer is *cause*."""
        if not self._quiz:
            self.tell(f"nothing is asked: {self.key('quiz')} breaks something", Style.WARN)
        elif cause == self._quiz:
            self.tell(f"yes: {cause}", Style.GOOD)
        else:
            self.tell(f"no, it is not {cause}", Style.WARN)
