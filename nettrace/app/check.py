"""
Check: hundreds of expectations in one pass over one snapshot.

Lives here: the use case behind `nettrace check`: expand, resolve, walk, judge, find the causes of what
failed, probe where that is asked.  Questions are put together, so that a section is read once
for all of them, and flows that several of them ask about are walked once.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from nettrace.align.outcome import compare
from nettrace.app.ask import ask, read_asked
from nettrace.app.check_causes import Causes
from nettrace.app.owed import owed_state
from nettrace.app.trace import probe
from nettrace.diagnose.check.asked import Asked, Expanded
from nettrace.diagnose.check.expand import expand
from nettrace.diagnose.check.health import compared_services, node_health
from nettrace.diagnose.check.invariants import SAMPLE, invariant, sees_itself
from nettrace.diagnose.check.judge import Judged, judge_outcomes, judge_walk, outcome_words
from nettrace.diagnose.check.suppress import suppressed
from nettrace.diagnose.check.unreadable import unreadable
from nettrace.diagnose.default_goal import default_goal
from nettrace.diagnose.goal import Goal
from nettrace.kube.resolve import resolve
from nettrace.model.check import INVARIANTS, Checked, CheckReport, Checks, Expect, Expectation, Status, Via
from nettrace.model.errors import UserError
from nettrace.model.flow import Flow
from nettrace.model.owed import Owed
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs, Walk
from nettrace.parse.checks import parse_checks
from nettrace.walk import walk

if TYPE_CHECKING:
    from nettrace.app.context import Context

__all__ = ["check", "load_checks"]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Progress = Callable[[str, int, int], None]

#: Real connections of a flow on which the kernel draws lots: enough to see a third of them fail.
_TRIES = 8

#: How bad: with ``both`` the worse of the two holds.
_ORDER = (Status.PASSED, Status.INCONCLUSIVE, Status.FAILED)


class _Answer(Struct, frozen=True):
    """A question's flow, its walk and what is owed to it; or what is wrong with the question."""

    walk: Walk | None = None
    owed: Goal | None = None
    problem: str = ""
    unread: bool = False


def load_checks(path: Path | None) -> Checks:
    """Read a check file; without one, all invariants.  UserError for a file that is not understood."""
    if path is None:
        return Checks(invariants=tuple(INVARIANTS))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot read the check file: {error.strerror}", where=str(path), hint="give a readable file"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError("the check file is not UTF-8 text", where=str(path)) from error
    return parse_checks(text, str(path))


def check(
    context: "Context",
    checks: Checks,
    *,
    sample: int | None = SAMPLE,
    via: Via | None = None,
    on_progress: Progress = lambda phase, done, whole: None,
) -> CheckReport:
    """
    Hold *context* against *checks*.

    *sample* pods of a node stand for all of them in the invariants, None asks all.  *via* takes the
    place of what the file says.  *on_progress* is told phase, how many are done, of how many.
    """
    begun = time.monotonic()
    owed = owed_state(context)
    asked, left_out = _questions(context, checks, sample)
    if via is not None:
        asked = [replace(one, via=via) for one in asked]
    answers = _answers(context, asked, owed, on_progress)
    causes = Causes(context, owed)
    made: list[Checked] = []
    for number, (one, answer) in enumerate(zip(asked, answers, strict=True)):
        on_progress("judged", number, len(asked))
        made.append(_judged(context, one, answer, causes))
    on_progress("judged", len(asked), len(asked))
    if "pod-sees-itself" in checks.invariants:
        made.extend(ask(context, sees_itself))
    if "node-health" in checks.invariants:
        subjects, words = compared_services(owed, everything=sample is None)
        left_out += [words] if words else []
        known = context.plugins.causes()
        made.extend(ask(context, lambda snapshot: node_health(snapshot, owed, known, subjects)))
    now = datetime.now(UTC)
    checked, states = suppressed(made, checks.suppressions, date.today().isoformat())  # noqa: DTZ011
    titles = {c.id: (c.title, c.severity) for c in context.plugins.causes()}
    found = {finding.cause for one in checked for finding in one.findings}
    return CheckReport(
        context=context.label,
        file=checks.file,
        taken=now.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begun, 3),
        checked=checked,
        left_out=tuple(left_out),
        suppressions=states,
        titles={cause: titles[cause] for cause in sorted(found) if cause in titles},
    )


# --- questions -------------------------------------------------------------------------


def _questions(context: "Context", checks: Checks, sample: int | None) -> tuple[list[Asked], list[str]]:
    asked: list[Asked] = []
    left_out: list[str] = []
    for expectation in checks.expectations:
        expanded = ask(context, _expanding(expectation))
        asked += expanded.asked
        left_out += expanded.left_out
    for name in checks.invariants:
        if name in ("node-health", "pod-sees-itself"):
            continue
        expanded = ask(context, _inquiring(name, sample))
        asked += expanded.asked
        left_out += expanded.left_out
    return asked, left_out


def _expanding(expectation: Expectation) -> Callable[[Snapshot], Expanded | Needs]:
    return lambda snapshot: expand(snapshot, expectation)


def _inquiring(name: str, sample: int | None) -> Callable[[Snapshot], Expanded | Needs]:
    return lambda snapshot: invariant(snapshot, name, sample)


