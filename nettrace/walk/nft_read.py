"""
Chains and sets of native nftables as a walk reads them from its snapshot.

Lives here: asking for what was not read, and for what is needed next along with it.
Not here: evaluating any of it (nft_chain), which chains a hook has (native).
"""

from typing import NamedTuple

from nettrace.model.nft import NftElement, NftRule, NftRuleset, NftSet, NftTable, nft_path
from nettrace.model.nft_expr import ImmediateExpr, LookupExpr
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.walk.context import Run, Wanted, undecided
from nettrace.walk.memory import derived
from nettrace.walk.namespace import NEIGHBOURHOOD
from nettrace.walk.nft_set import Index, index_of

__all__ = ["SetRead", "native_rules", "native_ruleset", "read_set"]

#: More chains than this are not read ahead of the packet.
_FEW = 32


class SetRead(NamedTuple):
    """A set with the index of its elements."""

    set: NftSet
    inside: Index


def native_ruleset(run: Run, netns: str) -> NftRuleset:
    """Return the outline of a namespace's native rule set; Wanted or Undecided if it is missing."""
    found: NftRuleset = run.section(netns, "nft", along=NEIGHBOURHOOD)
    return found


def native_rules(
    run: Run, netns: str, table: NftTable, name: str, origin: tuple[NftRule, ...] = ()
) -> tuple[NftRule, ...]:
    """
    Return the rules of a chain; with it the others that *origin*, which leads to it, may lead to.

    Undecided if there is no chain of that name, which the kernel would not have allowed.
    """
    chain = table.chains.get(name)
    if chain is None:
        undecided(
            f"table {table.family} {table.name} has no chain {name}", f"{netns}/{nft_path(table, name)}"
        )
    if isinstance(chain.rules, Known):
        return chain.rules.value
    key = SectionKey(netns, nft_path(table, name))
    if chain.rules.kind is not MissingKind.NOT_READ:
        run.missing(key, chain.rules)
    raise Wanted((key, *(SectionKey(netns, one) for one in _siblings(table, name, origin))))


def _siblings(table: NftTable, name: str, origin: tuple[NftRule, ...]) -> list[str]:
    names = {
        expression.verdict.chain
        for rule in origin
        for expression in rule.expressions
        if isinstance(expression, ImmediateExpr) and expression.verdict is not None
    } - {name, ""}
    if len(names) > _FEW:
        return []
    return [nft_path(table, one) for one in sorted(names) if _unread(table, one)]


def _unread(table: NftTable, name: str) -> bool:
    chain = table.chains.get(name)
    return chain is not None and isinstance(chain.rules, Missing) and chain.rules.kind is MissingKind.NOT_READ


def read_set(
    run: Run, netns: str, table: NftTable, name: str, rules: tuple[NftRule, ...] = ()
) -> SetRead | None:
    """Return a set of a table with its elements, None if there is none; with it those that *rules* name."""
    one = table.sets.get(name)
    if one is None:
        return None
    if isinstance(one.elements, Known):
        return SetRead(one, derived(_indexed, one))
    key = SectionKey(netns, nft_path(table, f"@{name}"))
    if one.elements.kind is not MissingKind.NOT_READ:
        run.missing(key, one.elements)
    others = {
        expression.set
        for rule in rules
        for expression in rule.expressions
        if isinstance(expression, LookupExpr) and expression.set != name
    }
    along = [
        SectionKey(netns, nft_path(table, f"@{other}"))
        for other in sorted(others)
        if other in table.sets and _not_read(table.sets[other])
    ]
    raise Wanted((key, *(along if len(along) <= _FEW else ())))


def _not_read(one: NftSet) -> bool:
    return isinstance(one.elements, Missing) and one.elements.kind is MissingKind.NOT_READ


def _indexed(one: NftSet) -> Index:
    elements: tuple[NftElement, ...] = one.elements.value if isinstance(one.elements, Known) else ()
    return index_of(one, elements)
