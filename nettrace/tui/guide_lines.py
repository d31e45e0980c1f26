"""
The guided flow, of a Service or of a pod's address, as three lanes, and a check in full.

Lives here: lines.  Not here: the checks (nettrace.diagnose.guide), their words (nettrace.render.guide_text).
"""

from collections.abc import Sequence

from nettrace.model.guide import Axis, CheckState
from nettrace.render.contract import GuideCheckView
from nettrace.render.guide_text import guide_check_page
from nettrace.render.page import Look, Span, Style, line, wrapped
from nettrace.tui.entries import Entry, Listed, listed

__all__ = ["LANES", "POD_LANES", "check_list", "lane_list"]

#: The lanes, and their titles for a Service.
LANES = {"dns": "1 the name", "endpoints": "2 the endpoints", "rules": "3 the rules"}

#: Their titles for a pod's address.
POD_LANES = {"dns": "1 the pod", "endpoints": "2 its node", "rules": "3 its address"}

#: Which lane a check stands in.
_LANE_OF = {
    Axis.SCOPE: "dns",
    Axis.DNS: "dns",
    Axis.ENDPOINTS: "endpoints",
    Axis.RULES: "rules",
    Axis.NODE: "endpoints",
    Axis.ADDRESS: "rules",
}


def lane_list(checks: Sequence[GuideCheckView], lane: str, look: Look) -> Listed:
    """Return the checks of one lane, each as symbol, word and what it asks."""
    entries: list[Entry] = []
    for number, check in enumerate(checks):
        if _LANE_OF[check.axis] != lane:
            continue
        problem = check.state is CheckState.PROBLEM
        head = line(_state(check.state, look), Span(f"  {check.id}", Style.NAME))
        entries.append(Entry(head, number, problem))
        entries.extend(Entry(line(f"  {piece}"), number) for piece in wrapped(check.title, look.width - 2))
    return Listed(entries or [Entry(line(Span("not reached", Style.DIM)))])


def _state(state: CheckState, look: Look) -> Span:
    match state:
        case CheckState.PASSED:
            return Span(f"{look.tick} passed", Style.GOOD)
        case CheckState.PROBLEM:
            return Span(f"{look.cross} PROBLEM", Style.BAD)
        case CheckState.UNKNOWN:
            return Span("? UNKNOWN", Style.UNSURE)
        case CheckState.SKIPPED:
            return Span("- skipped", Style.DIM)


def check_list(check: GuideCheckView, context: str, look: Look) -> Listed:
    """Return one check in full: what was looked at, what stands there, what follows."""
    return listed(guide_check_page(check, look, context=context), look.width)
