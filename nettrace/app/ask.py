"""
Ask, read what is needed, ask again.

Lives here: the loop between the pure core and the readers.  Each section is asked for once.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from nettrace.model.errors import UserError
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs

if TYPE_CHECKING:
    from nettrace.app.context import Context

__all__ = ["ask", "read_asked"]

T = TypeVar("T")


def ask(context: "Context", question: Callable[[Snapshot], T | Needs]) -> T:
    """
    Put *question* to the snapshot until it no longer needs anything.

    A section that was read and is still needed would loop for ever: that is a bug, and said so.
    """
    while True:
        answer = question(context.snapshot)
        if not isinstance(answer, Needs):
            return answer
        read_asked(context, answer.keys)


def read_asked(context: "Context", keys: Sequence[SectionKey]) -> None:
    """Read those of *keys* that were not asked for before; UserError if there are none."""
    fresh = [key for key in keys if key not in context.asked]
    if not fresh:
        listed = ", ".join(str(key) for key in keys[:5])
        raise UserError(
            f"still missing after reading it: {listed}",
            hint="this is a bug in nettrace; please report it with `nettrace snapshot -o FILE`",
        )
    context.read(fresh)
