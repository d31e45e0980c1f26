"""
Moving in the panes, and finding text in them.

Lives here: these actions of the table, the same in every view.
Not here: the other actions (nettrace.tui.app), the widget that moves (nettrace.tui.lines).
"""

from nettrace.tui.lines import Lines
from nettrace.tui.typing import Typing

__all__ = ["Moving"]


class Moving(Typing):
    """The application with keys that move."""

    def do_problem(self, direction: int = 1) -> None:
        """Select the next problem, or the next match of what is sought."""
        pane = self.pane
        if pane.sought:
            pane.seek(pane.sought, direction)
            return
        if self.view == "walk" and pane.id != "walk" and self.session.document is not None:
            pane = self.lines("walk")
            self.set_focus(pane)
        if not pane.problem(direction):
            self.tell("no problem here")

    def do_back_problem(self) -> None:
        """Select the one before."""
        self.do_problem(-1)

    def do_down(self) -> None:
        """One line down."""
        self.pane.move(1)

    def do_up(self) -> None:
        """One line up."""
        self.pane.move(-1)

    def do_left(self) -> None:
        """Look to the left."""
        self.pane.sideways(-8)

    def do_right(self) -> None:
        """Look to the right."""
        self.pane.sideways(8)

    def do_page_down(self) -> None:
        """One page down."""
        self.pane.page(1)

    def do_page_up(self) -> None:
        """One page up."""
        self.pane.page(-1)

    def do_top(self) -> None:
        """To the first line."""
        self.pane.select(0)

    def do_bottom(self) -> None:
        """To the last line."""
        self.pane.select(len(self.pane.source) - 1)

    def do_pane(self) -> None:
        """Give the next pane the keys."""
        panes = [pane for pane in self.query_one(f"#view-{self.view}").query(Lines) if pane.display]
        at = panes.index(self.pane) if self.pane in panes else -1
        self.set_focus(panes[(at + 1) % len(panes)])

    def do_maximise(self) -> None:
        """Give the pane the whole screen, or put the others back."""
        pane = self.pane
        if self.has_class("maximised"):
            self.unmaximise()
        else:
            self.add_class("maximised")
            pane.add_class("largest")
            self.query_one("#upper").set_class(pane.id not in ("where", "walk"), "empty")
            self.query_one("#lanes").set_class(pane.id == "check", "empty")
        self.set_focus(pane)
        self.call_after_refresh(self.lay_out)

    def do_find(self) -> None:
        """Let a text be typed that is to be found."""
        self.open_prompt("/")

    def do_command(self) -> None:
        """Let a command be typed."""
        self.open_prompt(":")
