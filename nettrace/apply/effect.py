"""
Taking one change back, whatever of it took effect.

A process may have been killed before the change, after it, or in the middle of taking it
back.  So nothing here trusts a memory of what was done: each function looks at the kernel
first, and a second call does nothing more.
Not here: the order of several changes and the journal (repair).
"""

from collections.abc import Sequence

from nettrace.apply.kernel import apply_change
from nettrace.apply.present import (
    chain_now,
    devices_now,
    fdb_now,
    neighbours_now,
    normal,
    routes_now,
    sysctl_now,
)
from nettrace.model.canonical import digest
from nettrace.model.change import (
    ChainDelete,
    Change,
    FdbAdd,
    FdbDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    NoUndo,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit_tables import same_fdb_key, same_route
from nettrace.model.plan import PlannedChange, RuleMark
from nettrace.model.section import Known, SectionKey
from nettrace.model.xt import XtChain, XtRule

__all__ = ["OneRule", "mark_of", "take_back"]

OneRule = RuleInsert | RuleDelete | RuleReplace


def mark_of(path: str, change: OneRule, index: int, *, keep: tuple[int, ...] = ()) -> RuleMark:
    """
    Return what tells later whether *change* took effect, read right before it is made.

    One rule may be there several times, so that its presence alone says nothing.
    """
    rules = _rules(path, change, keep) or ()
    at = change.position
    return RuleMark(
        index=index,
        before=_digest(rules),
        copies=_copies(rules, change.rule),
        above=rules[at - 2] if 2 <= at <= len(rules) + 1 else None,
        below=rules[at] if at < len(rules) else None,
    )


def take_back(
    path: str, planned: PlannedChange, marks: Sequence[RuleMark] = (), *, keep: tuple[int, ...] = ()
) -> str:
    """
    Make the namespace at *path* as it was before *planned*, if it is not.

    *marks* are those of the plan's changes of one rule in this chain, up to this one, which is
    the last; without any that change was never begun.  Returns what could not be brought
    back because it is gone or comes by itself, "" for nothing.  UserError from the tools.
    """
    change = planned.change
    if isinstance(planned.undo, NoUndo):
        return f"not taken back: {planned.command} ({planned.undo.reason})"
    if isinstance(change, RuleInsert | RuleDelete | RuleReplace):
        return _rule_back(path, change, marks, keep) if marks else ""
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


def _digest(rules: tuple[XtRule, ...]) -> str:
    return digest(SectionKey("", "xt"), Known(XtChain(policy="", rules=rules)))


def _copies(rules: tuple[XtRule, ...], rule: XtRule) -> int:
    wanted = normal(rule)
    return sum(1 for one in rules if one == wanted)


def _rule_back(path: str, change: OneRule, marks: Sequence[RuleMark], keep: tuple[int, ...]) -> str:
    mark = marks[-1]
    rules = _rules(path, change, keep)
    if rules is None:
        return f"chain {change.chain} of table {change.table} is gone"
    if _digest(rules) in {one.before for one in marks}:
        return ""  # not begun, or taken back already, perhaps with earlier ones
    inverse = _inverse(change, rules, mark)
    if inverse is None:
        return ""
    apply_change(path, inverse, keep=keep)
    if _digest(_rules(path, change, keep) or ()) == mark.before:
        return ""
    return f"somebody else changed chain {change.chain} too; only this change was taken back"


def _inverse(change: OneRule, rules: tuple[XtRule, ...], mark: RuleMark) -> OneRule | None:
    """
    Return what takes *change* back in a chain that now has *rules*; None if it is not in effect.

    If undoing it at its position gives the chain that was, that is it, however the kernel
    spells the rule.  Otherwise somebody else changed the chain too: the rule is in effect if
    there is one more (or, deleted, one less) of its kind than before, and the nearest is taken.
    """
    place = {"netns": change.netns, "backend": change.backend, "table": change.table, "chain": change.chain}
    at = change.position - 1
    copies = _copies(rules, change.rule)
    if isinstance(change, RuleDelete):
        if _digest((*rules[:at], change.rule, *rules[at:])) == mark.before:
            return RuleInsert(**place, position=change.position, rule=change.rule)
        if copies >= mark.copies:
            return None
        return RuleInsert(**place, position=_place(rules, mark, at) + 1, rule=change.rule)
    back = (change.old,) if isinstance(change, RuleReplace) else ()
    exact = at < len(rules) and _digest((*rules[:at], *back, *rules[at + 1 :])) == mark.before
    if not exact:
        if copies <= mark.copies:
            return None
        wanted = normal(change.rule)
        at = min((i for i, rule in enumerate(rules) if rule == wanted), key=lambda i: abs(i - at))
    if isinstance(change, RuleReplace):
        return RuleReplace(**place, position=at + 1, old=rules[at], rule=change.old)
    return RuleDelete(**place, position=at + 1, rule=rules[at])


def _place(rules: tuple[XtRule, ...], mark: RuleMark, at: int) -> int:
    """Return the index where a deleted rule belongs: beside its old neighbours, else nearest to *at*."""

    def neighbours(index: int) -> int:
        above = rules[index - 1] if index > 0 else None
        below = rules[index] if index < len(rules) else None
        return (above == mark.above) + (below == mark.below)

    return max(range(len(rules) + 1), key=lambda index: (neighbours(index), -abs(index - at)))


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
        case FdbDelete():
            return any(same_fdb_key(entry, inverse.entry) for entry in fdb_now(path))
        case NeighbourDelete():
            key = (inverse.entry.device, inverse.entry.address)
            return any((entry.device, entry.address) == key for entry in neighbours_now(path))
        case ChainDelete():
            return chain_now(path, inverse.backend, inverse.table, inverse.chain, keep) is not None
        case _:
            return True


def _gone_device(path: str, change: Change) -> str:
    """Return the device that *change* needs and that is not there any more, "" if none."""
    match change:
        case RouteAdd(route=route):
            needed = [hop.device for hop in route.nexthops if hop.device is not None]
        case LinkSet():
            needed = [change.device]
        case FdbAdd(entry=entry) | FdbDelete(entry=entry):
            needed = [entry.device]
        case NeighbourAdd(entry=neighbour) | NeighbourDelete(entry=neighbour):
            needed = [neighbour.device]
        case _:
            return ""
    there = devices_now(path)
    return next((device for device in needed if device not in there), "")
