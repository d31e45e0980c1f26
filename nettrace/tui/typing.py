"""
Typing: a question, a text to find or to filter by, a command, a yes.

Lives here: the two lines that are typed into.
Not here: what commands do (nettrace.tui.app), completion (nettrace.tui.complete).
"""

from collections.abc import Callable

from textual.widget import Widget

from nettrace.model.errors import UserError
from nettrace.render.page import Style
from nettrace.tui.complete import complete
from nettrace.tui.line_editor import TypedLine
from nettrace.tui.lines import Lines
from nettrace.tui.panes import Panes

__all__ = ["Typing"]

#: What the line at the bottom asks for, by the kind of prompt.
_PROMPTS = {
    "/": "/ find",
    "&": "& show only lines with this text; nothing shows all",
    ":": ": command, such as show routes",
    "yes": "this cannot be undone: yes applies it",
}


class Typing(Panes):
    """The application with lines that are typed into."""

    consented: Callable[[], None] | None = None

    def open_ask(self, text: str = "", *, to_go_on: bool = False) -> None:
        """Let a question be typed, which begins with *text*; *to_go_on* behind it."""
        asked = self.session.question
        bar = self.query_one("#ask", TypedLine)
        self.query_one("#top").display = False
        bar.open(
            text or (f"{asked.source} -> {asked.target}" if asked is not None else ""), to_go_on=to_go_on
        )
        self._back_to, self._recalled = self.focused, 0
        self.set_focus(bar)

    def open_prompt(self, kind: str) -> None:
        """Let a text to find, or a command, be typed."""
        prompt = self.query_one("#prompt", TypedLine)
        prompt.placeholder = _PROMPTS[kind]
        self.query_one("#foot").display = False
        prompt.open("")
        self._prompt, self._back_to = kind, self.focused
        self.set_focus(prompt)

    def close_typing(self) -> None:
        """Put the lines back that the typing was over."""
        for name, under in (("ask", "top"), ("prompt", "foot")):
            self.query_one(f"#{name}").display = False
            self.query_one(f"#{under}").display = True
        if self._back_to is not None:
            self.set_focus(self._back_to)

    def typed_text(self, widget: Widget | None) -> None:
        """Find as it is typed."""
        pane = self._back_to
        if (
            isinstance(widget, TypedLine)
            and widget.id == "prompt"
            and self._prompt == "/"
            and isinstance(pane, Lines)
            and pane.sought != widget.value
        ):
            pane.seek(widget.value, here=True)

    def _submit(self, bar: TypedLine) -> None:
        """Do what was typed."""
        text = bar.value.strip()
        self.close_typing()
        if bar.id == "ask":
            source, _, target = text.partition("->")
            if source.strip() and target.strip():
                self.run_ask(source.strip(), target.strip())
            elif text:
                self.complain(UserError("a question is FROM -> TO", hint="pod/ns/a -> svc/ns/b:80"))
        elif self._prompt == ":":
            self.obey(text)
        elif self._prompt == "&":
            self.filter_by(text)
        elif self._prompt == "yes":
            do, self.consented = self.consented, None
            if text.lower() == "yes" and do is not None:
                do()
            else:
                self.tell("not applied: that takes a yes", Style.WARN)

    def complete_ask(self) -> None:
        """Complete what stands in the bar."""
        bar = self.query_one("#ask", TypedLine)
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
            bar = self.query_one("#ask", TypedLine)
            bar.value = f"{source} -> {target}"
            bar.cursor_position = len(bar.value)

    def obey(self, text: str) -> None:
        """Do what was typed after a colon."""

    def filter_by(self, text: str) -> None:
        """Show only the lines with a text."""

    def typed_key(self, key: str) -> bool:
        """Do what a key means in a line that is typed into; False if it is for the line itself."""
        bar = self.focused
        asking = bar is not None and bar.id == "ask"
        if key == "enter" and isinstance(bar, TypedLine):
            self._submit(bar)
        elif key == "escape":
            if self._prompt == "/" and not asking and isinstance(self._back_to, Lines):
                self._back_to.seek("")
            self.consented = None
            self.close_typing()
        elif asking and key == "tab":
            self.complete_ask()
        elif asking and key in ("up", "down"):
            self.recall(-1 if key == "up" else 1)
        else:
            return False
        return True
