"""
Ranking, and putting findings into words.

Lives here: which accepted set comes first, what becomes one finding, and what it says.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.cost import Cost, cost
from nettrace.diagnose.goal import Goal, Judgement
from nettrace.diagnose.search import Trial
from nettrace.model.finding import Evidence, Finding, Repair, Safety
from nettrace.model.step import Verdict
from nettrace.model.walk import Walk

__all__ = ["effect", "explained", "findings", "ranked"]

#: Pieces of evidence in one finding.
_EVIDENCE = 5

_CLASSES = (Safety.AUTO, Safety.GUARDED, Safety.KICK, Safety.ADVICE)

#: The cause that is said only where nothing has a name of its own.
_NAMELESS = "owed-state-missing"


def ranked(context: Context, trials: Iterable[Trial], causes: Mapping[str, Cause]) -> list[Trial]:
    """
    Return accepted sets, the best first.

    All of them explain all defects: the goal is met.  So what decides is: a cause at the failing
    step; what an owner's own data ask for; evidence; the least change.  What has no name of its
    own is left out where something else has.
    """
    found = list(trials)
    named = [t for t in found if all(c.cause != _NAMELESS for c in t.candidates)]

    def key(trial: Trial) -> tuple[bool, bool, int, list[Cost]]:
        return (
            not any(_is_at_failure(context, c, causes) for c in trial.candidates),
            not all(c.from_owner for c in trial.candidates),
            -min(len(c.evidence) for c in trial.candidates),
            sorted(cost(c) for c in trial.candidates),
        )

    return sorted(named or found, key=key)


def _is_at_failure(context: Context, candidate: Candidate, causes: Mapping[str, Cause]) -> bool:
    verdicts = causes[candidate.cause].verdicts
    return any(f.netns == candidate.netns and f.verdict in verdicts for f in context.failures)


def findings(
    trials: Sequence[Trial],
    goal: Goal,
    causes: Mapping[str, Cause],
    alike: Mapping[str, Sequence[Candidate]],
    notes: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """
    Return the findings that ranked accepted sets come to.

    Sets of one cause about one subject are one finding with several repairs.  A set of several
    causes gives a finding for each, all with the whole repair: none of them is enough alone.
    """
    found: dict[tuple[str, str], Finding] = {}
    for trial in trials:
        repair = _repair(trial, goal)
        for cause in dict.fromkeys(c.cause for c in trial.candidates):
            own = [c for c in trial.candidates if c.cause == cause]
            others = [c for c in trial.candidates if c.cause != cause]
            key = (cause, own[0].subject)
            if key in found:
                old = found[key]
                another = replace(repair, id=f"{repair.id}-{len(old.repairs) + 1}")
                found[key] = replace(old, repairs=(*old.repairs, another))
                continue
            said = [f"needed together with {c.cause} on {c.where}" for c in others]
            alternatives = dict.fromkeys(
                a.cause for c in own for a in alike.get(c.id, ()) if a.cause not in (cause, _NAMELESS)
            )
            found[key] = Finding(
                cause=cause,
                severity=causes[cause].severity,
                message="; ".join(dict.fromkeys(c.message for c in own)),
                subject=own[0].subject,
                where=", ".join(dict.fromkeys(c.where for c in own)),
                evidence=_pieces(own),
                alternatives=tuple(alternatives),
                repairs=(repair,),
                notes=(*said, *(note for c in own for note in c.notes), *notes),
            )
    return tuple(found.values())


def _pieces(candidates: Sequence[Candidate]) -> tuple[Evidence, ...]:
    """Return the evidence of all candidates in turn, each piece once, a handful of it."""
    rows = [c.evidence for c in candidates]
    longest = max((len(row) for row in rows), default=0)
    mixed = (
        (row[i] for i in range(longest) for row in rows if i < len(row)) if len(rows) > 1 else iter(rows[0])
    )
    return tuple(dict.fromkeys(mixed))[:_EVIDENCE]


def _repair(trial: Trial, goal: Goal) -> Repair:
    safety = max((c.safety for c in trial.candidates), key=_CLASSES.index)
    advice = safety is Safety.ADVICE
    return Repair(
        id="+".join(sorted({c.cause for c in trial.candidates})),
        changes=() if advice else trial.changes,
        safety=safety,
        owner=_joined(c.owner for c in trial.candidates),
        overwritten=_joined(c.overwritten for c in trial.candidates),
        lasting=_joined(c.lasting for c in trial.candidates),
        effect=effect(trial.walk, goal, advice=advice),
    )


def _joined(words: Iterable[str]) -> str:
    return "; ".join(word for word in dict.fromkeys(words) if word)


def effect(walked: Walk, goal: Goal, *, advice: bool = False) -> str:
    """
    Say what the walk says afterwards.

    ``with it: connected in 3 of 3 (walked)``; what leaves the snapshot on its way is not called
    connected.
    """
    met = [path for path in walked.paths if goal.judge_path(path) is Judgement.MET]
    left = [path for path in met if path.verdict is Verdict.LEFT_SNAPSHOT]
    count, words = len(walked.paths), []
    if len(met) > len(left):
        words.append(f"{goal.outcome.value} in {len(met) - len(left)} of {count}")
    if left:
        words.append(f"on its way out of what was read in {len(left)} of {count}")
    start = "without what is said here" if advice else "with it"
    return f"{start}: {', '.join(words)} (walked)"


def explained(candidate: Candidate, causes: Mapping[str, Cause]) -> Finding:
    """Return the finding of a candidate that changes nothing on the node: advice."""
    return Finding(
        cause=candidate.cause,
        severity=causes[candidate.cause].severity,
        message=candidate.message,
        subject=candidate.subject,
        where=candidate.where,
        evidence=candidate.evidence[:_EVIDENCE],
        repairs=(
            Repair(
                id=candidate.cause,
                changes=(),
                safety=Safety.ADVICE,
                owner=candidate.owner,
                lasting=candidate.lasting,
            ),
        ),
        notes=candidate.notes,
    )
