"""
The diagnosis of one walk: goal, search, safety, findings.

Lives here: the order in which the parts work together.
"""

from collections.abc import Sequence

from msgspec import Struct

from nettrace.diagnose.cause import Cause, Context
from nettrace.diagnose.default_goal import default_goal
from nettrace.diagnose.failure import failing_words
from nettrace.diagnose.goal import Goal, Judgement
from nettrace.diagnose.rank import explained, findings, ranked
from nettrace.diagnose.safety import SafetySet
from nettrace.diagnose.search import Budget, Search, Trial, context_of
from nettrace.kube.owner import KUBE_PROXY
from nettrace.model.finding import Finding, Safety
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Walk

__all__ = ["Diagnosis", "Limits", "diagnose"]


class Limits(Struct, frozen=True, kw_only=True):
    """How far a diagnosis goes: walks of the search, candidates in a set, owed flows checked."""

    walks: int = 200
    size: int = 3
    safety_flows: int = 40


class Diagnosis(Struct, frozen=True, kw_only=True):
    """
    Why a flow ends as it does.

    ``goal`` is what it was held against, in words.  ``met`` is None where nothing is owed to
    it or the walk could not decide.  ``walks`` is how many the search made.  ``notes`` are
    sentences: where the flow fails, what was not found, what was refused.
    """

    findings: tuple[Finding, ...]
    goal: str
    met: bool | None
    walks: int = 0
    notes: tuple[str, ...] = ()


def diagnose(
    snapshot: Snapshot,
    walk: Walk,
    *,
    owed: Sequence[Owed],
    causes: Sequence[Cause],
    owners: Sequence[Owner] = (KUBE_PROXY,),
    goal: Goal | None = None,
    connected: bool = False,
    limits: Limits | None = None,
) -> Diagnosis | Needs:
    """
    Say why *walk* misses its goal, and what would mend it.

    *owed* is what the owners have to have put on the nodes, *causes* what may be the matter, *owners*
    who writes which rules.
    Without *goal* it is what is owed to the flow, or with *connected* that it connects.
    Needs are sections that the answer depends
    on: ask again when they are read.
    """
    limits = limits or Limits()
    if goal is None:
        chosen = default_goal(snapshot, walk.flow, owed, connected=connected)
        if isinstance(chosen, Needs):
            return chosen
        goal = chosen
    words = goal.describe()
    context = Context(snapshot=snapshot, walk=walk, goal=goal, owed=tuple(owed), owners=tuple(owners))
    if goal.denied:
        return _refusal(context, words, causes)
    if not goal.owed:
        return Diagnosis(findings=(), goal=words, met=None, notes=failing_words(context))
    verdict = goal.judge(walk)
    if verdict is Judgement.MET:
        left = any(path.verdict is Verdict.LEFT_SNAPSHOT for path in walk.paths)
        notes = ("what lies beyond the snapshot was not read",) if left else ()
        return Diagnosis(findings=(), goal=words, met=None if left else True, notes=notes)
    unread = _unread(context, causes)
    if unread:
        return Needs(unread)
    found = _search(context, causes, limits)
    if isinstance(found, Needs):
        return found
    met = None if verdict is Judgement.UNKNOWN else False
    return Diagnosis(
        findings=found.findings,
        goal=words,
        met=met,
        walks=found.walks,
        notes=(*failing_words(context), *found.notes),
    )


def _unread(context: Context, causes: Sequence[Cause]) -> tuple[SectionKey, ...]:
    """Return what the causes want to look at beside the packet's way and nobody has read yet."""
    wanted = (key for cause in causes if cause.applies(context) for key in cause.reads(context))
    sections = ((key, context.snapshot.section(key)) for key in dict.fromkeys(wanted))
    return tuple(k for k, s in sections if isinstance(s, Missing) and s.kind is MissingKind.NOT_READ)


def _refusal(context: Context, words: str, causes: Sequence[Cause]) -> Diagnosis:
    """Hold a flow that policies deny against the refusal that it is owed."""
    through = [path for path in context.walk.paths if path.request.verdict is Verdict.DELIVERED]
    if not through:
        unknown = any(path.verdict is Verdict.UNKNOWN for path in context.walk.paths)
        return Diagnosis(findings=(), goal=words, met=None if unknown else True, notes=failing_words(context))
    by_id = {cause.id: cause for cause in causes}
    found = [c for cause in causes for c in cause.candidates(context) if cause.id == "netpol-not-enforced"]
    return Diagnosis(findings=tuple(explained(c, by_id) for c in found), goal=words, met=False)


class _Found(Struct, frozen=True):
    findings: tuple[Finding, ...]
    walks: int
    notes: tuple[str, ...]


def _search(context: Context, causes: Sequence[Cause], limits: Limits) -> _Found | Needs:
    snapshot, walk, goal, owed = context.snapshot, context.walk, context.goal, context.owed
    budget = Budget(limits.walks)
    search = Search(snapshot, walk, goal=goal, owed=owed, causes=causes, owners=context.owners, budget=budget)
    safety = SafetySet(snapshot, walk, owed, limits.safety_flows)
    refused: list[str] = []
    hurting: list[tuple[Trial, str]] = []

    def verify(trial: Trial) -> bool | Needs:
        reason = safety.refusal(trial.snapshot)
        if isinstance(reason, Needs):
            return reason
        if reason:
            if any(c.safety is Safety.ADVICE for c in trial.candidates):
                hurting.append((trial, f"to take it away is no repair: {reason}"))
                return False
            names = " + ".join(f"{c.cause} on {c.where}" for c in trial.candidates)
            refused.append(f"refused: {names} would mend it, but {reason}")
        return not reason

    accepted = search.run(limits.size, verify)
    if isinstance(accepted, Needs):
        return accepted
    by_id = {cause.id: cause for cause in causes}
    if accepted:
        context = context_of(snapshot, walk, goal, owed, context.owners)
        checked = f"no other of {safety.size} owed flows gets worse (walked)" if safety.size else ""
        made = findings(
            ranked(context, accepted, by_id), goal, by_id, search.alike, (checked,) if checked else ()
        )
        return _Found(made, budget.spent, tuple(refused))
    if hurting:  # offered to nobody, and proven all the same
        context = context_of(snapshot, walk, goal, owed, context.owners)
        trials = ranked(context, (trial for trial, _ in hurting), by_id)
        notes = tuple(dict.fromkeys(why for _, why in hurting))
        return _Found(findings(trials, goal, by_id, search.alike, notes[:1]), budget.spent, tuple(refused))
    advice: dict[str, Finding] = {}
    for candidate in search.explaining:  # of several alike the first
        advice.setdefault(candidate.id, explained(candidate, by_id))
    if advice:
        return _Found(tuple(advice.values()), budget.spent, tuple(refused))
    note = (
        f"no repair was found within {budget.spent} walks"
        if budget.spent
        else "no known cause fits, and nothing that is owed is missing where the packets pass"
    )
    return _Found((), budget.spent, (*refused, note))
