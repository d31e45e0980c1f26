"""
Plans: a repair made ready to be applied, with commands, inverses and preconditions.

Lives here: the types of ``nettrace repair plan -o json`` and of the journal.
"""

from msgspec import Struct

from nettrace.model.change import Change, Undo
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow
from nettrace.model.section import SectionKey
from nettrace.model.xt import XtRule

__all__ = ["JournalEntry", "PlannedChange", "Precondition", "RepairPlan", "RuleMark"]


class Precondition(Struct, frozen=True, kw_only=True):
    """A section that the plan was made from, and the digest of its canonical form then."""

    key: SectionKey
    digest: str


class PlannedChange(Struct, frozen=True, kw_only=True):
    """
    One change of a plan.

    ``command`` is what an engineer would type in *netns*; ``inverse`` the commands that
    take it back, empty where ``undo`` is NoUndo.
    """

    node: str
    netns: str
    change: Change
    command: str
    undo: Undo
    inverse: tuple[str, ...] = ()


class RepairPlan(Struct, frozen=True, kw_only=True):
    """
    A plan.  ``id`` is short and stable: a digest of context, flow and changes.

    ``context`` says where it applies: ``this machine`` or ``lab NAME``.  ``checks`` are
    sentences about what was verified on the model before offering it.
    """

    id: str
    cause: str
    context: str
    flow: Flow
    changes: tuple[PlannedChange, ...]
    preconditions: tuple[Precondition, ...]
    safety: Safety
    owner: str = ""
    overwritten: str = ""
    lasting: str = ""
    effect: str = ""
    checks: tuple[str, ...] = ()


class RuleMark(Struct, frozen=True, kw_only=True):
    """
    What tells later whether a change of one rule took effect.

    ``index`` is that of the change in the plan; ``before`` the digest of its chain's rules just
    before it, ``copies`` how many of them were like the one it inserts, deletes or writes.
    ``above`` and ``below`` are the rules beside a deleted one, None at an end of the chain.
    """

    index: int
    before: str
    copies: int
    above: XtRule | None = None
    below: XtRule | None = None


class JournalEntry(Struct, frozen=True, kw_only=True):
    """
    One repair in the journal.

    ``state``: ``applying`` (changes 0 .. done-1 took effect, change ``done`` may have),
    ``applied``, ``confirmed``, ``undoing`` (changes 0 .. done-1 are still to be taken back, of
    the last perhaps a part), ``undone``, ``rolled-back``, ``failed`` (taking back did not
    succeed; ``note`` says why).  ``id`` is the plan's, numbered when it was applied before.
    ``deadline`` is when the rollback is due unless confirmed, seconds since the epoch.
    ``inodes`` tell a namespace from another that later has its handle, ``boot`` one start of
    the machine from the next, after which there is nothing to take back.
    """

    plan: RepairPlan
    state: str
    done: int = 0
    started: str = ""
    finished: str = ""
    deadline: float | None = None
    handles: dict[str, str] = {}  # netns name in the plan -> how this machine reaches it
    note: str = ""
    id: str = ""
    boot: str = ""
    inodes: dict[str, int] = {}
    marks: tuple[RuleMark, ...] = ()
