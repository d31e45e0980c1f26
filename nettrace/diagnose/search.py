"""
The search: sets of one, two, three candidates, in order of cost, each tried on the model.

Lives here: applying, walking again, extending what got further.  The budget is counted in
walks, so the same question has the same answer everywhere.
Not here: whether an accepted set hurts others (safety.py), which one comes first (rank.py).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from msgspec import Struct
from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.cost import cost
from nettrace.diagnose.difference import differences
from nettrace.diagnose.goal import Goal, Judgement
from nettrace.diagnose.progress import progress
from nettrace.diagnose.services import subjects_of
from nettrace.kube.owner import KUBE_PROXY
from nettrace.model.change import Change
from nettrace.model.edit import edit
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs, Walk
from nettrace.walk.walker import walk

__all__ = ["Budget", "Search", "Trial", "apply", "context_of"]


class Budget:
    """Walks that may still be made."""

    def __init__(self, walks: int) -> None:
        self.limit = walks
        self.spent = 0

    @property
    def left(self) -> bool:
        """Is there one more?"""
        return self.spent < self.limit

    def walk(self, snapshot: Snapshot, like: Walk) -> Walk | Needs:
        """Walk the flow of *like* on *snapshot*."""
        self.spent += 1
        return walk(snapshot, like.flow)


class Trial(Struct, frozen=True, kw_only=True):
    """A set of candidates, and what the flow does with all of them in force."""

    candidates: tuple[Candidate, ...]
    snapshot: Snapshot
    walk: Walk

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the candidates."""
        return frozenset(candidate.id for candidate in self.candidates)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in the order in which they were tried."""
        return tuple(change for candidate in self.candidates for change in candidate.changes)


def apply(snapshot: Snapshot, changes: Iterable[Change]) -> Snapshot | None:
    """Return the snapshot with *changes* in force; None if the state they name is not there."""
    try:
        for change in changes:
            snapshot = edit(snapshot, change)
    except ValueError:
        return None
    return snapshot


def context_of(
    snapshot: Snapshot,
    walked: Walk,
    goal: Goal,
    owed: Sequence[Owed],
    owners: Sequence[Owner] = (KUBE_PROXY,),
) -> Context:
    """Return what causes look at: the differences are those where the failing branches pass."""
    context = Context(snapshot=snapshot, walk=walked, goal=goal, owed=tuple(owed), owners=tuple(owners))
    found = differences(snapshot, owed, where=context.visited, subjects=subjects_of(snapshot, walked))
    return replace(context, differences=found)


class Search:
    """One search, from the state as it is."""

    def __init__(
        self,
        snapshot: Snapshot,
        walked: Walk,
        *,
        goal: Goal,
        owed: Sequence[Owed],
        causes: Sequence[Cause],
        owners: Sequence[Owner] = (KUBE_PROXY,),
        budget: Budget,
    ) -> None:
        self.base = Trial(candidates=(), snapshot=snapshot, walk=walked)
        self.goal = goal
        self.owed = owed
        self.causes = causes
        self.owners = owners
        self.budget = budget
        #: candidates of the failing step that change nothing: they explain, and prove nothing
        self.explaining: list[Candidate] = []
        #: other candidates that come to the same changes, by the id of the one that was tried
        self.alike: dict[str, list[Candidate]] = {}
        self._met: list[frozenset[str]] = []
        self._tried: set[frozenset[str]] = set()

    def run(self, size: int, verify: Callable[[Trial], bool | Needs]) -> list[Trial] | Needs:
        """
        Return the least accepted sets of at most *size* candidates: all of the smallest size.

        *verify* may turn an accepted set down.  Needs are those of all walks of one size, so
        that they are read together.
        """
        frontier = [self.base]
        for number in range(1, size + 1):
            grown = self._grow(frontier, number)
            if isinstance(grown, Needs):
                return grown
            accepted, frontier = grown
            kept: list[Trial] = []
            for trial in accepted:
                verdict = verify(trial)
                if isinstance(verdict, Needs):
                    return verdict
                if verdict:
                    kept.append(trial)
            if kept:
                return kept
        return []

    def candidates(self, trial: Trial) -> list[Candidate]:
        """Return the candidates in the state of *trial*, cheapest first, equal changes once."""
        context = context_of(trial.snapshot, trial.walk, self.goal, self.owed, self.owners)
        found: dict[tuple[Change, ...], Candidate] = {}
        offered = [c for cause in self.causes if cause.applies(context) for c in cause.candidates(context)]
        # what an owner asks for by a cause's own name goes before the nameless
        for candidate in sorted(offered, key=lambda c: (c.cause == "owed-state-missing", cost(c))):
            if not candidate.changes:
                if trial is self.base:
                    self.explaining.append(candidate)
                continue
            first = found.setdefault(candidate.changes, candidate)
            if first is not candidate:
                others = self.alike.setdefault(first.id, [])
                if all(other.id != candidate.id for other in others):
                    others.append(candidate)
        return sorted(found.values(), key=cost)

    def _grow(self, frontier: Sequence[Trial], number: int) -> tuple[list[Trial], list[Trial]] | Needs:
        accepted: list[Trial] = []
        promising: list[Trial] = []
        needed: dict[SectionKey, None] = {}
        for parent in frontier:
            before = progress(self.goal, parent.walk)
            for candidate in self.candidates(parent):
                ids = parent.ids | {candidate.id}
                if len(ids) != number or ids in self._tried or any(met <= ids for met in self._met):
                    continue
                if not self.budget.left:
                    break
                self._tried.add(ids)
                trial = self._try(parent, candidate)
                if trial is None:
                    continue
                if isinstance(trial, Needs):
                    needed |= dict.fromkeys(trial.keys)
                    continue
                if self.goal.judge(trial.walk) is Judgement.MET:
                    least = self._least(trial)
                    if isinstance(least, Needs):
                        needed |= dict.fromkeys(least.keys)
                    elif least.ids not in self._met:
                        self._met.append(least.ids)
                        accepted.append(least)
                elif progress(self.goal, trial.walk).beats(before):
                    promising.append(trial)
        if needed:
            return Needs(tuple(needed))
        return accepted, promising

    def _try(self, parent: Trial, candidate: Candidate) -> Trial | Needs | None:
        snapshot = apply(parent.snapshot, candidate.changes)
        if snapshot is None:
            return None
        walked = self.budget.walk(snapshot, parent.walk)
        if isinstance(walked, Needs):
            return walked
        return Trial(candidates=(*parent.candidates, candidate), snapshot=snapshot, walk=walked)

    def _least(self, trial: Trial) -> Trial | Needs:
        """
        Return the smallest part of *trial* that meets the goal, mostly all of it.

        Parts that were tried on the way do not meet it; the others are tried now.
        """
        for size in range(1, len(trial.candidates)):
            for subset in combinations(trial.candidates, size):
                ids = frozenset(candidate.id for candidate in subset)
                if ids in self._tried:
                    continue
                snapshot = apply(self.base.snapshot, (c for one in subset for c in one.changes))
                if snapshot is None:
                    continue
                self._tried.add(ids)
                walked = self.budget.walk(snapshot, trial.walk)
                if isinstance(walked, Needs):
                    return walked
                if self.goal.judge(walked) is Judgement.MET:
                    return Trial(candidates=subset, snapshot=snapshot, walk=walked)
        return trial
