"""
Frames of a probe on a page: on every device, in the order of time.

Lives here: the lines of ``-o wide`` and ``--frames``.
"""

from collections.abc import Sequence

from nettrace.render.contract_observed import FrameView
from nettrace.render.packet_text import ends, inner_ends
from nettrace.render.page import Line, Look, Span, Style, line

__all__ = ["frame_lines"]


def frame_lines(frames: Sequence[FrameView], look: Look) -> list[Line]:
    """Return the frames of the first connection: all on a wide page, else those that were dissected."""
    shown = [one for one in frames if one.attempt == 0 and (look.wide or one.layers)]
    if not shown:
        return []
    start = min(one.time for one in shown)
    wheres = [f"{one.netns} {one.device}" for one in shown]
    width = max(len(where) for where in wheres)
    lines: list[Line] = [(), line(Span("frames", Style.HEAD))]
    for one, where in zip(shown, wheres, strict=True):
        carried = f"  carries {inner_ends(one.packet)}" if one.tunnelled else ""
        head = f"  {(one.time - start) * 1000:8.3f} ms  "
        said = f"{one.direction:3}  {one.leg:7}  {one.packet.proto} {ends(one.packet)}  ttl {one.packet.ttl}"
        lines.append(line(Span(head, Style.DIM), Span(where.ljust(width), Style.NAME), "  ", said, carried))
        lines.extend(line(" " * 16, Span(layer, Style.DIM)) for layer in one.layers)
    return lines
