"""
A walk on a page: the flow, one branch in full, how the others differ, what the client sees.

Lives here: ``trace`` for people.  Not here: single steps (nettrace.render.step_text),
findings (nettrace.render.finding_text).
"""

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from nettrace.model.policy_verdict import Enforced
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.render.contract import WalkDocument
from nettrace.render.contract_observed import ComparisonView, ObservedView
from nettrace.render.contract_walk import LegView, PathView, StepView
from nettrace.render.culprit import culprit
from nettrace.render.drop_text import drop_lines
from nettrace.render.finding_text import finding_page
from nettrace.render.frame_text import frame_lines
from nettrace.render.packet_text import end, ends
from nettrace.render.page import Line, Look, Page, Span, Style, line, width_of, wrapped
from nettrace.render.step_text import Row, rows

__all__ = ["observed_text", "outcomes_text", "walk_page"]

_LEG_TITLES = {
    "ack": "end of the handshake",
    "data": "a full-size segment",
    "reply-data": "a full-size answer",
}

_WELL = frozenset({Outcome.CONNECTED})
_UNSURE = frozenset({Outcome.UNKNOWN})

#: Branches whose probabilities differ by less count as drawn alike: 1/3 is no 31-bit number.
_ALIKE = 1e-6

_INDENT = "  "

#: Words of a step that say no more than the leg's verdict does.
_BARE = frozenset({*(verdict.value.lower() for verdict in Verdict), "drop", "dropped", "stop", "unknown", ""})


def walk_page(document: WalkDocument, look: Look) -> Page:
    """Lay the whole answer of a trace out."""
    lines: list[Line] = [*_flow(document, look), ()]
    taken = _taken(document)
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
    lines.extend(_summary(document, look))
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
    failing = [index for index, path in enumerate(paths) if path.outcome not in _WELL]
    best = max(
        failing or range(len(paths)),
        key=lambda index: (index in taken, paths[index].probability),
        default=None,
    )
    return paths[best] if best is not None else None


def _taken(document: WalkDocument) -> frozenset[int]:
    """Return the indexes of the branches that real connections took."""
    agreement = document.agreement
    return frozenset(one.path for one in agreement.comparisons) if agreement is not None else frozenset()


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
    names = _name_width(every)
    places = min(max((len(row.place) for row in every), default=0), 15)
    lines: list[Line] = []
    for leg, found in laid:
        title = _LEG_TITLES.get(leg.kind, leg.kind)
        about = _about(path, document.paths) if leg is path.request else ""
        lines.extend(_titled(title, about, look, Style.DIM))
        ending = _ending(leg) if leg.kind == path.failed or leg.verdict is not Verdict.DELIVERED else ""
        if ending and found and found[-1].mark == "x" and _adds_nothing(found[-1], leg):
            found[-1] = replace(found[-1], text=ending)
            ending = ""
        lines.extend(_leg_lines(found, names, places, cause, look))
        if ending:
            lines.extend(_end_of_leg(leg, ending, look))
    return lines


def _titled(title: str, text: str, look: Look, style: Style = Style.PLAIN) -> list[Line]:
    """Put *text* behind a title, broken at the width, the further lines below the first."""
    head = title.ljust(9)
    pieces = list(wrapped(text, max(look.width - len(head), 40)))
    return [
        line(Span(head if not index else " " * len(head), Style.HEAD), Span(piece, style))
        for index, piece in enumerate(pieces)
    ]


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
        verdict = "" if first.outcome in _WELL else f"  {first.verdict.value}"
        probability = f"  p = {sum(path.probability for path in found):.2f}  "
        tail: list[str | Span] = [
            _outcome_span(first, look),
            verdict,
            f"  {first.reason}" if first.reason else "",
        ]
        lines.append(line(head, names, Span(probability, Style.DIM), *tail))
    return lines


# --- legs --------------------------------------------------------------------------------


def _name_width(every: Sequence[Row]) -> int:
    return min(max((len(row.netns) for row in every), default=0), 14)


def _leg_lines(found: Sequence[Row], names: int, places: int, cause: str, look: Look) -> list[Line]:
    """Lay rows out: a name is said once, an effect stands on the right where there is room."""
    lines: list[Line] = []
    before: tuple[str, str] | None = None
    place_before = ""
    with_ticks = any(row.seen is not None for row in found)
    for row in found:
        fresh = row.netns != before[0] if before else True
        name = row.netns if fresh else ""
        if len(name) > names:
            lines.append(line(_INDENT, Span(name, Style.NAME)))
            name = ""
        place = row.place if fresh or row.place != place_before or row.mark else ""
        before, place_before = (row.netns, row.place), row.place
        style = {"x": Style.BAD, "!": Style.WARN}.get(row.mark, Style.PLAIN)
        lead: list[str | Span] = [
            _INDENT,
            Span(name.ljust(names), Style.NAME),
            " ",
            *_marks(row, style, look, with_ticks=with_ticks),
            Span(place.ljust(places), style),
            "  ",
        ]
        told = row
        if row.is_culprit and cause:
            tail = f"<- {cause}"
            fits = width_of(line(*lead)) + len(row.text) + 3 + len(tail) <= look.width
            text = f"{row.text}   {tail}" if fits else row.text
            told = replace(row, text=text, effects=row.effects if fits else (*row.effects, tail))
        lines.extend(_row_lines(line(*lead), told, style, look))
    return lines


