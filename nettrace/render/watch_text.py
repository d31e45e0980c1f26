"""
A drop as ``watch`` shows it: a line, and below it what the walk says.

Lives here: words for the document Drop.
"""

from msgspec import UNSET

from nettrace.model.step import Verdict
from nettrace.render.contract import DropDocument, PredictedView
from nettrace.render.contract_observed import SeenStepView
from nettrace.render.contract_walk import LegView, PacketView
from nettrace.render.packet_text import ends, inner_ends
from nettrace.render.page import Line, Look, Page, Span, Style, line, wrapped
from nettrace.render.step_text import rows

__all__ = ["drop_page"]

_INDENT = " " * 14


def drop_page(document: DropDocument, look: Look) -> Page:
    """
    Lay one drop out.

    ``12:01:07.512  node-a eth0  tcp 10.0.0.1:4242 -> 10.0.0.2:80 SYN  NETFILTER_DROP (nft_do_chain)``
    """
    clock = document.time[11:23]
    where = document.netns or ""
    device = document.iif or document.device
    if document.iif and document.device and document.device != document.iif:
        device = f"{document.iif}>{document.device}"
    if device:
        where = f"{where} {device}".strip()
    by = f" ({document.function})" if document.function else ""
    times = f"  {document.count} times" if document.count > 1 else ""
    again = "  again" if document.repeated else ""
    lines: list[Line] = [
        line(
            Span(clock, Style.DIM),
            "  ",
            Span(f"{where}  " if where else "", Style.NAME),
            f"{_packet(document.packet)}  " if document.packet is not None else "",
            Span(document.reason, Style.BAD),
            Span(by, Style.DIM),
            f"{times}{again}",
        )
    ]
    if document.confirmed is not None:
        lines += _below(Span("confirmed", Style.GOOD), _rule(document.confirmed), look)
    elif document.predicted is not None and (not document.repeated or look.wide):
        lines += _prediction(document.predicted, look)
    return tuple(lines)


def _packet(packet: PacketView) -> str:
    carrier = ""
    if packet.inner is not UNSET and not packet.proto.startswith("icmp"):
        carrier, packet = f" (inside {ends(packet)})", packet.inner
    flags = f" {','.join(packet.tcp_flags)}" if packet.tcp_flags is not UNSET and packet.tcp_flags else ""
    about = f" about {inner_ends(packet)}" if inner_ends(packet) else ""
    return f"{packet.proto} {ends(packet)}{flags}{about}{carrier}"


def _prediction(predicted: PredictedView, look: Look) -> list[Line]:
    if predicted.fits is None:
        return _below(Span("UNKNOWN", Style.UNSURE), f"the walk cannot tell: {predicted.reason}", look)
    if not predicted.fits:
        text = f"the walk does not explain it: {predicted.verdict.value}"
        return _below(Span("predicted", Style.UNSURE), f"{text}: {predicted.reason}".rstrip(": "), look)
    said = predicted.verdict.value
    if predicted.step is not None:
        said = f"{said}  {_step(predicted)}"
    return _below(Span("predicted", Style.HEAD), said, look)


def _step(predicted: PredictedView) -> str:
    step, verdict = predicted.step, predicted.verdict
    if step is None:
        return ""
    if step.chain is not None:
        rule = "policy" if step.rule == 0 else f"rule {step.rule}"
        legacy = " (legacy)" if step.backend == "legacy" else ""
        why = f": {step.why.text}" if step.why is not None and step.rule else ""
        return f"{(step.hook or '').upper()}  {step.table} {step.chain} {rule}{legacy}  {step.verdict}{why}"
    leg = LegView(kind="request", verdict=verdict, reason="", steps=(step,))
    row = rows(leg, failed=verdict is not Verdict.DELIVERED, culprit=None, wide=True)[0]
    return f"{row.place}  {row.text}"


def _rule(seen: SeenStepView) -> str:
    rule = "policy" if seen.rule == 0 else f"rule {seen.rule}" if seen.rule else f"handle {seen.handle}"
    return f"{seen.hook.upper()}  {seen.family} {seen.table} {seen.chain} {rule}  {seen.verdict}"


def _below(head: Span, text: str, look: Look) -> list[Line]:
    room = max(look.width - len(_INDENT) - len(head.text) - 2, 20)
    first, *more = wrapped(text, room)
    return [
        line(_INDENT, head, "  ", first),
        *(line(_INDENT, " " * (len(head.text) + 2), part) for part in more),
    ]
