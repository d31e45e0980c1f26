"""
How much of what is owed is there.

Lives here: counting owed things by kind, and those that differ or were not read.
Not here: the comparison (difference.py), what is to be done about it (causes).
"""

from collections.abc import Sequence

from msgspec import Struct

from nettrace.diagnose.difference import differences
from nettrace.diagnose.difference_xt import OwedIndex
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedIpset,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.section import Missing, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.system import OwedCount
from nettrace.model.xt import BACKENDS

__all__ = ["Standing", "sections_of", "standing", "unread_of"]

#: Type -> (kind, section of the namespace that holds it, "" for rules).
_KINDS: dict[type[Owed], tuple[str, str]] = {
    OwedChain: ("chains", ""),
    OwedJump: ("rules", ""),
    OwedRule: ("rules", ""),
    OwedRoute: ("routes", "routes"),
    OwedNeighbour: ("neighbours", "neighbours"),
    OwedFdb: ("forwarding entries", "fdb"),
    OwedSysctl: ("sysctls", "sysctls"),
    OwedLink: ("settings of devices", "links"),
    OwedAddress: ("addresses", "addresses"),
    OwedVirtualServer: ("virtual servers", "ipvs"),
    OwedIpset: ("ipsets", "ipsets"),
}


class Standing(Struct, frozen=True, kw_only=True):
    """Counts by kind, and a line for each thing that differs."""

    counts: tuple[OwedCount, ...]
    differs: tuple[str, ...]


def sections_of(owed: Sequence[Owed]) -> tuple[tuple[SectionKey, ...], ...]:
    """
    Return the sections to read before standing(), in stages: rule sets, their tables, their chains.

    A later stage names what an earlier one may show not to be there.
    """
    stages: tuple[dict[SectionKey, None], ...] = ({}, {}, {})
    for item in owed:
        if not isinstance(item, OwedChain | OwedJump | OwedRule):
            stages[0][SectionKey(item.netns, _KINDS[type(item)][1])] = None
            continue
        for backend in BACKENDS:
            word = f"xt/{backend}"
            names = (word, f"{word}/{item.table}", f"{word}/{item.table}/{item.chain}")
            for stage, name in zip(stages, names, strict=True):
                stage[SectionKey(item.netns, name)] = None
    return tuple(tuple(stage) for stage in stages)


def standing(snapshot: Snapshot, owed: Sequence[Owed]) -> Standing:
    """Count *owed* by kind: how much of it is there, differs, or could not be compared."""
    found = differences(snapshot, owed)
    differing = {id(difference.owed) for difference in found}
    index = OwedIndex(snapshot, owed)
    counts: dict[str, list[int]] = {}
    for item in owed:
        count = counts.setdefault(_KINDS[type(item)][0], [0, 0, 0])
        count[0] += 1
        if id(item) in differing:
            count[1] += 1
        elif isinstance(snapshot.section(_place(index, item)), Missing):
            count[2] += 1
    return Standing(
        counts=tuple(
            OwedCount(kind=kind, owed=total, differing=wrong, unknown=unknown)
            for kind, (total, wrong, unknown) in counts.items()
        ),
        differs=tuple(f"{d.restored.found}; owed: {d.restored.owed}" for d in found),
    )


def unread_of(snapshot: Snapshot, owed: Sequence[Owed]) -> dict[SectionKey, str]:
    """Return the sections in which something is owed and that could not be read, with the reason."""
    index = OwedIndex(snapshot, owed)
    found: dict[SectionKey, str] = {}
    for key in dict.fromkeys(_place(index, item) for item in owed):
        section = snapshot.section(key)
        if isinstance(section, Missing):
            found[key] = section.reason or section.kind.value
    return found


def _place(index: OwedIndex, item: Owed) -> SectionKey:
    """Return the section that holds the item, or would."""
    if not isinstance(item, OwedChain | OwedJump | OwedRule):
        return SectionKey(item.netns, _KINDS[type(item)][1])
    backend = index.backend(item)
    if backend is None:
        return SectionKey(item.netns, f"xt/{BACKENDS[0]}")
    return SectionKey(item.netns, f"xt/{backend}/{item.table}/{item.chain}")
