"""
Plans: a repair made ready to be applied, with commands, inverses and preconditions.

Lives here: the types of ``nettrace repair plan -o json`` and of the journal.
"""

from msgspec import Struct

from nettrace.model.change import Change, Undo
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow
from nettrace.model.section import SectionKey

__all__ = ["ChainImage", "JournalEntry", "PlannedChange", "Precondition", "RepairPlan"]


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
    sentences about what was verified on the model before offering it.  ``goal`` is ``connected``
    where that was stated, "" where it is what is owed to the flow.
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
    goal: str = ""


class ChainImage(Struct, frozen=True, kw_only=True):
    """
    A chain just before a change of one of its rules, by which to tell later what took effect.

    ``index`` is that of the change in the plan; ``rules`` are written as iptables-save writes
    them, without ``-A CHAIN``.  Other changes need no image: their undo says it all.
    """

    index: int
    rules: tuple[str, ...]


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
    images: tuple[ChainImage, ...] = ()
