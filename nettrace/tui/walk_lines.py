"""
The walk as a list: legs, namespaces that fold, one line a row; and a row in full.

Lives here: lines and what they stand for.  Not here: rows (nettrace.render.step_text), the
widget (nettrace.tui.lines).
"""

from collections.abc import Collection, Sequence

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.render.contract import WalkDocument
from nettrace.render.contract_walk import LegView, PacketView, PathView, StepView
from nettrace.render.culprit import culprit
from nettrace.render.finding_text import finding_page
from nettrace.render.packet_text import ends
from nettrace.render.page import Line, Look, Span, Style, line, wrapped
from nettrace.render.step_text import Row, rows
from nettrace.tui.entries import Entry, Listed, listed

__all__ = ["branches", "detail", "findings", "summary", "walk_list"]

_TITLES = {"ack": "end of the handshake", "data": "full-size segment", "reply-data": "full-size answer"}


def branches(document: WalkDocument) -> list[PathView]:
    """Return the branches, those that fail first, then by probability."""
    return sorted(document.paths, key=lambda path: (path.outcome is Outcome.CONNECTED, -path.probability))


def walk_list(document: WalkDocument, branch: int, folded: Collection[str], look: Look) -> Listed:
    """Return the lines of one branch, by its number in `branches`."""
    every = branches(document)
    path = every[branch]
    entries = [Entry(_branch_line(path, branch, len(every)))] if len(every) > 1 else []
    marked = culprit(path, document.findings)
    checked = _checked(document, path)
    for leg in _legs(path):
        failed = leg.kind == path.failed
        entries.append(Entry(_leg_line(leg, look)))
        found = rows(leg, failed=failed, culprit=marked, wide=False, checked=checked.get(leg.kind, ()))
        entries.extend(_leg(leg, found, folded, look))
    return Listed(entries)


def _legs(path: PathView) -> list[LegView]:
    legs = [path.request, *([path.reply] if path.reply is not None else [])]
    legs.extend(leg for leg in path.legs if leg.kind == path.failed)
    return legs


def _checked(document: WalkDocument, path: PathView) -> dict[str, tuple[bool | None, ...]]:
    """Return what a real connection showed of this branch."""
    found = document.agreement.comparisons if document.agreement is not None else ()
    mine = [one for one in found if document.paths[one.path] is path]
    return min(mine, key=lambda one: one.parted is None).checked if mine else {}


def _branch_line(path: PathView, number: int, count: int) -> Line:
    where = f"  {path.endpoint.netns} {path.endpoint.address}" if path.endpoint is not None else ""
    return line(Span(f"branch {number + 1} of {count}  p {path.probability:.2f}{where}", Style.DIM))


def _leg_line(leg: LegView, look: Look) -> Line:
    title = _TITLES.get(leg.kind, leg.kind)
    return line(Span(f"{title}  ", Style.HEAD), _verdict(leg.verdict, look))


def _verdict(verdict: Verdict, look: Look) -> Span:
    """Return a verdict as symbol, word and colour."""
    if verdict is Verdict.DELIVERED:
        return Span(f"{look.tick} {verdict.value}", Style.GOOD)
    if verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT):
        return Span(f"? {verdict.value}", Style.UNSURE)
    return Span(f"{look.cross} {verdict.value}", Style.BAD)


def _leg(leg: LegView, found: Sequence[Row], folded: Collection[str], look: Look) -> list[Entry]:
    """Return the rows under the names of the namespaces that they are in."""
    entries: list[Entry] = []
    visit, before = 0, None
    probed = any(row.seen is not None for row in found)
    places = min(max((len(row.place) for row in found), default=0), 12)
    for index, row in enumerate(found):
        fold = f"{leg.kind}/{visit}"
        if row.netns != before:
            visit, before = visit + 1, row.netns
            fold = f"{leg.kind}/{visit}"
            shut = fold in folded
            inside = next(
                (n for n, r in enumerate(found[index:]) if r.netns != row.netns), len(found) - index
            )
            bad = shut and any(r.mark for r in found[index : index + inside])
            sign = ("+" if shut else "-") if look.ascii else ("\u25b8" if shut else "\u25be")
            node = f"  on {row.node}" if row.node and row.node != row.netns else ""
            more = f"  {inside} rows" if shut else ""
            head = line(Span(f"{sign} {row.netns}", Style.NAME), Span(node + more, Style.DIM), *_bang(bad))
            entries.append(Entry(head, key=None, problem=bad, fold=fold))
        if fold in folded:
            continue
        entries.append(Entry(_row(row, places, look, probed=probed), key=(leg, row), problem=bool(row.mark)))
    if leg.reason and leg.verdict is not Verdict.DELIVERED:
        style = Style.UNSURE if leg.verdict is Verdict.UNKNOWN else Style.BAD
        entries.append(Entry(line("  ", Span(leg.reason, style)), key=(leg, found[-1]) if found else None))
    return entries


def _bang(bad: bool) -> list[Span]:
    return [Span("  !", Style.WARN)] if bad else []


def _row(row: Row, places: int, look: Look, *, probed: bool) -> Line:
    sign = {"x": look.cross, "!": "!"}.get(row.mark, " ")
    style = {"x": Style.BAD, "!": Style.WARN}.get(row.mark, Style.PLAIN)
    parts: list[str | Span] = [Span(f"{sign} ", style)]
    if probed:
        seen = {True: Span(look.tick, Style.GOOD), False: Span(look.unlike, Style.BAD)}
        parts.extend((seen.get(row.seen, Span(" ")) if row.seen is not None else Span(" "), " "))
    parts.append(Span(f"{row.place:<{places}}  ", style))
    effects = f"  {', '.join(row.effects)}" if row.effects else ""
    room = look.width - places - 4 - len(effects) - (2 if probed else 0)
    parts.append(Span(_shortened(row.text, room, look), style))
    parts.append(Span(effects, Style.CHANGE))
    return line(*parts)


