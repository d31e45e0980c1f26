"""
Causes: why packets do not arrive, each with its words and the changes that would show it.

Lives here: the types Cause, Candidate and Context.  A cause is one file under causes/, or in
a plugin.
Not here: which candidate is the right one (search.py, rank.py).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct

from nettrace.diagnose.difference import Difference
from nettrace.diagnose.goal import Goal, Judgement
from nettrace.kube.owner import KUBE_PROXY
from nettrace.model.change import Change
from nettrace.model.finding import Evidence, Safety, Severity
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner, owner_of_chain
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step, Verdict
from nettrace.model.walk import Leg, Path, Walk
from nettrace.model.xt_target import Jump

__all__ = [
    "NATIVE",
    "Candidate",
    "Candidates",
    "Cause",
    "Context",
    "Explanation",
    "Failure",
    "nobody",
    "nothing",
]


class Failure(Struct, frozen=True, kw_only=True):
    """
    One branch of the walk that misses the goal.

    ``leg`` and ``step`` are where it fails; None where it arrives, but not as it should.
    """

    path: Path
    leg: Leg | None
    step: Step | None

    @property
    def verdict(self) -> Verdict:
        """The verdict of the branch."""
        return self.path.verdict

    @property
    def netns(self) -> str:
        """The namespace in which it fails, "" where it arrives."""
        return self.step.netns if self.step is not None else ""


class Context(Struct, frozen=True, kw_only=True):
    """What a cause may look at: the state, the walk, and what the owners say."""

    snapshot: Snapshot
    walk: Walk
    goal: Goal
    owed: tuple[Owed, ...] = ()
    differences: tuple[Difference, ...] = ()
    owners: tuple[Owner, ...] = (KUBE_PROXY,)

    def owner(self, netns: str, backend: str, table: str, chain: str) -> Owner | None:
        """
        Return who writes a chain, by its name.

        Of a built-in chain it is who has jumps in it and puts rules of its own beside them.
        """
        found = owner_of_chain(self.owners, table, chain, native=backend == NATIVE)
        if found is not None or backend == NATIVE:
            return found
        there = self.snapshot.chain(netns, backend, table, chain)
        for rule in there.rules if there is not None else ():
            if isinstance(rule.target, Jump):
                found = owner_of_chain(self.owners, table, rule.target.chain, native=False)
                if found is not None and found.builtin:
                    return found
        return None

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The branches that miss the goal, the most probable first."""
        missed = [p for p in self.walk.paths if self.goal.judge_path(p) is not Judgement.MET]
        missed.sort(key=lambda path: -path.probability)
        return tuple(_failure(path) for path in missed)

    @property
    def steps(self) -> Iterator[Step]:
        """All steps of the branches that miss the goal, in their order."""
        return (step for failure in self.failures for leg in failure.path.legs for step in leg.steps)

    @property
    def visited(self) -> tuple[str, ...]:
        """The namespaces that those branches pass through, in their order."""
        return tuple(dict.fromkeys(step.netns for step in self.steps))


def _failure(path: Path) -> Failure:
    if path.failed is not None:
        leg = path.legs[path.failed]
        return Failure(path=path, leg=leg, step=leg.last)
    return Failure(path=path, leg=None, step=None)


class Candidate(Struct, frozen=True, kw_only=True):
    """
    One set of changes that might meet the goal, and what speaks for it.

    ``netns`` is the namespace it is about and ``where`` that in words.  ``from_owner`` says
    that an owner's own data ask for exactly this.  With ``safety`` ADVICE the changes only
    prove the cause on the model and are offered to nobody; without changes nothing is proven
    and the candidate explains the failing step, no more.
    """

    cause: str
    netns: str
    where: str
    subject: str
    message: str
    changes: tuple[Change, ...]
    evidence: tuple[Evidence, ...]
    safety: Safety
    owner: str = ""
    overwritten: str = ""
    lasting: str = ""
    from_owner: bool = False
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same repair, whatever else was changed before it."""
        kinds = "+".join(type(change).__name__ for change in self.changes)
        return f"{self.cause}@{self.netns}:{self.subject}:{kinds}"


#: The backend of steps of native nftables (nettrace.model.step).
NATIVE = "nftables"

Candidates: TypeAlias = Callable[[Context], Iterable[Candidate]]


def nothing(_: Context) -> tuple[SectionKey, ...]:
    """Read no section beside those that the walk needed."""
    return ()


def nobody(_: Context) -> tuple[Candidate, ...]:
    """Propose nothing: for causes that lie in objects, which no change of a node's state mends."""
    return ()


class Explanation(Struct, frozen=True, kw_only=True):
    """
    What is known of a cause, in words.

    ``id`` is the kebab-case word for it everywhere.  ``what`` it is, how it ``shows``, where
    the packet ``dies``, what ``proof`` there is, the least ``repair``, the ``owner`` of that
    state, and the ``source``: where people met it.
    """

    id: str
    title: str
    severity: Severity = Severity.ERROR
    what: str
    shows: str
    dies: str
    proof: str
    repair: str
    owner: str
    source: str


class Cause(Explanation, frozen=True, kw_only=True):
    """
    A cause: its explanation, and the candidates it sees in a context.

    ``verdicts`` are those of the failing step that it is registered for; empty: any.  ``reads`` are
    the sections that it compares with, which the walk need not have read.
    """

    candidates: Candidates
    reads: Callable[[Context], Iterable[SectionKey]] = nothing
    verdicts: frozenset[Verdict] = frozenset()

    @property
    def explanation(self) -> Explanation:
        """The words alone, which can be written as JSON."""
        return Explanation(**{name: getattr(self, name) for name in Explanation.__struct_fields__})

    def applies(self, context: Context) -> bool:
        """Is the cause registered for one of the failing steps?"""
        return not self.verdicts or any(f.verdict in self.verdicts for f in context.failures)
