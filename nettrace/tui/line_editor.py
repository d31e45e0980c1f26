"""
A line that is typed into.

Lives here: the widget, which takes a key when it is given one and not when its turn comes.
Not here: what follows from the text (nettrace.tui.typing).
"""

from textual.binding import Binding
from textual.events import Hide, Key
from textual.widgets import Input

__all__ = ["TypedLine"]

#: Keys that edit -> textual's actions for them; `enter` belongs to the application.
_EDITING = {
    binding.key: binding.action
    for binding in Binding.make_bindings(Input.BINDINGS)
    if binding.action != "submit"
}


class TypedLine(Input):
    """A line that is typed into; shown again before its hiding was noticed, it keeps the keys."""

    def __init__(self, *, id: str, placeholder: str = "") -> None:
        # What is there already is selected when the line is opened, not when the focus has arrived.
        super().__init__(id=id, placeholder=placeholder, compact=True, select_on_focus=False)

    def on_hide(self, event: Hide) -> None:
        """Give the keys away only if it is hidden still."""
        if self.display:
            event.prevent_default()

    def open(self, text: str, *, to_go_on: bool = False) -> None:
        """Begin with *text*, which the first letter replaces, or follows if that is *to_go_on*."""
        self.value = text
        self.display = True
        if to_go_on:
            self.cursor_position = len(text)
        else:
            self.select_all()

    async def typed(self, event: Key) -> bool:
        """Take a key at once; False if it neither edits nor is written."""
        action = _EDITING.get(event.key)
        if action is not None:
            await self.run_action(action)
            return True
        if event.character is None or not event.is_printable:
            return False
        self.replace(event.character, *self.selection)
        return True