def _shortened(text: str, room: int, look: Look) -> str:
    """Leave out the first chains of a way where it is too long: the last one decides."""
    table, gap, way = text.partition("  ")
    chains = way.split(" > ")
    dots = "..." if look.ascii else "\u2026"
    while len(text) > room and len(chains) > 1:
        del chains[0]
        text = f"{table}{gap}{dots} > {' > '.join(chains)}"
    return text


# --- one row in full ---------------------------------------------------------------------


def detail(leg: LegView, row: Row, document: WalkDocument, look: Look) -> Listed:
    """Return everything that is known of a row: the finding if it is the one, each step, the packet."""
    entries: list[Entry] = []
    if row.mark and document.findings:
        page = finding_page(document.findings[0], look, context=document.context)
        entries.extend(Entry(spans, key=document.findings[0].cause) for spans in page)
        entries.append(Entry(()))
    for step in row.steps:
        entries.extend(listed(_step(step, look), look.width).entries)
    last = row.steps[-1] if row.steps else None
    if last is not None and last.stops and leg.reason:
        entries.extend(Entry(line(Span(piece, Style.BAD))) for piece in wrapped(leg.reason, look.width))
    return Listed(entries)


def _step(step: StepView, look: Look) -> list[Line]:
    place = [step.netns, step.device, step.hook.upper() if step.hook else step.stage.value]
    if step.chain:
        rule = "policy" if step.rule == 0 else f"rule {step.rule}" if step.rule else ""
        place.extend((step.table, step.chain, rule))
    bad = Style.BAD if step.stops else Style.HEAD
    head = line(" ".join(part for part in place if part), "  ", Span(step.verdict, bad))
    lines = [head]
    texts = [step.why.text if step.why is not None else "", step.note]
    for number, text in enumerate(dict.fromkeys(text for text in texts if text)):
        style = Style.PLAIN if number else Style.CODE
        lines.extend(line("  ", Span(piece, style)) for piece in wrapped(text, look.width - 2))
    if step.before is not None and step.after is not None and step.after != step.before:
        old, new = _fields(step.before), _fields(step.after)
        lines.append(_packet("  before  ", old, new, Style.DIM))
        lines.append(_packet("  after   ", new, old, Style.CHANGE))
    elif (packet := step.after or step.before) is not None:
        lines.append(line(Span(f"  packet  {ends(packet)}  {_rest(packet)}", Style.DIM)))
    return lines


def _fields(packet: PacketView) -> list[str]:
    inner = [f"inner {ends(packet.inner)}"] if isinstance(packet.inner, PacketView) else []
    src, _, dst = ends(packet).partition(" -> ")
    return [src, "->", dst, *_rest(packet).split("  "), *inner]


def _rest(packet: PacketView) -> str:
    df = "  DF" if packet.df else ""
    return f"{packet.proto}  mark {packet.mark:#x}  ttl {packet.ttl}  size {packet.size}{df}"


def _packet(head: str, mine: Sequence[str], other: Sequence[str], changed: Style) -> Line:
    """Write a packet with what the other one has not marked by colour and by brackets."""
    parts: list[str | Span] = [Span(head, Style.DIM)]
    for field in mine:
        parts.append(Span(f"[{field}]", changed) if field not in other else Span(field, Style.DIM))
        parts.append(" ")
    return line(*parts)


# --- all of it ---------------------------------------------------------------------------


def findings(document: WalkDocument, look: Look) -> Listed:
    """Return all findings, what was owed, and notes."""
    entries: list[Entry] = []
    for finding in document.findings:
        page = finding_page(finding, look, context=document.context)
        entries.extend(
            Entry(spans, key=finding.cause, problem=not number) for number, spans in enumerate(page)
        )
        entries.append(Entry(()))
    diagnosis = document.diagnosis
    if diagnosis.goal:
        met = {True: "met", False: "not met", None: "undecided"}[diagnosis.met]
        entries.extend(Entry(line(piece)) for piece in wrapped(f"owed: {diagnosis.goal}: {met}", look.width))
    for note in diagnosis.notes:
        entries.extend(Entry(line(piece)) for piece in wrapped(f"note: {note}", look.width))
    return Listed(entries or [Entry(line("nothing is wrong that nettrace knows of"))])


def summary(document: WalkDocument, look: Look) -> Line:
    """Return the verdict on one line: what the client sees, in how many cases."""
    shares: dict[Outcome, float] = {}
    for path in document.paths:
        shares[path.outcome] = shares.get(path.outcome, 0) + path.probability
    parts: list[str | Span] = []
    for outcome, share in sorted(shares.items(), key=lambda pair: pair[0] is Outcome.CONNECTED):
        good, unsure = outcome is Outcome.CONNECTED, outcome is Outcome.UNKNOWN
        sign = look.tick if good else "?" if unsure else look.cross
        style = Style.GOOD if good else Style.UNSURE if unsure else Style.BAD
        told = f"{sign} {outcome.value}" + (f" {share:.0%}" if len(shares) > 1 else "")
        parts.extend((Span(told, style), "  "))
    if document.findings:
        parts.append(Span(document.findings[0].cause, Style.WARN))
    return line(*parts)
