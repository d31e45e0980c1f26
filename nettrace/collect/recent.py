"""
The lists of ``-m recent``, from /proc/net/xt_recent.

Lives here: text to model types, and the kernel's tick counter as a time.
Source: net/netfilter/xt_recent.c, recent_seq_show(); include/linux/jiffies.h (INITIAL_JIFFIES).
"""

import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from nettrace.model.recent import RecentEntry, RecentList

__all__ = ["parse_list", "read_recent"]

#: Of the calling thread's own namespace, whatever the process is in.
_LISTS = Path("/proc/thread-self/net/xt_recent")

#: A clock that moves once a tick, so that its resolution is the tick's length (time(7)).
_CLOCK_MONOTONIC_COARSE = 6

#: The counter begins that long before its 32 bits are full, to show who forgets that it wraps.
_BEGINS_BEFORE = 300


def read_recent() -> tuple[RecentList, ...]:
    """Read all lists of the calling thread's namespace; none where no rule has the match."""
    if not _LISTS.is_dir():
        return ()
    return tuple(RecentList(name=name, entries=tuple(parse_list(text, *_ticks()))) for name, text in _texts())


def _texts() -> Iterator[tuple[str, str]]:
    for path in sorted(_LISTS.iterdir()):
        try:
            yield path.name, path.read_text(encoding="ascii")
        except FileNotFoundError:
            continue  # the last rule that named it went away meanwhile


def _ticks() -> tuple[float, int]:
    """Return the tick counter's value now, some ticks too large, and how often it ticks a second."""
    rate = round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
    begun = (1 << 32) - _BEGINS_BEFORE * rate
    return begun + time.monotonic() * rate, rate


def parse_list(text: str, now: float, rate: int) -> Iterator[RecentEntry]:
    """
    Yield the entries of one list, as its file has them.

    *now* is the kernel's tick counter, *rate* its ticks a second.  A line is ``src=ADDRESS ttl: N last_seen:
    TICK oldest_pkt: N TICK, TICK...``.
    """
    for line in text.splitlines():
        words = line.replace(",", " ").split()
        yield RecentEntry(
            address=str(ip_address(words[0].partition("=")[2])),
            ttl=int(words[2]),
            ages=tuple(round(max(0.0, now - int(stamp)) / rate, 3) for stamp in words[7:]),
        )
