"""
A walk on a page: the flow, one branch in full, how the others differ, what the client sees.

Lives here: ``trace`` for people: which branch is shown, and how the others end.
Not here: the legs of a branch (leg_text), what the client sees (summary_text), findings
(finding_text).
"""

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from nettrace.model.step import Verdict
from nettrace.render.contract import WalkDocument
from nettrace.render.contract_observed import ComparisonView
from nettrace.render.contract_walk import LegView, PathView, StepView
from nettrace.render.culprit import culprit
from nettrace.render.finding_text import finding_page
from nettrace.render.frame_text import frame_lines
from nettrace.render.leg_text import adds_nothing, end_of_leg, ending_text, leg_lines, name_width
from nettrace.render.observed_text import taken_paths
from nettrace.render.packet_text import end, ends
from nettrace.render.page import Line, Look, Page, Span, Style, line, titled
from nettrace.render.step_text import rows
from nettrace.render.summary_text import WELL, outcome_span, summary_lines

__all__ = ["walk_page"]

_LEG_TITLES = {
    "ack": "end of the handshake",
    "data": "a full-size segment",
    "reply-data": "a full-size answer",
}


def walk_page(document: WalkDocument, look: Look) -> Page:
    """Lay the whole answer of a trace out."""
    lines: list[Line] = [*_flow(document, look), ()]
    taken = taken_paths(document)
    shown = _shown(document.paths, taken)
    if look.wide:
        for path in document.paths:
            lines.extend(_branch(path, document, look))
    elif shown is not None:
        lines.extend(_branch(shown, document, look))
        lines.extend(_others(shown, document.paths, look))
    if document.observed is not None:
        lines.extend(frame_lines(document.observed.frames, look))
    if look.wide and document.names:
        lines.append(())
        lines.extend(
            line(Span(f"{ref.partition('/')[0]} {ref.rpartition('/')[2]}", Style.CODE), f"  {words}")
            for ref, words in document.names.items()
        )
    lines.append(())
    lines.extend(summary_lines(document, look))
    for finding in document.findings:
        lines.append(())
        lines.extend(finding_page(finding, look, context=document.context))
    return tuple(lines)


def _flow(document: WalkDocument, look: Look) -> list[Line]:
    flow = document.flow
    names = f"{flow.source} -> {flow.target}"
    packet = f"{flow.packet.proto}  {ends(flow.packet)}"
    head = Span("flow     ", Style.HEAD)
    if len(names) + len(packet) + len(document.context) + 15 <= look.width:
        return [line(head, Span(names, Style.NAME), "   ", packet, "   ", Span(document.context, Style.DIM))]
    return [
        line(head, Span(names, Style.NAME), "   ", Span(document.context, Style.DIM)),
        line("         ", packet),
    ]


# --- branches ----------------------------------------------------------------------------


def _shown(paths: Sequence[PathView], taken: Collection[int] = ()) -> PathView | None:
    """
    Return the branch to show in full: one that fails before others, then one that a real connection took.

    Of those left, the most probable.
    """
    failing = [index for index, path in enumerate(paths) if path.outcome not in WELL]
    best = max(
        failing or range(len(paths)),
        key=lambda index: (index in taken, paths[index].probability),
        default=None,
    )
    return paths[best] if best is not None else None


def _comparison(path: PathView, document: WalkDocument) -> ComparisonView | None:
    """Return the comparison of a real connection that took this branch, one that parts from it first."""
    agreement = document.agreement
    found = [one for one in agreement.comparisons if document.paths[one.path] is path] if agreement else []
    return min(found, key=lambda one: one.parted is None, default=None)


def _branch(path: PathView, document: WalkDocument, look: Look) -> list[Line]:
    marked = culprit(path, document.findings)
    cause = document.findings[0].cause if document.findings else ""
    comparison = _comparison(path, document)
    checked = comparison.checked if comparison is not None else {}
    laid = [
        (
            leg,
            rows(
                leg,
                failed=leg.kind == path.failed,
                culprit=marked,
                wide=look.wide,
                checked=checked.get(leg.kind, ()),
            ),
        )
        for leg in _legs(path, wide=look.wide)
    ]
    every = [row for _, found in laid for row in found]
    names = name_width(every)
    places = min(max((len(row.place) for row in every), default=0), 15)
    lines: list[Line] = []
    for leg, found in laid:
        title = _LEG_TITLES.get(leg.kind, leg.kind)
        about = _about(path, document.paths) if leg is path.request else ""
        lines.extend(titled(title, about, look, Style.DIM))
        ending = ending_text(leg) if leg.kind == path.failed or leg.verdict is not Verdict.DELIVERED else ""
        if ending and found and found[-1].mark == "x" and adds_nothing(found[-1], leg):
            found[-1] = replace(found[-1], text=ending)
            ending = ""
        lines.extend(leg_lines(found, names, places, cause, look))
        if ending:
            lines.extend(end_of_leg(leg, ending, look))
    return lines


def _legs(path: PathView, *, wide: bool) -> list[LegView]:
    """Return the legs to show: request and reply, and the further ones if they tell something."""
    legs = [path.request]
    if path.reply is not None:
        legs.append(path.reply)
    legs.extend(leg for leg in path.legs if wide or leg.kind == path.failed)
    return legs


def _about(path: PathView, paths: Sequence[PathView]) -> str:
    """``(1 of 3 branches: endpoint 10.244.1.10:9376 in hostnames-1, p = 0.33; 1 more is alike)``."""
    if len(paths) == 1:
        return ""
    said = f"1 of {len(paths)} branches: "
    if path.endpoint is not None:
        said += f"{_endpoint(path)}, "
    said += f"p = {path.probability:.2f}"
    alike = sum(_kind(other) == _kind(path) for other in paths) - 1
    if alike:
        said += f"; {alike} more {'is' if alike == 1 else 'are'} alike"
    return f"({said})"


def _endpoint(path: PathView) -> str:
    endpoint = path.endpoint
    if endpoint is None:
        return "nobody"
    return f"endpoint {end(endpoint.address, endpoint.port)} in {endpoint.netns}"


def _kind(path: PathView) -> tuple[object, ...]:
    """Two branches of one kind end alike, at the same stage and for the same reason."""
    failing = next(
        (leg for leg in (path.request, path.reply, *path.legs) if leg and leg.kind == path.failed), None
    )
    last: StepView | None = failing.steps[-1] if failing is not None and failing.steps else None
    where = (last.stage, last.hook, last.table) if last is not None else ()
    return path.verdict, path.outcome, path.errno, path.failed, where


def _others(shown: PathView, paths: Sequence[PathView], look: Look) -> list[Line]:
    """Say how the branches that are not alike end, one line a kind."""
    kinds: dict[tuple[object, ...], list[PathView]] = {}
    for path in paths:
        if _kind(path) != _kind(shown):
            kinds.setdefault(_kind(path), []).append(path)
    lines: list[Line] = []
    for found in kinds.values():
        first = found[0]
        names = ", ".join(_endpoint(path).removeprefix("endpoint ") for path in found[:3])
        if len(found) > 3:
            names += f" and {len(found) - 3} more"
        head = Span("others   " if not lines else "         ", Style.HEAD)
        verdict = "" if first.outcome in WELL else f"  {first.verdict.value}"
        probability = f"  p = {sum(path.probability for path in found):.2f}  "
        tail: list[str | Span] = [
            outcome_span(first, look),
            verdict,
            f"  {first.reason}" if first.reason else "",
        ]
        lines.append(line(head, names, Span(probability, Style.DIM), *tail))
    return lines
