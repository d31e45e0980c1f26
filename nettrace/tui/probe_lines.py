"""
The probe on the screen: what the client saw, where walk and kernel part, the frames.

Lives here: lines.  Not here: the comparison (nettrace.align), the probe (nettrace.observe).
"""

from collections.abc import Collection

from nettrace.model.walk import Outcome
from nettrace.render.contract import WalkDocument
from nettrace.render.contract_observed import ObservedView
from nettrace.render.observed_text import observed_text
from nettrace.render.packet_text import ends
from nettrace.render.page import Line, Look, Span, Style, line, wrapped
from nettrace.tui.entries import Entry, Listed

__all__ = ["probe_list"]


def probe_list(document: WalkDocument | None, folded: Collection[str], look: Look, *, probe: str) -> Listed:
    """Return what a probe showed; where none was sent, that the key *probe* sends it."""
    if document is None or document.observed is None:
        return Listed([Entry(line(f"no packet has been sent yet: {probe} sends the real one and compares"))])
    observed = document.observed
    entries = [Entry(line(Span("observed  ", Style.HEAD), observed_text(observed)))]
    entries.extend(Entry(spans) for spans in _agreement(document, look))
    for number, attempt in enumerate(observed.attempts, 1):
        good = attempt.outcome is Outcome.CONNECTED
        sign = Span(f"{look.tick if good else look.cross} {attempt.outcome.value}", _style(good=good))
        errno = f" {attempt.errno}" if attempt.errno else ""
        answer = f"  answer {attempt.answer}" if attempt.answer else ""
        source = f"  from {attempt.source or '?'}:{attempt.sport or '?'}"
        told = f"{errno}  {attempt.delay * 1000:.0f} ms{source}{answer}"
        entries.append(Entry(line(f"  {number:>3}  ", sign, told), problem=not good))
    for drop in observed.drops:
        packet = f"  {ends(drop.packet)}" if drop.packet is not None else ""
        words = f"dropped  {drop.netns or '?'} {drop.device or ''}  {drop.reason}  {drop.leg}{packet}"
        entries.append(Entry(line(Span(f"{look.cross} {words}", Style.BAD)), problem=True))
    entries.extend(_frames(observed, folded, look))
    entries.extend(Entry(line(Span(f"note: {note}", Style.DIM))) for note in observed.notes)
    return Listed(entries)


def _style(*, good: bool) -> Style:
    return Style.GOOD if good else Style.BAD


def _agreement(document: WalkDocument, look: Look) -> list[Line]:
    agreement = document.agreement
    if agreement is None:
        return []
    words = {
        True: Span(f"{look.tick} agrees with the walk", Style.GOOD),
        False: Span(f"{look.unlike} differs from the walk", Style.BAD),
        None: Span("? cannot be compared with the walk", Style.UNSURE),
    }
    compared = sum(one.compared for one in agreement.comparisons)
    agreed = sum(one.agreed for one in agreement.comparisons)
    lines = [line(Span("          "), words[agreement.agrees], f" in {agreed} of {compared} steps")]
    for difference in agreement.differences:
        lines.extend(
            line(Span(f"{look.unlike} {piece}", Style.BAD)) for piece in wrapped(difference, look.width - 2)
        )
    for one in agreement.comparisons:
        if one.parted is not None:
            parted = one.parted
            words_ = f"{parted.leg} in {parted.netns}: predicted {parted.predicted}, seen {parted.observed}"
            lines.extend(
                line(Span(f"{look.unlike} {piece}", Style.BAD)) for piece in wrapped(words_, look.width - 2)
            )
    return lines


def _frames(observed: ObservedView, folded: Collection[str], look: Look) -> list[Entry]:
    """Return the frames in a table, each with its layers under it while it is unfolded."""
    if not observed.frames:
        return []
    entries = [
        Entry(()),
        Entry(line(Span("    TIME      LEG      WHERE                 PACKET", Style.HEAD))),
    ]
    begin = min(frame.time for frame in observed.frames)
    for number, frame in enumerate(observed.frames):
        fold = f"frame/{number}"
        shown = fold in folded  # frames begin folded: what is unfolded is remembered
        sign = ("-" if shown else "+") if look.ascii else ("\u25be" if shown else "\u25b8")
        way = "<" if frame.direction == "in" else ">"
        place = f"{frame.netns} {frame.device} {way}"
        time = f"{(frame.time - begin) * 1000:8.3f}ms"
        text = f"{sign if frame.layers else ' '} {time}  {frame.leg:<8} {place:<21} {ends(frame.packet)}"
        tunnel = "  in a tunnel" if frame.tunnelled else ""
        entries.append(Entry(line(text, Span(tunnel, Style.DIM)), key=frame, fold=fold))
        if shown:
            entries.extend(Entry(line(Span(f"      {layer}", Style.DIM))) for layer in frame.layers)
    return entries
