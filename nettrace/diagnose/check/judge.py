"""
A walk, or a real connection, held against what is expected of it.

Lives here: what each word of ``expect`` means, branch by branch, in three values.
Not here: why it is not so (nettrace.diagnose.diagnosis).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.diagnose.check.asked import Asked
from nettrace.diagnose.goal import CERTAIN, Goal, Judgement
from nettrace.diagnose.policies import path_verdict
from nettrace.model.check import Expect, Status
from nettrace.model.policy_verdict import Decision, PolicyVerdict
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Path, Walk

__all__ = ["Judged", "goal_of", "judge_outcomes", "judge_walk", "outcome_words"]

#: Verdicts that rules give on purpose.
_DENIALS = (Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED)

#: What a client may see of a denial: silence, EPERM, or the answer of a REJECT.
_LIKE_BLOCKED = (Outcome.TIMEOUT, Outcome.DENIED, Outcome.REFUSED, Outcome.UNREACHABLE)


_POLICIES = "policies do not tell: "


class Judged(NamedTuple):
    """``expected`` in words; ``reason`` is a sentence, "" where it is passed."""

    status: Status
    expected: str
    reason: str = ""
    goal: Goal | None = None  # what a diagnosis would hold it against; None: there is nothing to mend


def goal_of(asked: Asked, owed: Goal) -> Goal:
    """
    Return the goal that ``connected`` stands for, given what is *owed* to the flow.

    Whoever answers has to be one that the Service or listener promises, or that the file names.
    """
    goal = owed if owed.owed else Goal(because="the check file expects it")
    if asked.endpoints is not None:
        goal = replace(goal, endpoints=asked.endpoints, because="the check file names its endpoints")
    return replace(goal, source=asked.kept) if asked.kept else goal


def judge_walk(snapshot: Snapshot, asked: Asked, walk: Walk, owed: Goal) -> Judged:
    """Hold all branches against what is expected: one that fails decides, then one that is unknown."""
    goal = goal_of(asked, owed)
    if Expect.OWED in asked.expect:
        return _judge_owed(snapshot, asked, walk, goal, owed)
    words = _words(asked, goal)
    found = [_any(_meets(path, expect, goal) for expect in asked.expect) for path in walk.paths]
    connects = Expect.CONNECTED in asked.expect
    return _result(walk, found, words, goal if connects else _other_goal(asked, walk, owed))


def _result(walk: Walk, found: Sequence[Judgement], words: str, goal: Goal | None) -> Judged:
    total = sum(path.probability for path in walk.paths)
    if Judgement.NOT_MET in found or (found and Judgement.UNKNOWN not in found and total < CERTAIN):
        share = sum(
            path.probability for path, one in zip(walk.paths, found, strict=True) if one is Judgement.NOT_MET
        )
        return Judged(Status.FAILED, words, f"{outcome_words(walk)}{_share(share)}", goal)
    if Judgement.UNKNOWN in found or not found:
        return Judged(Status.INCONCLUSIVE, words, _needed(walk, found), goal)
    return Judged(Status.PASSED, words, "", goal)


def _share(share: float) -> str:
    return f" (wrong in {share:.0%} of calls)" if 1e-9 < share < CERTAIN else ""


def _needed(walk: Walk, found: Sequence[Judgement]) -> str:
    """Say what would decide."""
    for path, one in zip(walk.paths, found, strict=True):
        if one is not Judgement.UNKNOWN:
            continue
        if path.verdict is Verdict.LEFT_SNAPSHOT:
            return f"it leaves what was read: {path.reason or path.legs[-1].reason or 'another node'}"
        reasons = [path.reason, *(leg.reason for leg in reversed(path.legs))]
        return "undecided: " + next((words for words in reasons if words), "something was not read")
    return "undecided: no branch of the walk"


def outcome_words(walk: Walk) -> str:
    """Say how the walk ends: its outcome, and the verdict where that is not plain arrival."""
    outcomes = list(dict.fromkeys(path.outcome.value for path in walk.paths)) or [walk.outcome.value]
    failing = [path for path in walk.paths if path.failed is not None]
    words = " or ".join(outcomes)
    if failing:
        worst = max(failing, key=lambda path: path.probability)
        place = worst.failing_step
        where = f" on {place.node or place.netns}" if place is not None else ""
        words += f": {worst.verdict.value}{where}"
    elif walk.outcome is Outcome.CONNECTED:
        ends = sorted({p.endpoint.address for p in walk.paths if p.endpoint is not None})
        words += f" to {', '.join(ends[:3])}" if ends else ""
    return words


def _words(asked: Asked, goal: Goal) -> str:
    said = " or ".join(expect.value for expect in asked.expect)
    return goal.describe() if asked.expect == (Expect.CONNECTED,) else said


def _any(judgements: Iterable[Judgement]) -> Judgement:
    found = list(judgements)
    if Judgement.MET in found:
        return Judgement.MET
    return Judgement.UNKNOWN if Judgement.UNKNOWN in found else Judgement.NOT_MET


def _meets(path: Path, expect: Expect, goal: Goal) -> Judgement:
    if expect in (Expect.CONNECTED, Expect.OWED):
        judged = goal.judge_path(path)
        left = path.verdict is Verdict.LEFT_SNAPSHOT
        return Judgement.UNKNOWN if left and judged is Judgement.MET else judged
    if path.outcome is Outcome.UNKNOWN or path.verdict is Verdict.LEFT_SNAPSHOT:
        return Judgement.UNKNOWN
    if expect is Expect.REFUSED:
        met = path.outcome is Outcome.REFUSED
    elif expect is Expect.UNREACHABLE:
        met = path.outcome is Outcome.UNREACHABLE
    else:
        met = path.verdict in _DENIALS and path.outcome in _LIKE_BLOCKED
    return Judgement.MET if met else Judgement.NOT_MET


def _other_goal(asked: Asked, walk: Walk, owed: Goal) -> Goal | None:
    """
    Return the goal for a refusal.

    What connects against a policy is that policy's matter, and otherwise has no repair here; a refusal
    that does not even come back has.
    """
    if owed.denied:
        return owed
    arrives = any(path.outcome in (Outcome.CONNECTED, Outcome.WRONG_ENDPOINT) for path in walk.paths)
    if arrives or Expect.REFUSED not in asked.expect:
        return None
    return Goal(because="the check file expects it", outcome=Outcome.REFUSED)


# --- what is owed ----------------------------------------------------------------------


def _judge_owed(snapshot: Snapshot, asked: Asked, walk: Walk, goal: Goal, owed: Goal) -> Judged:
    """Hold each branch against what policies say of it, and where they allow it against the goal."""
    found: list[Judgement] = []
    denied: list[PolicyVerdict] = []
    unsure: list[PolicyVerdict] = []
    for path in walk.paths:
        verdict = _policy(snapshot, walk, path)
        if verdict is not None and verdict.decision is Decision.DENIED:
            denied.append(verdict)
            found.append(_meets(path, Expect.BLOCKED, goal))
        elif verdict is not None and verdict.decision is Decision.UNKNOWN:
            unsure.append(verdict)
            found.append(Judgement.UNKNOWN)
        elif not (owed.owed or asked.endpoints or asked.kept):
            # nobody serves it: everything but an answer is right
            answered = path.outcome in (Outcome.CONNECTED, Outcome.WRONG_ENDPOINT)
            unknown = path.outcome is Outcome.UNKNOWN or path.verdict is Verdict.LEFT_SNAPSHOT
            found.append(Judgement.UNKNOWN if unknown else Judgement.NOT_MET if answered else Judgement.MET)
        else:
            found.append(_meets(path, Expect.CONNECTED, goal))
    words = f"blocked ({denied[0].words()})" if denied else goal.describe() if owed.owed else owed.describe()
    # with nobody's word on a branch there is nothing that a repair could be held against
    mendable = owed if owed.denied else goal if owed.owed and not denied and not unsure else None
    judged = _result(walk, found, words, mendable)
    if judged.status is Status.INCONCLUSIVE and unsure:
        return judged._replace(reason=f"{_POLICIES}{unsure[0].words()}")
    return judged


def _policy(snapshot: Snapshot, walk: Walk, path: Path) -> PolicyVerdict | None:
    """Return what policies say of a branch, by its ends after DNAT; None where no pods are known."""
    if not isinstance(snapshot.kube.pods, Known):
        return None
    return path_verdict(snapshot, walk, path)


# --- real connections ------------------------------------------------------------------


def judge_outcomes(asked: Asked, seen: Sequence[Outcome], walked: Judged | None) -> Judged:
    """
    Hold what real connections saw against what is expected.

    A client cannot tell who denies it: whatever a denial may look like counts as ``blocked``.  What
    is owed is known from the walk (*walked*): connections alone do not tell it.
    """
    words = walked.expected if walked is not None else " or ".join(e.value for e in asked.expect)
    allowed: set[Outcome] = set()
    for expect in asked.expect:
        if expect is Expect.CONNECTED:
            allowed.add(Outcome.CONNECTED)
        elif expect is Expect.REFUSED:
            allowed.add(Outcome.REFUSED)
        elif expect is Expect.UNREACHABLE:
            allowed.add(Outcome.UNREACHABLE)
        elif expect is Expect.BLOCKED:
            allowed.update(_LIKE_BLOCKED)
        else:
            connects = walked is not None and walked.goal is not None and walked.goal.owed
            allowed.update([Outcome.CONNECTED] if connects else _LIKE_BLOCKED)
    untold = Expect.OWED in asked.expect and walked is not None and walked.reason.startswith(_POLICIES)
    if untold and walked is not None:
        return walked
    if not seen or Outcome.UNKNOWN in seen:
        return Judged(Status.INCONCLUSIVE, words, "the real connection told nothing")
    wrong = sorted({outcome.value for outcome in seen if outcome not in allowed})
    if wrong:
        count = sum(outcome not in allowed for outcome in seen)
        return Judged(
            Status.FAILED,
            words,
            f"{count} of {len(seen)} real connections ended in {', '.join(wrong)}",
            walked.goal if walked is not None else None,
        )
    return Judged(Status.PASSED, words)
