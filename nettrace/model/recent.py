"""
What ``-m recent`` of iptables remembers: lists of addresses and when they were seen.

Lives here: the lists as types, and words for an entry.
Not here: what the match makes of them (nettrace.walk.recent), reading them (nettrace.collect.recent).
Source: net/netfilter/xt_recent.c, recent_seq_show().
"""

from msgspec import Struct

__all__ = ["RecentEntry", "RecentList"]


class RecentEntry(Struct, frozen=True, kw_only=True):
    """
    One address of a list.

    ``address`` is already masked as the list has it.  ``ttl`` is that of the last packet, 0 where a person
    put the address in.  ``ages`` are seconds from each time it was seen to the moment of reading.
    """

    address: str
    ttl: int = 0
    ages: tuple[float, ...] = ()

    @property
    def last_seen(self) -> float:
        """Seconds since it was last seen."""
        return min(self.ages, default=0.0)


class RecentList(Struct, frozen=True, kw_only=True):
    """One list of a namespace, ``/proc/net/xt_recent/NAME``; both families may use the same."""

    name: str
    entries: tuple[RecentEntry, ...] = ()
