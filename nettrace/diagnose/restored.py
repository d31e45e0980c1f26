"""
What one difference comes to: what is there, what is owed, and the changes between them.

Lives here: the type that the comparisons share.
"""

from msgspec import Struct

from nettrace.model.change import Change
from nettrace.model.owed import RuleNote
from nettrace.model.xt import XtRule

__all__ = ["Restored"]


class Restored(Struct, frozen=True, kw_only=True):
    """
    One difference, put right.

    ``ref`` is a path into the snapshot (nettrace.model.step.Why), ``found`` what stands there
    and ``owed`` what should, in the words of the tool that shows it.  ``absent``: nothing stands
    there at all.  ``rule`` is the single rule that is owed, if it is one, and ``note`` its
    owner's words about it.  ``backend`` is the iptables back end it belongs to.
    """

    ref: str
    found: str
    owed: str
    changes: tuple[Change, ...]
    absent: bool = False
    rule: XtRule | None = None
    note: RuleNote | None = None
    backend: str = ""
