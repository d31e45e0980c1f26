"""
An ipset as it is owed beside the one that is there.

Lives here: the comparison, and the Changes that restore each difference.
Not here: who owes it (nettrace.kube, plugins), the rules that name it (difference_xt).
"""

from collections.abc import Collection, Iterator

from nettrace.diagnose.restored import Restored
from nettrace.model.change import IpsetCreate, IpsetEntryAdd, IpsetEntryDelete
from nettrace.model.ipset import IpSet
from nettrace.model.owed import OwedIpset, RuleNote
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.ipset import save_ipset

__all__ = ["compare_set", "set_at", "set_differences"]


def set_at(snapshot: Snapshot, netns: str, name: str) -> IpSet | None:
    """Return a set; None where there is none, or it was not read."""
    section = snapshot.section(SectionKey(netns, "ipsets"))
    sets: tuple[IpSet, ...] = section.value if isinstance(section, Known) else ()
    return next((one for one in sets if one.name == name), None)


def set_differences(snapshot: Snapshot, item: OwedIpset, subjects: Collection[str] | None) -> list[Restored]:
    """
    Return what differs: the set itself, or its entries one by one.

    *subjects* narrows entries to Services, as nettrace.diagnose.difference.differences does.
    """
    if not isinstance(snapshot.section(SectionKey(item.netns, "ipsets")), Known):
        return []
    return compare_set(item, set_at(snapshot, item.netns, item.set.name), subjects)


def compare_set(
    item: OwedIpset, there: IpSet | None, subjects: Collection[str] | None = None
) -> list[Restored]:
    """Compare with the set that is there, or None; of one of another type nothing is restored."""
    ref = f"{item.netns}/ipsets"
    head = save_ipset(item.set, item.options).partition("\n")[0]
    if there is None:
        return [
            Restored(
                ref=ref,
                found=f"no set {item.set.name}",
                owed=head,
                changes=(IpsetCreate(netns=item.netns, set=item.set, options=item.options),),
                absent=True,
            )
        ]
    if (there.type, there.family) != (item.set.type, item.set.family):
        # the kernel cannot change it, and cannot destroy it while a rule names it
        found = f"{there.name} is of type {there.type}, family inet{'6' if there.family == 6 else ''}"
        return [Restored(ref=ref, found=found, owed=head, changes=())]
    return [*_lacking(item, there, ref, subjects), *_surplus(item, there, ref)]


def _lacking(item: OwedIpset, there: IpSet, ref: str, subjects: Collection[str] | None) -> Iterator[Restored]:
    name, held = there.name, frozenset(there.members)
    for number, member in enumerate(item.set.members):
        note: RuleNote | None = item.notes[number] if number < len(item.notes) else None
        if member in held:
            continue
        if subjects is not None and note is not None and note.subject and note.subject not in subjects:
            continue
        yield Restored(
            ref=ref,
            found=f"{name} has no {member}",
            owed=f"add {name} {member}",
            changes=(IpsetEntryAdd(netns=item.netns, name=name, entry=member),),
            absent=True,
            note=note,
        )


def _surplus(item: OwedIpset, there: IpSet, ref: str) -> Iterator[Restored]:
    owed = frozenset(item.set.members)
    for member in there.members if item.closed else ():
        if member not in owed:
            yield Restored(
                ref=ref,
                found=f"add {there.name} {member}",
                owed=f"{there.name} without {member}",
                changes=(IpsetEntryDelete(netns=item.netns, name=there.name, entry=member),),
            )
