"""
The causes of what a check found, each searched for once.

Lives here: a repair that was found for one flow is tried on the next before its causes are searched
for: a cause mostly hurts many flows at once.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nettrace.app.ask import ask
from nettrace.diagnose import diagnose
from nettrace.diagnose.goal import Goal, Judgement
from nettrace.diagnose.rank import effect
from nettrace.model.change import Change
from nettrace.model.edit import edit
from nettrace.model.finding import Finding
from nettrace.model.flow import Flow
from nettrace.model.owed import Owed
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs, Walk
from nettrace.walk import walk

if TYPE_CHECKING:
    from nettrace.app.context import Context

__all__ = ["Causes"]

#: Searches of a check: each may take hundreds of walks.  Repairs that are known cost one walk.
_SEARCHES = 40


class Causes:
    """What was found so far, and the way to find more."""

    def __init__(self, context: "Context", owed: Sequence[Owed]) -> None:
        self._context = context
        self._owed = owed
        self._known: dict[tuple[str, str, str], tuple[Flow, Finding]] = {}
        self._answers: dict[tuple[Flow, Goal], tuple[tuple[Finding, ...], tuple[str, ...]]] = {}
        self._searches = 0

    def of(self, walked: Walk, goal: Goal) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
        """Return why *walked* misses *goal*, and sentences about the diagnosis."""
        key = (walked.flow, goal)
        if key not in self._answers:
            self._answers[key] = self._by_known(walked, goal) or self._by_search(walked, goal)
        return self._answers[key]

    def _by_known(self, walked: Walk, goal: Goal) -> tuple[tuple[Finding, ...], tuple[str, ...]] | None:
        for flow, finding in self._known.values() if goal.owed else ():
            for repair in finding.repairs:
                if "+" in repair.id or not repair.changes:
                    continue
                with_it = ask(self._context, _repaired(walked.flow, repair.changes))
                if isinstance(with_it, Walk) and goal.judge(with_it) is Judgement.MET:
                    own = replace(repair, effect=effect(with_it, goal))
                    note = (
                        f"found for {flow.source} -> {flow.target}; its repair mends this flow too (walked)"
                    )
                    return (replace(finding, repairs=(own,), notes=(note,)),), ()
        return None

    def _by_search(self, walked: Walk, goal: Goal) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
        if self._searches == _SEARCHES:
            return (), (f"no cause was searched for: {_SEARCHES} others were; trace it by itself",)
        self._searches += 1
        causes, owners = self._context.plugins.causes(), self._context.plugins.owners()
        found = ask(
            self._context,
            lambda snapshot: diagnose(
                snapshot, walked, owed=self._owed, causes=causes, owners=owners, goal=goal
            ),
        )
        for finding in found.findings:
            self._known.setdefault((finding.cause, finding.subject, finding.where), (walked.flow, finding))
        return found.findings, found.notes


def _repaired(flow: Flow, changes: Sequence[Change]) -> Callable[[Snapshot], Walk | Needs | None]:
    """Return the question how *flow* is walked with *changes* made; None where they do not fit."""

    def question(snapshot: Snapshot) -> Walk | Needs | None:
        try:
            for change in changes:
                snapshot = edit(snapshot, change)
        except ValueError:
            return None
        return walk(snapshot, flow)

    return question
