"""
Native nftables: the outline of the rule set, then chains and sets one by one.

Lives here: every table that is neither iptables-nft's nor ip6tables-nft's, those of
ebtables-nft and arptables-nft included, since nobody else reads them.
Not here: what the kernel's messages mean (nf_tables, nft_rules).
"""

import errno
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from msgspec.structs import replace

from nettrace.collect.failure import CollectError, as_section
from nettrace.collect.nf_tables import Base, ChainSeen, TableSeen, is_xt
from nettrace.collect.nft_rules import read_all_rules, read_elements, read_rules, read_sets, steadily
from nettrace.collect.session import Session
from nettrace.model.nft import NftBase, NftChain, NftRule, NftRuleset, NftSet, NftTable, split_path
from nettrace.model.nft_expr import DynsetExpr, LookupExpr
from nettrace.model.nft_statement import ObjrefExpr
from nettrace.model.section import NOT_READ, Known, MissingKind, Section

__all__ = ["deepen", "outline"]

T = TypeVar("T")

#: Tables of nettrace's own probes.
_OURS = "nettrace"
#: Of more chains of a table than this, the rules are read in one dump.
_FEW = 16


def outline(session: Session, tables: Sequence[TableSeen]) -> NftRuleset:
    """
    Return all native tables with their chains and sets; a chain without rules is known to have none.

    Rules and elements are NOT_READ.  nettrace's own tables are left out.
    """
    native = [one for one in tables if not is_xt(one) and not one.name.startswith(_OURS)]
    sets = read_sets(session) if native else {}
    return NftRuleset(
        tables={
            f"{table.family} {table.name}": NftTable(
                family=table.family,
                name=table.name,
                dormant=table.dormant,
                owner=table.owner,
                chains={chain.name: _chain(chain) for chain in table.chains},
                sets=sets.get((table.family, table.name), {}),
            )
            for table in native
        },
        byteorder=sys.byteorder,
    )


def _chain(chain: ChainSeen) -> NftChain:
    return NftChain(
        handle=chain.handle,
        base=_base(chain.base) if chain.base is not None else None,
        use=chain.use,
        rules=NOT_READ if chain.use else Known(()),
    )


def _base(base: Base) -> NftBase:
    return NftBase(
        type=base.type, hook=base.hook, priority=base.priority, policy=base.policy, devices=base.devices
    )


def deepen(session: Session, ruleset: NftRuleset, names: Collection[str]) -> NftRuleset:
    """
    Return *ruleset* with the chains and sets of *names* read: paths as nft_path() makes them, or ``nft/*``.

    With a chain come the anonymous sets that its rules name: nobody else does.  One that is
    not there any more is Missing.
    """
    wanted: dict[str, dict[str, None]] = {}
    for path in names:
        if path == "nft/*":
            for key, table in ruleset.tables.items():
                every = (*table.chains, *(f"@{name}" for name in table.sets))
                wanted.setdefault(key, {}).update(dict.fromkeys(every))
        else:
            key, name = split_path(path)
            wanted.setdefault(key, {})[name] = None
    tables = dict(ruleset.tables)
    for key, inside in wanted.items():
        if key in tables:
            tables[key] = _read_table(session, tables[key], tuple(inside))
    return replace(ruleset, tables=tables)


def _read_table(session: Session, table: NftTable, names: Sequence[str]) -> NftTable:
    chains, sets = dict(table.chains), dict(table.sets)
    queue = dict.fromkeys(names)
    wanted = [name for name in names if not name.startswith("@") and name in chains]
    at_once: Section[dict[str, tuple[NftRule, ...]]] | None = None
    if len(wanted) > _FEW:
        at_once = _section(session, lambda: read_all_rules(session, table.family, table.name))
    for name in wanted:
        held = chains[name]
        found: Section[tuple[NftRule, ...]]
        if at_once is not None:
            found = Known(at_once.value.get(name, ())) if isinstance(at_once, Known) else at_once
        else:
            found = _section(session, lambda name=name: read_rules(session, table.family, table.name, name))  # type: ignore[misc]
        chains[name] = replace(held, rules=found)
        if isinstance(found, Known):
            queue.update(dict.fromkeys(f"@{one}" for one in _anonymous(found.value, sets)))
    for name in (one[1:] for one in queue if one.startswith("@")):
        if name in sets:
            elements = _section(
                session,
                lambda name=name: read_elements(session, table.family, table.name, name),  # type: ignore[misc]
            )
            sets[name] = replace(sets[name], elements=elements)
    return replace(table, chains=chains, sets=sets)


def _anonymous(rules: Sequence[NftRule], sets: dict[str, NftSet]) -> list[str]:
    names = [
        expression.set
        for rule in rules
        for expression in rule.expressions
        if isinstance(expression, LookupExpr | DynsetExpr | ObjrefExpr)
    ]
    return [name for name in names if name in sets and "anonymous" in sets[name].flags]


def _section(session: Session, read: Callable[[], T]) -> Section[T]:
    def once() -> T:
        try:
            return steadily(session, read)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise CollectError(MissingKind.FAILED, "it is not there any more") from error
            raise

    return as_section(once)
