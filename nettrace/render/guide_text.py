"""
The guided flows on a page: each check with what it looked at, what it saw, what follows.

Lives here: the guided flows, of a Service and of a pod, for people.
"""

from nettrace.model.guide import Axis, CheckState
from nettrace.render.contract import GuideCheckView, GuideDocument, PodDebugDocument
from nettrace.render.finding_text import finding_page
from nettrace.render.page import Line, Look, Page, Span, Style, line, wrapped

__all__ = [
    "guide_check_page",
    "guide_head",
    "guide_page",
    "pod_head",
    "pod_page",
    "pod_verdict_page",
    "verdict_page",
]

_STYLES = {
    CheckState.PASSED: Style.GOOD,
    CheckState.PROBLEM: Style.BAD,
    CheckState.UNKNOWN: Style.UNSURE,
    CheckState.SKIPPED: Style.DIM,
}

_AXES = {
    Axis.SCOPE: "",
    Axis.DNS: "DNS",
    Axis.ENDPOINTS: "Endpoints",
    Axis.RULES: "kube-proxy and node",
    Axis.NODE: "Node",
    Axis.ADDRESS: "Address",
}


def guide_page(document: GuideDocument, look: Look) -> Page:
    """Lay the whole flow out."""
    head = guide_head(document.service, document.client, document.context, live=document.live)
    checks = (guide_check_page(check, look, context=document.context) for check in document.checks)
    return (*head, *(one for page in checks for one in page), *verdict_page(document, look))


def guide_head(service: str, client: str, context: str, *, live: bool) -> Page:
    """Lay the first lines out: who calls whom, and whether for real."""
    said = "with real DNS queries and connections" if live else "on the state as it was read; nothing is sent"
    return (
        line(Span(f"Service {service}", Style.HEAD), f", called from {client}"),
        line(Span(f"on {context}, {said}", Style.DIM)),
    )


def pod_page(document: PodDebugDocument, look: Look) -> Page:
    """Lay a pod's flow out."""
    head = pod_head(document.pod, document.node or "", document.context)
    checks = (guide_check_page(check, look, context=document.context) for check in document.checks)
    return (*head, *(one for page in checks for one in page), *pod_verdict_page(document, look))


def pod_head(pod: str, node: str, context: str) -> Page:
    """Lay the first lines of a pod's flow out."""
    return (
        line(Span(f"Pod {pod}", Style.HEAD), f", on {node}" if node else ", on no node"),
        line(Span(f"on {context}: how it comes to its address, step by step", Style.DIM)),
    )


def pod_verdict_page(document: PodDebugDocument, look: Look) -> Page:
    """Lay the last line out: where it ended."""
    return (line(""), _verdict(document.state, document.leaf, "Nothing is wrong with its address."))


def guide_check_page(check: GuideCheckView, look: Look, *, context: str = "") -> Page:
    """Lay one check out; its finding follows it."""
    style = _STYLES[check.state]
    symbol = {
        CheckState.PASSED: look.tick,
        CheckState.PROBLEM: look.cross,
        CheckState.UNKNOWN: "?",
        CheckState.SKIPPED: "-",
    }[check.state]
    axis = _AXES[check.axis]
    lines: list[Line] = [line(Span(f"{symbol} {check.title}", style), Span(f"  {axis}", Style.DIM))]
    if look.wide or check.state in (CheckState.PROBLEM, CheckState.UNKNOWN):
        for text in check.checked:
            lines.extend(_indented(text, look, Style.DIM))
        shown = () if check.findings and not look.wide else check.seen
        for piece in shown:
            lines.extend(_indented(piece.text, look, Style.CODE))
    word = {CheckState.UNKNOWN: "unknown: ", CheckState.SKIPPED: "not asked: "}.get(check.state, "")
    if check.conclusion and not check.findings:
        lines.extend(_indented(f"{word}{check.conclusion}", look, Style.PLAIN))
    for finding in check.findings[:1]:
        lines.append(line(""))
        lines.extend(finding_page(finding, look, context=context))
    return tuple(lines)


def _indented(text: str, look: Look, style: Style) -> list[Line]:
    return [line("    ", Span(piece, style)) for piece in wrapped(text, look.width - 4)]


def verdict_page(document: GuideDocument, look: Look) -> Page:
    """Lay the last lines out: where it ended, what was mended on the way."""
    lines: list[Line] = [line("")]
    for done in document.repairs:
        word = "repaired" if done.kept else "taken back"
        style = Style.GOOD if done.kept else Style.BAD
        note = f"  nettrace repair undo {done.entry}" if done.kept else f"  {done.reason}"
        lines.append(line(Span(f"{word}: {done.cause}", style), Span(note, Style.DIM)))
    good = "Nothing is wrong with it, as far as this client sees."
    lines.append(_verdict(document.state, document.leaf, good))
    return tuple(lines)


def _verdict(state: CheckState, leaf: str | None, good: str) -> Line:
    match state:
        case CheckState.PROBLEM:
            said = f"It ends at {leaf}." if leaf else "It fails, and no known cause fits."
            return line(Span(said, Style.BAD))
        case CheckState.UNKNOWN:
            return line(Span("No cause was found, and not everything could be decided.", Style.UNSURE))
        case _:
            return line(Span(good, Style.GOOD))