def _marks(row: Row, style: Style, look: Look, *, with_ticks: bool) -> tuple[Span, ...]:
    """What the walk says of the row, and with a probe whether it was seen so."""
    if not with_ticks:
        return (Span(row.mark.ljust(2), style),)
    seen = Span(" ")
    if row.seen is not None:
        seen = Span(look.tick, Style.GOOD) if row.seen else Span(look.unlike, Style.BAD)
    return (Span(row.mark.ljust(1), style), seen, Span(" "))


def _row_lines(lead: Line, row: Row, style: Style, look: Look) -> list[Line]:
    """Put the text of a row and its effects behind *lead*, on as many lines as it takes."""
    at = width_of(lead)
    room = max(look.width - at, 24)
    text = row.text
    effect = ", ".join(row.effects)
    if len(text) + len(effect) + 2 <= room:
        gap = max(2, min(room - len(effect) - len(text), 40 - len(text))) if effect else 0
        lines = [(*lead, *line(Span(text, style), " " * gap, Span(effect, Style.CHANGE)))]
    else:
        pieces = list(wrapped(text, room - 2))
        lines = [(*lead, *line(Span(pieces[0], style)))]
        lines.extend(line(" " * (at + 2), Span(piece, style)) for piece in pieces[1:])
        last = width_of(lines[-1])
        if effect and last + 2 + len(effect) <= look.width:
            gap = max(2, min(look.width - len(effect) - last, at + 40 - last))
            lines[-1] = (*lines[-1], *line(" " * gap, Span(effect, Style.CHANGE)))
        else:
            lines.extend(line(" " * (at + 2), Span(part, Style.CHANGE)) for part in row.effects)
    if look.wide and row.ref:
        lines.append(line(" " * (at + 2), Span(row.ref, Style.DIM)))
    return lines


def _adds_nothing(row: Row, leg: LegView) -> bool:
    """Does the last row of a leg say no more than how the leg ended?"""
    verdict, _, words = row.text.partition("  ")
    said = words.partition("  ")[0]  # what stands after it is the state that says so
    return verdict.lower() in _BARE and (said in leg.reason or leg.reason in said)


def _ending(leg: LegView) -> str:
    return f"{leg.verdict.value}: {leg.reason}" if leg.reason else leg.verdict.value


def _end_of_leg(leg: LegView, words: str, look: Look) -> list[Line]:
    """Say how a leg ended that did not arrive."""
    style = Style.UNSURE if leg.verdict is Verdict.UNKNOWN else Style.BAD
    symbol = "?" if leg.verdict is Verdict.UNKNOWN else "x"
    pieces = list(wrapped(words, max(look.width - 6, 40)))
    return [
        line(_INDENT, Span(f"{symbol} {piece}" if not index else f"  {piece}", style))
        for index, piece in enumerate(pieces)
    ]


# --- what the client sees ------------------------------------------------------------------


def _summary(document: WalkDocument, look: Look) -> list[Line]:
    unknown = sum(path.verdict is Verdict.UNKNOWN for path in document.paths)
    groups: dict[tuple[Outcome, str | None], list[PathView]] = {}
    for path in sorted(document.paths, key=lambda path: -path.probability):
        groups.setdefault((path.outcome, path.errno), []).append(path)
    ordered = sorted(groups.values(), key=lambda paths: paths[0].outcome in _WELL)
    lines = []
    for index, paths in enumerate(ordered):
        share = _share(paths, document.paths) if len(ordered) > 1 else _after(paths[0])
        tail = ""
        if index == len(ordered) - 1:
            branches = f"{len(document.paths)} branch" + ("es" if len(document.paths) > 1 else "")
            tail = f"   (walked {branches}, {unknown} unknown)"
        lines.append(line(_outcome_span(paths[0], look), share, Span(tail, Style.DIM)))
    diagnosis = document.diagnosis
    if diagnosis.goal:
        met = {True: ("met", Style.GOOD), False: ("not met", Style.BAD), None: ("undecided", Style.UNSURE)}
        word, style = met[diagnosis.met]
        lines.extend(_titled("owed", diagnosis.goal, look))
        lines[-1] = (*lines[-1], *line(": ", Span(word, style)))
    for policy in document.policies:
        lines.extend(_policy(policy, look))
    for note in diagnosis.notes:
        if not look.wide and any(path.reason and path.reason in note for path in document.paths):
            continue  # the branch's own line says it
        lines.extend(_titled("note", note, look))
    if document.observed is not None:
        lines.extend(_observed(document.observed, document, look))
    return lines


def _policy(policy: Enforced, look: Look) -> list[Line]:
    """Say which policies decide, and where the node does otherwise; nothing where none has a say."""
    verdict = policy.verdict
    if not (verdict.is_judged or policy.agrees is False or (verdict.needs and look.wide)):
        return []
    lines = _titled("policy", verdict.words(), look)
    if policy.agrees is not None:
        word, style = ("the node agrees", Style.GOOD) if policy.agrees else (f"but {policy.node}", Style.BAD)
        lines[-1] = (*lines[-1], *line(": ", Span(word, style)))
    for note in (*verdict.egress.notes, *verdict.ingress.notes) if look.wide else ():
        lines.extend(_titled("", note, look))
    return lines


def _outcome_span(path: PathView, look: Look) -> Span:
    if path.outcome in _WELL:
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


def _observed(observed: ObservedView, document: WalkDocument, look: Look) -> list[Line]:
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
        branches = len(_taken(document))
        tail = f"  ({len(agreement.comparisons)} connections, {branches} branch{'es' * (branches > 1)})"
    lines.append(line("         ", word, Span(tail, Style.DIM)))
    dropped = drop_lines(observed.drops, wide=look.wide)
    for said in (*agreement.differences, *dropped, *observed.notes):
        lines.extend(_titled("", said, look))
    return lines


def _delay(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