def _answers(
    context: "Context", asked: Sequence[Asked], owed: Sequence[Owed], on_progress: Progress
) -> list[_Answer]:
    texts = list(dict.fromkeys((one.source, one.target) for one in asked if not one.problem))
    flows: dict[tuple[str, str], Flow | UserError] = _ask_all(
        context, texts, _resolved, lambda done: on_progress("resolved", done, len(texts))
    )
    wanted = list(dict.fromkeys(flow for flow in flows.values() if isinstance(flow, Flow)))
    walks = _ask_all(context, wanted, walk, lambda done: on_progress("walked", done, len(wanted)))
    stated = [(flow, _is_stated(one)) for one in asked if isinstance(flow := _flow(flows, one), Flow)]

    def promised(snapshot: Snapshot, key: tuple[Flow, bool]) -> Goal | Needs:
        return default_goal(snapshot, key[0], owed, connected=key[1])

    goals = _ask_all(context, list(dict.fromkeys(stated)), promised)
    found: list[_Answer] = []
    for one in asked:
        if one.problem:
            found.append(_Answer(problem=one.problem, unread=one.unread))
            continue
        flow = _flow(flows, one)
        if isinstance(flow, UserError):
            reason = unreadable(context.snapshot, one.source, one.target)
            words = f"{flow.what} ({flow.hint})" if flow.hint else flow.what
            found.append(_Answer(problem=f"{words}; {reason}" if reason else words, unread=bool(reason)))
            continue
        if isinstance(flow, Flow):
            found.append(_Answer(walk=walks[flow], owed=goals[flow, _is_stated(one)]))
    return found


def _flow(flows: Mapping[tuple[str, str], Flow | UserError], asked: Asked) -> Flow | UserError | None:
    return flows.get((asked.source, asked.target))


def _is_stated(asked: Asked) -> bool:
    """Does the file itself say that it should connect, whatever policies say?"""
    return Expect.CONNECTED in asked.expect and Expect.OWED not in asked.expect


def _resolved(snapshot: Snapshot, texts: tuple[str, str]) -> Flow | UserError | Needs:
    try:
        return resolve(snapshot, *texts)
    except UserError as error:
        return error


def _ask_all(
    context: "Context",
    keys: Sequence[K],
    question: Callable[[Snapshot, K], T | Needs],
    on_done: Callable[[int], None] = lambda done: None,
) -> dict[K, T]:
    """Put *question* for each of *keys*; what several of them need is read at once."""
    found: dict[K, T] = {}
    pending = list(keys)
    while pending:
        needs: dict[SectionKey, None] = {}
        waiting: list[K] = []
        for key in pending:
            answer = question(context.snapshot, key)
            if isinstance(answer, Needs):
                waiting.append(key)
                needs |= dict.fromkeys(answer.keys)
            else:
                found[key] = answer
                on_done(len(found))
        if waiting:
            read_asked(context, tuple(needs))
        pending = waiting
    return found


# --- judging ---------------------------------------------------------------------------


def _judged(context: "Context", asked: Asked, answer: _Answer, causes: "Causes") -> Checked:
    base = Checked(
        name=asked.name,
        kind=asked.kind,
        source=asked.source,
        target=asked.target,
        expected=" or ".join(expect.value for expect in asked.expect),
        status=Status.INCONCLUSIVE if answer.unread else Status.ERROR,
        reason=answer.problem,
        line=asked.line,
        stated=_is_stated(asked),
    )
    if answer.walk is None or answer.owed is None:
        return base
    walked = judge_walk(context.snapshot, asked, answer.walk, answer.owed)
    judged, probed, notes = walked, "", tuple[str, ...]()
    if asked.via is not Via.MODEL:
        seen, probed, notes = _probed(context, asked, answer.walk, walked)
        both = asked.via is Via.BOTH
        judged = max((seen, walked), key=lambda one: _ORDER.index(one.status)) if both else seen
    made = replace(
        base,
        expected=judged.expected,
        status=judged.status,
        walked=outcome_words(answer.walk) if asked.via is not Via.PROBE else "",
        probed=probed,
        reason=judged.reason,
        notes=notes,
    )
    if made.status is not Status.FAILED or walked.status is not Status.FAILED or walked.goal is None:
        return made
    findings, more = causes.of(answer.walk, walked.goal)
    return replace(made, findings=findings, notes=(*made.notes, *more))


def _probed(
    context: "Context", asked: Asked, walked: Walk, judged: Judged
) -> tuple[Judged, str, tuple[str, ...]]:
    """Make real connections; what cannot be probed is inconclusive."""
    try:
        observed = probe(context, walked, count=1 if len(walked.paths) == 1 else _TRIES)
    except UserError as error:
        words = f"not probed: {error.what}"
        return Judged(Status.INCONCLUSIVE, judged.expected, words, judged.goal), "", ()
    seen = [outcome for outcome, count in observed.outcomes.items() for _ in range(count)]
    words = ", ".join(f"{outcome.value} {count}" for outcome, count in sorted(observed.outcomes.items()))
    found = judge_outcomes(asked, seen, judged)
    agreement = compare(walked, observed)
    if asked.via is Via.BOTH and agreement.agrees is False and found.status is Status.PASSED:
        differences = "; ".join(agreement.differences[:2])
        found = found._replace(status=Status.FAILED, reason=f"the probe differs from the walk: {differences}")
    return found, words, observed.notes
