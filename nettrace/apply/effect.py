"""
Taking one change back, whatever of it took effect.

A process may have been killed before the change, after it, or in the middle of taking it
back.  So nothing here trusts a memory of what was done: each function looks at the kernel
first, and a second call does nothing more.
Not here: the order of several changes and the journal (repair).
"""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from nettrace.apply.kernel import apply_change
from nettrace.apply.present import (
    addresses_now,
    chain_now,
    devices_now,
    fdb_now,
    neighbours_now,
    normal,
    recent_now,
    routes_now,
    servers_now,
    sets_now,
    sysctl_now,
)
from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    ChainDelete,
    Change,
    FdbAdd,
    FdbDelete,
    IpsetCreate,
    IpsetDestroy,
    IpsetEntryAdd,
    IpsetEntryDelete,
    IpvsDestAdd,
    IpvsDestDelete,
    IpvsDestSet,
    IpvsServiceAdd,
    IpvsServiceDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    NoUndo,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit_addresses import same_address
from nettrace.model.edit_ipvs import real_at, same_real, server_at
from nettrace.model.edit_tables import same_fdb_key, same_route
from nettrace.model.plan import ChainImage, PlannedChange
from nettrace.model.xt import XtRule
from nettrace.parse.iptables import rule_text

__all__ = ["OneRule", "image_of", "take_back"]

OneRule = RuleInsert | RuleDelete | RuleReplace


def image_of(path: str, change: OneRule, index: int, *, keep: tuple[int, ...] = ()) -> ChainImage:
    """
    Return the chain that *change* is about, read right before it is made.

    One rule may be there several times, so that its presence alone tells nothing later.
    """
    return ChainImage(index=index, rules=_texts(_rules(path, change, keep) or ()))


def take_back(
    path: str,
    planned: PlannedChange,
    images: Sequence[ChainImage] = (),
    *,
    certain: bool = False,
    keep: tuple[int, ...] = (),
) -> str:
    """
    Make the namespace at *path* as it was before *planned*, if it is not.

    *images* are those of the plan's changes of one rule in this chain, up to this one's, which
    is the last; without any this one was never begun.  *certain*: it is known to have taken
    effect, so that its rule need not look as it was written.  Returns what could not be
    brought back because it is gone or comes by itself, "" for nothing.  UserError from the
    tools.
    """
    change = planned.change
    if isinstance(planned.undo, NoUndo):
        return f"not taken back: {planned.command} ({planned.undo.reason})"
    if isinstance(change, RuleInsert | RuleDelete | RuleReplace):
        return _rule_back(path, change, images, certain=certain, keep=keep) if images else ""
    notes = []
    for inverse in planned.undo.changes:
        gone = _gone_device(path, inverse)
        if gone:
            notes.append(f"device {gone} is gone, and its state with it")
        elif _is_due(path, inverse, keep):
            apply_change(path, inverse, keep=keep)
    return "; ".join(dict.fromkeys(notes))


# --- one rule --------------------------------------------------------------------------


def _rules(path: str, change: OneRule, keep: tuple[int, ...]) -> tuple[XtRule, ...] | None:
    chain = chain_now(path, change.backend, change.table, change.chain, keep)
    return chain.rules if chain is not None else None


def _texts(rules: Iterable[XtRule]) -> tuple[str, ...]:
    return tuple(rule_text(rule) for rule in rules)


def _rule_back(
    path: str, change: OneRule, images: Sequence[ChainImage], *, certain: bool, keep: tuple[int, ...]
) -> str:
    rules = _rules(path, change, keep)
    if rules is None:
        return f"chain {change.chain} of table {change.table} is gone"
    if _texts(rules) in {image.rules for image in images}:
        return ""  # not begun, or taken back already, perhaps with earlier ones
    before = images[-1].rules
    inverse = _inverse(change, rules, before, certain=certain)
    if inverse is None:
        return ""
    apply_change(path, inverse, keep=keep)
    if _texts(_rules(path, change, keep) or ()) == before:
        return ""
    return f"somebody else changed chain {change.chain} too; only this change was taken back"


