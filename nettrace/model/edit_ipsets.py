"""
ipsets, changed in the model.

Lives here: what making, destroying and filling one does.
Source: net/netfilter/ipset/ip_set_core.c (ip_set_create, ip_set_destroy: EBUSY while a rule or another
set names it).
"""

from msgspec.structs import replace

from nettrace.model.change import IpsetCreate, IpsetDestroy, IpsetEntryAdd, IpsetEntryDelete
from nettrace.model.edit_tables import known_section, put_section
from nettrace.model.ipset import IpSet
from nettrace.model.snapshot import Snapshot

__all__ = ["edit_ipsets"]


def edit_ipsets(
    snapshot: Snapshot, change: IpsetCreate | IpsetDestroy | IpsetEntryAdd | IpsetEntryDelete
) -> Snapshot:
    """Return *snapshot* with one set made or destroyed, or one entry put in or taken out."""
    netns = change.netns
    sets: tuple[IpSet, ...] = known_section(snapshot, netns, "ipsets")
    name = change.set.name if isinstance(change, IpsetCreate | IpsetDestroy) else change.name
    held = next((one for one in sets if one.name == name), None)
    if isinstance(change, IpsetCreate):
        if held is not None:
            raise ValueError(f"{netns} already has the set {name}")
        return put_section(snapshot, netns, "ipsets", (*sets, change.set))
    if held is None:
        raise ValueError(f"{netns} has no set {name}")
    if isinstance(change, IpsetDestroy):
        return put_section(snapshot, netns, "ipsets", tuple(one for one in sets if one is not held))
    new = replace(held, members=_members(held, change))
    return put_section(snapshot, netns, "ipsets", tuple(new if one is held else one for one in sets))


def _members(held: IpSet, change: IpsetEntryAdd | IpsetEntryDelete) -> tuple[str, ...]:
    there = change.entry in held.members
    if isinstance(change, IpsetEntryAdd):
        if there or change.entry in held.exceptions:
            raise ValueError(f"set {held.name} of {change.netns} already has {change.entry}")
        return (*held.members, change.entry)
    if not there:
        raise ValueError(f"set {held.name} of {change.netns} has no {change.entry}")
    return tuple(member for member in held.members if member != change.entry)
