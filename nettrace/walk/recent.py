"""
``-m recent``: has the address been seen, how lately, how often?

Lives here: the match over the lists of the snapshot, and what the walk itself has put into them.
Not here: reading the lists (nettrace.collect.recent).
Source: net/netfilter/xt_recent.c, recent_mt().
"""

from collections.abc import Hashable

from nettrace.model.addr import address_text, address_value, family_of
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.xt_match import Recent
from nettrace.walk.context import Run
from nettrace.walk.point import Answered, Unsure

__all__ = ["entry_of", "recent"]

#: Seconds by which an age may be wrong: the clock, and the time from the reading to the packet.
_SLACK = 1.0


def entry_of(lists: tuple[RecentList, ...], match: Recent, address: str) -> RecentEntry | None:
    """Return what a list holds of *address*."""
    masked = _masked(address, match.mask)
    held = next((one.entries for one in lists if one.name == match.name), ())
    return next((entry for entry in held if entry.address == masked), None)


def recent(run: Run, netns: str, match: Recent, address: str) -> Answered:
    """
    Does *match* hold for *address*, in *netns*?  The walk's own packet is put in as the kernel would.

    An age too near to ``--seconds`` is Unsure, and so is ``--rttl`` where it makes a difference.
    """
    key: tuple[Hashable, ...] = ("recent", netns, match.name, _masked(address, match.mask))
    gone = (*key, "removed")
    new = run.remembered.get(key, 0)
    if match.action == "set":
        run.remembered[key] = new + 1
        return not match.invert
    entry = None if gone in run.remembered else entry_of(run.section(netns, "recent"), match, address)
    if entry is None and not new:
        return match.invert
    if match.rttl and (new or (entry is not None and entry.ttl)):
        return Unsure(f"the TTL of what list {match.name} of -m recent saw is not compared")
    if match.action == "remove":
        run.remembered.pop(key, None)
        run.remembered[gone] = 1
        return not match.invert
    ages = (*(0.0 for _ in range(new)), *(entry.ages if entry is not None else ()))
    seen = _often(match, ages)
    if seen is None:
        return Unsure(f"what list {match.name} of -m recent saw is about as old as --seconds {match.seconds}")
    answer = seen != match.invert
    if match.action == "update" and answer:
        run.remembered[key] = new + 1
    return answer


def _often(match: Recent, ages: tuple[float, ...]) -> bool | None:
    """Was the address seen often enough in the time that counts?  None: it is too near to say."""
    wanted = match.hitcount or 1
    if not match.seconds:
        return len(ages) >= wanted
    if sum(age <= match.seconds - _SLACK for age in ages) >= wanted:
        return True
    return False if sum(age < match.seconds + _SLACK for age in ages) < wanted else None


def _masked(address: str, mask: str | None) -> str:
    """Return *address* under the list's mask, a netmask of its family; all of it without one."""
    if mask is None or family_of(mask) != family_of(address):
        return address
    return address_text(address_value(address) & address_value(mask), family_of(address))
