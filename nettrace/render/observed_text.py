"""
Real connections beside the walk, on a page.

Lives here: how often, how late, who answered; do they agree with the walk.
Not here: the comparison (nettrace.align), frames (frame_text), drops (drop_text).
"""

from nettrace.render.contract import WalkDocument
from nettrace.render.contract_observed import ObservedView
from nettrace.render.drop_text import drop_lines
from nettrace.render.page import Line, Look, Span, Style, line, titled

__all__ = ["observed_lines", "observed_text", "taken_paths"]


def taken_paths(document: WalkDocument) -> frozenset[int]:
    """Return the indexes of the branches that real connections took."""
    agreement = document.agreement
    return frozenset(one.path for one in agreement.comparisons) if agreement is not None else frozenset()


def observed_text(observed: ObservedView) -> str:
    """``connected in 3 of 3, 4 ms (hostnames-0, hostnames-1 2)``: how often, how late, who answered."""
    tries = len(observed.attempts)
    seen = ", ".join(f"{name} in {count} of {tries}" for name, count in sorted(observed.outcomes.items()))
    slowest = max((attempt.delay for attempt in observed.attempts), default=0.0)
    answered: dict[str, int] = {}
    for attempt in observed.attempts:
        if attempt.answered_by:
            answered[attempt.answered_by] = answered.get(attempt.answered_by, 0) + 1
    by = ", ".join(f"{name} {count}" if count > 1 else name for name, count in sorted(answered.items()))
    return f"{seen}, {_delay(slowest)}" + (f" ({by})" if by else "")


def observed_lines(observed: ObservedView, document: WalkDocument, look: Look) -> list[Line]:
    """Put the real connections beside the prediction."""
    lines = [line(Span("observed ", Style.HEAD), observed_text(observed))]
    agreement = document.agreement
    if agreement is None:
        return lines
    compared = sum(one.compared for one in agreement.comparisons)
    agreed = sum(one.agreed for one in agreement.comparisons)
    steps = f" in {agreed} of {compared} steps" if compared else ""
    says = f"differs from the walk, which says {agreement.predicted.value}"
    if any(one.parted is not None for one in agreement.comparisons):
        says = f"parts from the walk; agrees{steps}"
    word = {
        True: Span(f"{look.tick} agrees with the walk{steps}", Style.GOOD),
        False: Span(f"{look.cross} {says}", Style.BAD),
        None: Span("? cannot be compared with the walk", Style.UNSURE),
    }[agreement.agrees]
    tail = ""
    if len(agreement.comparisons) > 1:
        branches = len(taken_paths(document))
        tail = f"  ({len(agreement.comparisons)} connections, {branches} branch{'es' * (branches > 1)})"
    lines.append(line("         ", word, Span(tail, Style.DIM)))
    dropped = drop_lines(observed.drops, wide=look.wide)
    for said in (*agreement.differences, *dropped, *observed.notes):
        lines.extend(titled("", said, look))
    return lines


def _delay(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
