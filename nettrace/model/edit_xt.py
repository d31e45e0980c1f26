"""
Changes to iptables rule sets, applied to the model.

Lives here: inserting, deleting and replacing rules, whole chains, policies, as iptables and
the kernel do them.
Not here: text (nettrace.parse.iptables).
"""

from typing import TypeAlias

from msgspec.structs import replace

from nettrace.model.change import ChainDelete, ChainSet, PolicySet, RuleDelete, RuleInsert, RuleReplace
from nettrace.model.section import Known, Missing, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, BUILTIN_CHAINS, Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import SetMatch
from nettrace.model.xt_target import Jump

__all__ = ["XtChange", "chain_before", "edit_xt"]

XtChange: TypeAlias = RuleInsert | RuleDelete | RuleReplace | ChainSet | ChainDelete | PolicySet

_ZERO = Counters(0, 0)


def edit_xt(snapshot: Snapshot, change: XtChange) -> Snapshot:
    """
    Return *snapshot* with *change* made to one rule set.

    A new rule's counters are zero; a rule set without counters keeps none.  ValueError: the
    chain is not there or was not read, another rule stands at the position, a chain or set
    that a rule names does not exist, a chain to be deleted is still jumped to.
    """
    chain = chain_before(snapshot, change)
    match change:
        case ChainSet():
            return _chain_set(snapshot, change, chain)
        case ChainDelete():
            return _chain_delete(snapshot, change, chain)
    where = _where(change)
    if chain is None:
        if change.chain not in BUILTIN_CHAINS.get(change.table, ()):
            raise ValueError(f"{where}: no such chain")
        snapshot, chain = _make_table(snapshot, change)
    match change:
        case PolicySet():
            if chain.policy is None:
                raise ValueError(f"{where} is no built-in chain and has no policy")
            return _store(snapshot, change, replace(chain, policy=change.policy))
        case RuleInsert():
            _check_rule(snapshot, change, change.rule)
            index = change.position - 1
            if not 0 <= index <= len(chain.rules):
                raise ValueError(f"{where} has {len(chain.rules)} rules, no place {change.position}")
            return _store(snapshot, change, _splice(chain, index, index, (change.rule,)))
        case RuleDelete():
            index = _standing(where, chain, change.position, change.rule)
            return _store(snapshot, change, _splice(chain, index, index + 1, ()))
        case RuleReplace():
            _check_rule(snapshot, change, change.rule)
            index = _standing(where, chain, change.position, change.old)
            return _store(snapshot, change, _splice(chain, index, index + 1, (change.rule,)))


def chain_before(snapshot: Snapshot, change: XtChange) -> XtChain | None:
    """Return the chain that *change* is about, None if it does not exist; ValueError if it was not read."""
    if change.backend not in BACKENDS:
        raise ValueError(f"{change.backend} is no back end of iptables")
    section = snapshot.section(_key(change))
    if isinstance(section, Missing):
        raise ValueError(f"{_key(change)} is {section.kind}{f': {section.reason}' if section.reason else ''}")
    chain: XtChain | None = section.value
    return chain


def _key(change: XtChange) -> SectionKey:
    return SectionKey(change.netns, f"xt/{change.backend}/{change.table}/{change.chain}")


def _where(change: XtChange) -> str:
    return f"{change.netns}: chain {change.chain} of table {change.table} ({change.backend})"


def _store(snapshot: Snapshot, change: XtChange, chain: XtChain) -> Snapshot:
    return snapshot.with_section(_key(change), Known(chain))


def _splice(chain: XtChain, start: int, end: int, rules: tuple[XtRule, ...]) -> XtChain:
    """Put *rules* in the place of rules *start* to *end*; their counters start at zero."""
    counters = chain.counters
    if counters is not None:
        counters = (*counters[:start], *(_ZERO for _ in rules), *counters[end:])
    return replace(chain, rules=(*chain.rules[:start], *rules, *chain.rules[end:]), counters=counters)


def _standing(where: str, chain: XtChain, position: int, rule: XtRule) -> int:
    """Return the index of *position*; ValueError unless *rule* stands there."""
    if not 1 <= position <= len(chain.rules):
        raise ValueError(f"{where} has {len(chain.rules)} rules, none at {position}")
    if chain.rules[position - 1] != rule:
        raise ValueError(f"{where}: another rule stands at {position}")
    return position - 1


def _make_table(snapshot: Snapshot, change: XtChange) -> tuple[Snapshot, XtChain]:
    """
    Return *snapshot* with the built-in chains of the table, as the first write to it makes them.

    iptables/nft.c, nft_xt_builtin_init; net/ipv4/netfilter/iptable_nat.c, table_init.
    """
    made = {name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS[change.table]}
    key = SectionKey(change.netns, f"xt/{change.backend}/{change.table}")
    table = snapshot.section(key)
    old = table.value.chains if isinstance(table, Known) and table.value is not None else {}
    return snapshot.with_section(key, Known(XtTable({**made, **old}))), XtChain(policy="ACCEPT")


def _check_rule(snapshot: Snapshot, change: XtChange, rule: XtRule) -> None:
    """ValueError if *rule* names a chain or a set that is known not to exist."""
    if isinstance(rule.target, Jump):
        table = snapshot.section(SectionKey(change.netns, f"xt/{change.backend}/{change.table}"))
        chains = table.value.chains if isinstance(table, Known) and table.value is not None else {}
        own = isinstance(change, ChainSet) and rule.target.chain == change.chain
        if rule.target.chain not in chains and not own:
            raise ValueError(f"{_where(change)}: no chain {rule.target.chain} to jump to")
    sets = snapshot.namespaces[change.netns].ipsets
    if isinstance(sets, Known):
        names = {one.name for one in sets.value}
        for match in rule.matches:
            if isinstance(match, SetMatch) and match.name not in names:
                raise ValueError(f"{change.netns} has no ipset {match.name}")


def _chain_set(snapshot: Snapshot, change: ChainSet, chain: XtChain | None) -> Snapshot:
    if change.chain in BUILTIN_CHAINS.get(change.table, ()):
        raise ValueError(f"{_where(change)} is built in")
    if snapshot.section(SectionKey(change.netns, f"xt/{change.backend}/{change.table}")) == Known(None):
        snapshot, _ = _make_table(snapshot, change)
    for rule in change.rules:
        _check_rule(snapshot, change, rule)
    kept = chain is not None and chain.counters is not None
    counters = tuple(_ZERO for _ in change.rules) if kept else None
    return _store(snapshot, change, XtChain(rules=change.rules, counters=counters))


def _chain_delete(snapshot: Snapshot, change: ChainDelete, chain: XtChain | None) -> Snapshot:
    if chain is None:
        raise ValueError(f"{_where(change)}: no such chain")
    if chain.policy is not None:
        raise ValueError(f"{_where(change)} is built in")
    users = _users(snapshot, change)
    if users:
        raise ValueError(f"{_where(change)} is still jumped to from {', '.join(users)}")
    return snapshot.with_section(_key(change), Known(None))


def _users(snapshot: Snapshot, change: ChainDelete) -> list[str]:
    """Return the known chains of the table that jump to the one that *change* names."""
    netns = snapshot.namespaces[change.netns]
    ruleset: XtRuleset = (netns.xt_nft if change.backend == "nft" else netns.xt_legacy).value  # type: ignore[union-attr]
    chains = ruleset.tables[change.table].value.chains  # type: ignore[union-attr]
    return [
        name
        for name, section in chains.items()
        if isinstance(section, Known)
        and name != change.chain
        and any(isinstance(r.target, Jump) and r.target.chain == change.chain for r in section.value.rules)
    ]
