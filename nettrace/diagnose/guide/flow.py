"""
A flow as a check: walked, diagnosed, and made for real where that can be done.

Lives here: what a walk, its diagnosis and real connections come to together.
"""

from msgspec import Struct

from nettrace.diagnose.diagnosis import Diagnosis
from nettrace.diagnose.guide.case import Heading
from nettrace.diagnose.guide.request import Asking, connected, diagnosed
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Check, CheckState
from nettrace.model.observation import Observed
from nettrace.model.walk import Outcome, Walk

__all__ = ["Tried", "evidence_of", "failed", "tried", "worst"]

#: From bad to good.
_ORDER = (CheckState.PROBLEM, CheckState.UNKNOWN, CheckState.PASSED, CheckState.SKIPPED)

#: What somebody who connects sees of outcomes that he cannot tell apart (see nettrace.align.outcome).
_SEEN_AS = {
    Outcome.STALLS: {Outcome.CONNECTED, Outcome.RESET},
    Outcome.WRONG_ENDPOINT: {Outcome.CONNECTED},
}


class Tried(Struct, frozen=True, kw_only=True):
    """
    One flow, and what it came to.

    ``outcome`` is what the walk says, ``observed`` what real connections brought.  ``parts`` is
    true where these two do not agree.
    """

    source: str
    target: str
    walk: Walk
    diagnosis: Diagnosis
    observed: Observed | None
    state: CheckState
    parts: bool = False
    sport: int | None = None

    @property
    def outcome(self) -> Outcome:
        """What the walk says."""
        return self.walk.outcome

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Why it fails; none where it does not."""
        return self.diagnosis.findings if self.state is CheckState.PROBLEM else ()

    @property
    def words(self) -> str:
        """One line: the flow, what the walk says, what the kernel did."""
        return f"{self.source} to {self.target}: {self.result}"

    @property
    def result(self) -> str:
        """What the walk says, and what the kernel did."""
        walked = self.outcome.value
        if self.observed is None or not self.observed.attempts:
            return f"{walked} walked"
        seen = sorted(self.observed.outcomes.items(), key=lambda item: -item[1])
        total = len(self.observed.attempts)
        real = ", ".join(f"{o.value} {n} of {total}" if total > 1 else o.value for o, n in seen)
        return f"{real} for real, {walked} walked"


def tried(source: str, target: str, count: int = 1, *, sport: int | None = None) -> Asking[Tried]:
    """
    Walk and diagnose a flow; then make *count* real connections.

    From a given source port nothing is sent: it is mostly somebody else's.

    A walk that says connected while a real connection does not come about is UNKNOWN: something on
    the way was not read; so is one that says it fails while every real connection comes about.
    """
    walk, diagnosis = yield from diagnosed(source, target, sport)
    observed = (yield from connected(walk, count)) if sport is None else None
    state = _judged(walk, diagnosis)
    parts = observed is not None and bool(observed.attempts) and _parts(walk, observed)
    if parts and (state is CheckState.PASSED or (observed is not None and _all_connected(observed))):
        state = CheckState.UNKNOWN
    if state is CheckState.UNKNOWN and observed is not None and _all_connected(observed) and not parts:
        state = CheckState.PASSED
    return Tried(
        source=source,
        target=target,
        walk=walk,
        diagnosis=diagnosis,
        observed=observed,
        state=state,
        parts=parts,
        sport=sport,
    )


def _parts(walk: Walk, observed: Observed) -> bool:
    """Did the kernel do what no branch of the walk says?"""
    if walk.outcome in (Outcome.MIXED, Outcome.UNKNOWN):
        return False
    return not set(observed.outcomes) <= _SEEN_AS.get(walk.outcome, {walk.outcome})


def _all_connected(observed: Observed) -> bool:
    return bool(observed.attempts) and set(observed.outcomes) == {Outcome.CONNECTED}


def _judged(walk: Walk, diagnosis: Diagnosis) -> CheckState:
    if diagnosis.met is True:
        return CheckState.PASSED
    if diagnosis.met is False:
        return CheckState.PROBLEM
    if walk.outcome is Outcome.CONNECTED:
        return CheckState.PASSED
    if walk.outcome is Outcome.UNKNOWN:
        return CheckState.UNKNOWN
    return (
        CheckState.PROBLEM if diagnosis.findings or walk.outcome is not Outcome.MIXED else CheckState.UNKNOWN
    )


def worst(states: list[CheckState]) -> CheckState:
    """Return the worst of several states; SKIPPED for none."""
    return min(states, key=_ORDER.index, default=CheckState.SKIPPED)


def evidence_of(found: Tried) -> tuple[Evidence, ...]:
    """Return the flow as evidence, with the notes of its diagnosis where it fails."""
    notes = found.diagnosis.notes if found.state is not CheckState.PASSED else ()
    return (
        Evidence(ref="", text=found.words),
        *(Evidence(ref="", text=note) for note in notes[:2]),
        *((Evidence(ref="", text="the walk and the kernel do not agree here"),) if found.parts else ()),
    )


def failed(heading: Heading, one: Tried, found: list[Tried]) -> Check:
    """End a check at the flow that failed: with its finding, or saying that no known cause fits."""
    said = one.findings[0].message if one.findings else f"{one.words}, and no known cause fits"
    return heading.ended(
        CheckState.PROBLEM,
        said,
        checked=tuple(t.words for t in found),
        seen=evidence_of(one),
        findings=one.findings,
        flow=(one.source, one.target),
    )
