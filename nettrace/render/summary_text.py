"""
What comes of a flow, on a page: what the client sees, what is owed, what the policies say.

Lives here: outcomes by how often they come, and the lines below them.
Not here: single branches (walk_text), real connections (observed_text).
"""

from collections.abc import Sequence

from nettrace.model.policy_verdict import Enforced
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.render.contract import WalkDocument
from nettrace.render.contract_walk import PathView
from nettrace.render.observed_text import observed_lines
from nettrace.render.page import Line, Look, Span, Style, line, titled

__all__ = ["WELL", "outcome_span", "outcomes_text", "summary_lines"]

#: How a flow ends that is well.
WELL = frozenset({Outcome.CONNECTED})
_UNSURE = frozenset({Outcome.UNKNOWN})

#: Branches whose probabilities differ by less count as drawn alike: 1/3 is no 31-bit number.
_ALIKE = 1e-6


def summary_lines(document: WalkDocument, look: Look) -> list[Line]:
    """Say what the client sees, in how many connections, and what was owed."""
    unknown = sum(path.verdict is Verdict.UNKNOWN for path in document.paths)
    groups: dict[tuple[Outcome, str | None], list[PathView]] = {}
    for path in sorted(document.paths, key=lambda path: -path.probability):
        groups.setdefault((path.outcome, path.errno), []).append(path)
    ordered = sorted(groups.values(), key=lambda paths: paths[0].outcome in WELL)
    lines = []
    for index, paths in enumerate(ordered):
        share = _share(paths, document.paths) if len(ordered) > 1 else _after(paths[0])
        tail = ""
        if index == len(ordered) - 1:
            branches = f"{len(document.paths)} branch" + ("es" if len(document.paths) > 1 else "")
            tail = f"   (walked {branches}, {unknown} unknown)"
        lines.append(line(outcome_span(paths[0], look), share, Span(tail, Style.DIM)))
    diagnosis = document.diagnosis
    if diagnosis.goal:
        met = {True: ("met", Style.GOOD), False: ("not met", Style.BAD), None: ("undecided", Style.UNSURE)}
        word, style = met[diagnosis.met]
        lines.extend(titled("owed", diagnosis.goal, look))
        lines[-1] = (*lines[-1], *line(": ", Span(word, style)))
    for policy in document.policies:
        lines.extend(_policy(policy, look))
    for note in diagnosis.notes:
        if not look.wide and any(path.reason and path.reason in note for path in document.paths):
            continue  # the branch's own line says it
        lines.extend(titled("note", note, look))
    if document.observed is not None:
        lines.extend(observed_lines(document.observed, document, look))
    return lines


def _policy(policy: Enforced, look: Look) -> list[Line]:
    """Say which policies decide, and where the node does otherwise; nothing where none has a say."""
    verdict = policy.verdict
    if not (verdict.is_judged or policy.agrees is False or (verdict.needs and look.wide)):
        return []
    lines = titled("policy", verdict.words(), look)
    if policy.agrees is not None:
        word, style = ("the node agrees", Style.GOOD) if policy.agrees else (f"but {policy.node}", Style.BAD)
        lines[-1] = (*lines[-1], *line(": ", Span(word, style)))
    for note in (*verdict.egress.notes, *verdict.ingress.notes) if look.wide else ():
        lines.extend(titled("", note, look))
    return lines


def outcome_span(path: PathView, look: Look) -> Span:
    """``+ connected``, ``x refused (ECONNREFUSED)``, ``? unknown``, with the symbols of *look*."""
    if path.outcome in WELL:
        return Span(f"{look.tick} {path.outcome.value}", Style.GOOD)
    if path.outcome in _UNSURE:
        return Span(f"? {path.outcome.value}", Style.UNSURE)
    errno = f" ({path.errno})" if path.errno else ""
    return Span(f"{look.cross} {path.outcome.value}{errno}", Style.BAD)


def _share(paths: Sequence[PathView], every: Sequence[PathView]) -> str:
    """``in 2 of 3 connections`` where all branches are drawn alike, else in per cent."""
    probabilities = [path.probability for path in every]
    if max(probabilities) - min(probabilities) < _ALIKE:
        return f"  in {len(paths)} of {len(every)} connections"
    return f"  in {100 * sum(path.probability for path in paths):.0f}% of connections"


def _after(path: PathView) -> str:
    return f"  after {path.delay:.3g} s" if path.delay else ""


def outcomes_text(paths: Sequence[PathView]) -> str:
    """``connected in 2 of 3, timeout in 1 of 3``, by branches; the outcome alone if there is one."""
    counted: dict[str, int] = {}
    for path in paths:
        counted[path.outcome.value] = counted.get(path.outcome.value, 0) + 1
    return ", ".join(f"{name} in {count} of {len(paths)}" for name, count in counted.items())