def _inverse(
    change: OneRule, rules: tuple[XtRule, ...], before: tuple[str, ...], *, certain: bool
) -> OneRule | None:
    """
    Return what takes *change* back in a chain that now has *rules*; None if it is not in effect.

    Usually the chain is as the change left it.  If not, somebody else changed it too: then the
    change is in effect if the chain is more like the one after it than like the one before,
    and its place is where the common rules around it have moved.
    """
    at = change.position - 1
    new = () if isinstance(change, RuleDelete) else (rule_text(normal(change.rule)),)
    old = () if isinstance(change, RuleInsert) else before[at : at + 1]
    after = (*before[:at], *new, *before[at + len(old) :])
    now = _texts(rules)
    # The kernel may spell a rule in a way of its own: what is known to be there is ours.
    undone = (*now[:at], *old, *now[at + len(new) :])
    if now != after and not (certain and undone == before):
        gain = _common(now, after) * 2 - len(after) - (_common(now, before) * 2 - len(before))
        moved = _moved(after, now, at, gap=not new)
        if moved is None or gain < (0 if certain else 1):
            return None
        at = moved
    place = {"netns": change.netns, "backend": change.backend, "table": change.table, "chain": change.chain}
    match change:
        case RuleInsert():
            return RuleDelete(**place, position=at + 1, rule=rules[at])
        case RuleDelete():
            return RuleInsert(**place, position=at + 1, rule=change.rule)
        case RuleReplace():
            return RuleReplace(**place, position=at + 1, old=rules[at], rule=change.old)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many rules two chains have in common, in order."""
    return sum(
        block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    )


def _moved(after: tuple[str, ...], now: tuple[str, ...], at: int, *, gap: bool) -> int | None:
    """Return where rule *at* of the chain *after* is *now*, or the gap before it; None if it is gone."""
    blocks = SequenceMatcher(None, after, now, autojunk=False).get_matching_blocks()
    place = {block.a + i: block.b + i for block in blocks for i in range(block.size)}
    if not gap:
        return place.get(at)
    if at in place:
        return place[at]
    return place[at - 1] + 1 if at - 1 in place else min(at, len(now))


# --- everything else -------------------------------------------------------------------


def _is_due(path: str, inverse: Change, keep: tuple[int, ...]) -> bool:
    """Has *inverse* still to be made?  What may be made twice is always due."""
    match inverse:
        case SysctlSet():
            now = sysctl_now(path, inverse.name)
            return now is not None and now != " ".join(inverse.value.split())
        case RouteAdd():
            return not any(same_route(route, inverse.route) for route in routes_now(path))
        case RouteDelete():
            return any(same_route(route, inverse.route) for route in routes_now(path))
        case AddressAdd():
            return not any(same_address(one, inverse.address) for one in addresses_now(path))
        case AddressDelete():
            return any(same_address(one, inverse.address) for one in addresses_now(path))
        case FdbDelete():
            return any(same_fdb_key(entry, inverse.entry) for entry in fdb_now(path))
        case NeighbourDelete():
            key = (inverse.entry.device, inverse.entry.address)
            return any((entry.device, entry.address) == key for entry in neighbours_now(path))
        case RecentAdd() | RecentDelete():
            there = inverse.address in recent_now(path, inverse.name)
            return there != isinstance(inverse, RecentAdd)
        case IpvsServiceAdd(server=server):
            return server_at(servers_now(path), server) is None
        case IpvsServiceDelete(server=server):
            return server_at(servers_now(path), server) is not None
        case IpvsDestAdd() | IpvsDestDelete() | IpvsDestSet():
            return _real_is_due(path, inverse)
        case IpsetCreate() | IpsetDestroy() | IpsetEntryAdd() | IpsetEntryDelete():
            return _set_is_due(path, inverse)
        case ChainDelete():
            return chain_now(path, inverse.backend, inverse.table, inverse.chain, keep) is not None
        case _:
            return True


def _real_is_due(path: str, inverse: IpvsDestAdd | IpvsDestDelete | IpvsDestSet) -> bool:
    """Has a real server still to come, to go or to be set?  Not where its virtual server is gone."""
    server = server_at(servers_now(path), inverse.server)
    if server is None:
        return False
    there = real_at(server, inverse.real)
    if isinstance(inverse, IpvsDestAdd):
        return there is None
    if isinstance(inverse, IpvsDestDelete):
        return there is not None
    return there is not None and not same_real(there, inverse.real)


def _set_is_due(path: str, inverse: IpsetCreate | IpsetDestroy | IpsetEntryAdd | IpsetEntryDelete) -> bool:
    """Has a set or an entry still to come or to go?  No entry where its set is gone."""
    name = inverse.set.name if isinstance(inverse, IpsetCreate | IpsetDestroy) else inverse.name
    held = next((one for one in sets_now(path) if one.name == name), None)
    match inverse:
        case IpsetCreate():
            return held is None
        case IpsetDestroy():
            return held is not None
        case IpsetEntryAdd():
            return held is not None and inverse.entry not in held.members
        case IpsetEntryDelete():
            return held is not None and inverse.entry in held.members


def _gone_device(path: str, change: Change) -> str:
    """Return the device that *change* needs and that is not there any more, "" if none."""
    match change:
        case RouteAdd(route=route):
            needed = [hop.device for hop in route.nexthops if hop.device is not None]
        case LinkSet():
            needed = [change.device]
        case AddressAdd(address=address) | AddressDelete(address=address):
            needed = [address.device]
        case FdbAdd(entry=entry) | FdbDelete(entry=entry):
            needed = [entry.device]
        case NeighbourAdd(entry=neighbour) | NeighbourDelete(entry=neighbour):
            needed = [neighbour.device]
        case _:
            return ""
    there = devices_now(path)
    return next((device for device in needed if device not in there), "")
