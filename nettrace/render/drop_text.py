"""
What the kernel dropped, in words.

Lives here: one line for drops that are alike.
"""

from collections.abc import Sequence

from nettrace.align.drops import is_noise
from nettrace.render.contract_observed import DropView

__all__ = ["drop_lines"]

#: What follows a handshake is not compared.
_LATER = frozenset({"data", "reply-data"})


def drop_lines(drops: Sequence[DropView], *, wide: bool = False) -> list[str]:
    """
    ``request dropped in node-a at eth0: NETFILTER_DROP (nft_do_chain), 2 times``.

    Unless *wide*, without what says nothing about the packet's way.
    """
    counted: dict[tuple[str, str, str, str, str], int] = {}
    for drop in drops:
        if not wide and (drop.leg in _LATER or is_noise(drop.reason, drop.function or "")):
            continue
        what = (drop.leg, drop.netns or "", drop.device or "", drop.reason, drop.function or "")
        counted[what] = counted.get(what, 0) + drop.count
    return [_line(*what, count) for what, count in counted.items()]


def _line(leg: str, netns: str, device: str, reason: str, function: str, count: int) -> str:
    where = f" in {netns}" if netns else ""
    at = f" at {device}" if device else ""
    by = f" ({function})" if function else ""
    times = f", {count} times" if count > 1 else ""
    return f"{leg or 'packet'} dropped{where}{at}: {reason}{by}{times}"
