"""
How changes are taken back, as commands.

Lives here: the inverses of several changes in the state that each is made in.
Not here: one inverse (nettrace.model.undo), its command (nettrace.render.command).
"""

from collections.abc import Sequence

from nettrace.model.change import Change, Exact, NoUndo
from nettrace.model.edit import edit
from nettrace.model.snapshot import Snapshot
from nettrace.model.undo import undo_of
from nettrace.render.command import command

__all__ = ["undo_commands"]


def undo_commands(changes: Sequence[Change], snapshot: Snapshot) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the commands that take *changes* back, the last change first, and how well they do."""
    commands: list[str] = []
    words = "exact"
    for change in changes:
        try:
            undo = undo_of(snapshot, change)
            snapshot = edit(snapshot, change)
        except ValueError:
            return None, None
        if isinstance(undo, NoUndo):
            words = f"none: {undo.reason}"
            continue
        if not isinstance(undo, Exact):
            words = f"rebuilds: {undo.differs}"
        commands = [command(back) for back in undo.changes] + commands
    return tuple(commands), words
