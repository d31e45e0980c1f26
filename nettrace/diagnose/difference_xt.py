"""
Owed iptables rules against those that are there.

Lives here: which back end an owner writes to, when two rules mean the same, where a missing rule
belongs, and what has to be there before it: the chains that it jumps to, the sets that it names.
Not here: everything that is no rule (difference.py).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from nettrace.diagnose.difference_ipset import set_at
from nettrace.diagnose.restored import Restored
from nettrace.model.change import ChainSet, Change, IpsetCreate, RuleInsert, RuleReplace
from nettrace.model.owed import Owed, OwedChain, OwedIpset, OwedJump, OwedRule, RuleNote
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, BUILTIN_CHAINS, XtChain, XtRule
from nettrace.model.xt_match import Comment, Nfacct, SetMatch
from nettrace.model.xt_target import Dnat, Jump, Masquerade, Snat
from nettrace.parse.iptables import rule_text

__all__ = ["OwedIndex", "chain_differences", "is_owed", "plain", "rule_difference", "shown"]


XtOwed: TypeAlias = OwedChain | OwedJump | OwedRule


class OwedIndex:
    """All owed rules, by where they are: built once for many comparisons."""

    def __init__(self, snapshot: Snapshot, owed: Iterable[Owed]) -> None:
        self.snapshot = snapshot
        self._names: dict[tuple[str, str, str], set[str]] = {}
        self._chains: dict[tuple[str, str], dict[str, OwedChain]] = {}
        self._rules: dict[tuple[str, str, str, str], list[XtRule]] = {}
        self._backends: dict[tuple[str, str, str], str | None] = {}
        self._sets: dict[tuple[str, str], OwedIpset] = {}
        for item in owed:
            if isinstance(item, OwedIpset):
                self._sets[item.netns, item.set.name] = item
            if not isinstance(item, OwedChain | OwedJump | OwedRule):
                continue
            names = self._names.setdefault((item.owner, item.netns, item.table), set())
            names.add(item.chain)
            if isinstance(item, OwedChain):
                self._chains.setdefault((item.netns, item.table), {})[item.chain] = item
            else:
                names |= _targets((item.rule,))
                place = (item.netns, item.table, item.chain, item.owner)
                self._rules.setdefault(place, []).append(plain(item.rule))

    def backend(self, item: XtOwed) -> str | None:
        """
        Return the back end that the item's owner writes to; None where no rule set was read.

        It is the one that holds most of the owner's chains; where neither holds any, the one
        that has the table, iptables-nft before iptables-legacy.
        """
        key = (item.owner, item.netns, item.table)
        if key not in self._backends:
            names = self._names[key] - set(BUILTIN_CHAINS.get(item.table, ()))
            best = (-1, False)
            self._backends[key] = None
            for backend in BACKENDS:
                if not isinstance(self.snapshot.section(SectionKey(item.netns, f"xt/{backend}")), Known):
                    continue
                there = _chain_names(self.snapshot, item.netns, backend, item.table)
                score = (len(names & (there or frozenset())), there is not None)
                if score > best:
                    best, self._backends[key] = score, backend
        return self._backends[key]

    def needed(self, item: XtOwed, backend: str, rules: Sequence[XtRule]) -> tuple[Change, ...]:
        """
        Return what makes the sets that *rules* name, and the chains that they jump to, leaves first.

        A set or chain that nobody owes cannot be made: the change that needs it will then not apply.
        """
        chains = self._missing_chains(item, backend, rules)
        named = dict.fromkeys(_sets_of((*rules, *(rule for chain in chains for rule in chain.rules))))
        owed = (self._sets.get((item.netns, name)) for name in named)
        known = isinstance(self.snapshot.section(SectionKey(item.netns, "ipsets")), Known)
        sets = (
            IpsetCreate(netns=item.netns, set=one.set, options=one.options)
            for one in owed
            if known and one is not None and set_at(self.snapshot, item.netns, one.set.name) is None
        )
        return (*sets, *chains)

    def _missing_chains(self, item: XtOwed, backend: str, rules: Iterable[XtRule]) -> tuple[ChainSet, ...]:
        netns, table = item.netns, item.table
        made: list[ChainSet] = []
        seen = set(_chain_names(self.snapshot, netns, backend, table) or ())
        known = self._chains.get((netns, table), {})

        def make(name: str) -> None:
            if name in seen or name not in known:
                return
            seen.add(name)
            for target in sorted(_targets(known[name].rules)):
                make(target)
            made.append(
                ChainSet(netns=netns, backend=backend, table=table, chain=name, rules=known[name].rules)
            )

        for name in sorted(_targets(rules)):
            make(name)
        return tuple(made)

    def family(self, item: OwedJump | OwedRule) -> list[XtRule]:
        """Return the plain rules that the item's owner has in the same chain, in the order given."""
        return self._rules[item.netns, item.table, item.chain, item.owner]


def plain(rule: XtRule) -> XtRule:
    """
    Return the rule without what changes no packet's way.

    Comments and accounting go, matches are put in one order (all of them have to hold), and
    how a source port is drawn is set aside.
    """
    matches = tuple(m for m in rule.matches if not isinstance(m, Comment | Nfacct))
    if len(matches) > 1:
        matches = tuple(sorted(matches, key=lambda m: (type(m).__name__, repr(m))))
    target = rule.target
    if isinstance(target, Masquerade | Snat):
        target = replace(target, random=False, random_fully=False)
    return replace(rule, matches=matches, target=target)


def is_owed(owed: Iterable[Owed], netns: str, table: str, chain: str, rule: XtRule) -> bool:
    """Is this rule of a chain one that an owner has to have put there among those of others?"""
    return any(
        isinstance(item, OwedRule)
        and (item.netns, item.table, item.chain) == (netns, table, chain)
        and plain(item.rule) == plain(rule)
        for item in owed
    )


def shown(chain: str, rule: XtRule) -> str:
    """Write a rule as ``iptables -S`` does."""
    return f"-A {chain} {rule_text(rule)}".rstrip()


def _chain_names(snapshot: Snapshot, netns: str, backend: str, table: str) -> frozenset[str] | None:
    """Return the names of a table's chains, read or not; None if the table is not known to exist."""
    section = snapshot.section(SectionKey(netns, f"xt/{backend}/{table}"))
    known = isinstance(section, Known) and section.value is not None
    return frozenset(section.value.chains) if known else None


def _sets_of(rules: Iterable[XtRule]) -> Iterator[str]:
    for rule in rules:
        yield from (match.name for match in rule.matches if isinstance(match, SetMatch))


def _targets(rules: Iterable[XtRule]) -> set[str]:
    return {rule.target.chain for rule in rules if isinstance(rule.target, Jump)}


# --- whole chains ----------------------------------------------------------------------


def chain_differences(index: OwedIndex, item: OwedChain, subjects: Collection[str] | None) -> list[Restored]:
    """
    Compare one owed chain.

    A chain whose order decides gives at most one difference; a dispatch chain gives one for
    each rule that is missing.
    """
    backend = index.backend(item)
    if backend is None:
        return []
    section = index.snapshot.section(SectionKey(item.netns, f"xt/{backend}/{item.table}/{item.chain}"))
    if not isinstance(section, Known):
        return []
    chain: XtChain | None = section.value
    if chain is None:
        return [_absent(index, item, backend)]
    if not item.ordered:
        return _missing_rules(index, item, backend, chain, subjects)
    same = [plain(r) for r in chain.rules] == [plain(r) for r in item.rules]
    return [] if same else [_ordered(index, item, backend, chain)]


def _absent(index: OwedIndex, item: OwedChain, backend: str) -> Restored:
    # the notes of single rules tell nothing here: all of them are gone
    change = ChainSet(netns=item.netns, backend=backend, table=item.table, chain=item.chain, rules=item.rules)
    return Restored(
        ref=f"{item.netns}/xt/{backend}/{item.table}/{item.chain}",
        found=f"table {item.table} has no chain {item.chain}",
        owed=_telling(item),
        changes=(*index.needed(item, backend, item.rules), change),
        absent=True,
        backend=backend,
    )


def _ordered(index: OwedIndex, item: OwedChain, backend: str, chain: XtChain) -> Restored:
    """Return the least change: one rule put in, one replaced, or the whole chain written anew."""
    place = {"netns": item.netns, "backend": backend, "table": item.table, "chain": item.chain}
    ref = f"{item.netns}/xt/{backend}/{item.table}/{item.chain}"
    before = index.needed(item, backend, item.rules)
    have, want = [plain(r) for r in chain.rules], [plain(r) for r in item.rules]
    shorter = min(len(have), len(want))
    at = next((i for i in range(shorter) if have[i] != want[i]), shorter)
    if len(want) == len(have) + 1 and want[:at] + want[at + 1 :] == have:
        rule = item.rules[at]
        return Restored(
            ref=ref,
            found=_lacking(item.chain, rule, chain.rules),
            owed=shown(item.chain, rule),
            changes=(*before, RuleInsert(**place, position=at + 1, rule=rule)),
            absent=True,
            rule=rule,
            note=_note(item, at),
            backend=backend,
        )
    if len(want) == len(have) and want[at + 1 :] == have[at + 1 :]:
        rule = item.rules[at]
        change = RuleReplace(**place, position=at + 1, old=chain.rules[at], rule=rule)
        return Restored(
            ref=f"{ref}/{at + 1}",
            found=shown(item.chain, chain.rules[at]),
            owed=shown(item.chain, rule),
            changes=(*before, change),
            rule=rule,
            note=_note(item, at),
            backend=backend,
        )
    return Restored(
        ref=ref,
        found=f"chain {item.chain} has {_count(chain.rules)}",
        owed=_telling(item),
        changes=(*before, ChainSet(**place, rules=item.rules)),
        absent=not chain.rules,
        backend=backend,
    )


def _note(item: OwedChain, index: int) -> RuleNote | None:
    return item.notes[index] if index < len(item.notes) else None


def _telling(item: OwedChain) -> str:
    """Say what a whole chain is owed: by the rule that does what the chain is for, else by its last."""
    at = next(
        (i for i, rule in enumerate(item.rules) if isinstance(rule.target, Dnat | Masquerade | Snat)),
        len(item.rules) - 1,
    )
    if at < 0:
        return f"chain {item.chain} without rules"
    more = f" (rule {at + 1} of {len(item.rules)})" if len(item.rules) > 1 else ""
    return shown(item.chain, item.rules[at]) + more


def _lacking(chain: str, rule: XtRule, rules: Sequence[XtRule]) -> str:
    if isinstance(rule.target, Jump):
        where = "" if rules else ", and no rules at all"
        return f"{chain} has no jump to {rule.target.chain}{where}"
    return f"{chain} has {_count(rules)}" + (", and not this one" if rules else "")


def _count(rules: Sequence[XtRule]) -> str:
    return "no rules" if not rules else "1 rule" if len(rules) == 1 else f"{len(rules)} rules"


def _missing_rules(
    index: OwedIndex, item: OwedChain, backend: str, chain: XtChain, subjects: Collection[str] | None
) -> list[Restored]:
    left = Counter(plain(rule) for rule in chain.rules)
    last = {plain(rule) for rule in item.last}
    ending = next((i for i, rule in enumerate(chain.rules) if plain(rule) in last), len(chain.rules))
    found: list[Restored] = []
    for number, rule in enumerate(item.rules):
        note = _note(item, number)
        if left[plain(rule)] > 0:
            left[plain(rule)] -= 1
            continue
        if subjects is not None and note is not None and note.subject and note.subject not in subjects:
            continue
        position = len(chain.rules) + 1 if plain(rule) in last else ending + 1
        insert = RuleInsert(
            netns=item.netns,
            backend=backend,
            table=item.table,
            chain=item.chain,
            position=position,
            rule=rule,
        )
        found.append(
            Restored(
                ref=f"{item.netns}/xt/{backend}/{item.table}/{item.chain}",
                found=_lacking(item.chain, rule, chain.rules),
                owed=shown(item.chain, rule),
                changes=(*index.needed(item, backend, (rule,)), insert),
                absent=True,
                rule=rule,
                note=note,
                backend=backend,
            )
        )
    return found


# --- single rules among others ---------------------------------------------------------


def rule_difference(index: OwedIndex, item: OwedJump | OwedRule) -> Restored | None:
    """
    Compare one owed rule of a chain that others write to as well.

    It is there wherever it stands: owners look for their rule and not for its place, and to
    move it before the rules of others would be to overrule them.
    """
    backend = index.backend(item)
    if backend is None:
        return None
    section = index.snapshot.section(SectionKey(item.netns, f"xt/{backend}/{item.table}/{item.chain}"))
    if not isinstance(section, Known):
        return None
    chain: XtChain | None = section.value
    rules = tuple(plain(rule) for rule in chain.rules) if chain is not None else ()
    if plain(item.rule) in rules:
        return None
    place = {"netns": item.netns, "backend": backend, "table": item.table, "chain": item.chain}
    before = index.needed(item, backend, (item.rule,))
    if chain is None and item.chain not in BUILTIN_CHAINS.get(item.table, ()):
        # nobody owes the whole chain, only this rule of it
        before = (*before, ChainSet(**place, rules=()))
    position = _position(rules, item, index.family(item))
    return Restored(
        ref=f"{item.netns}/xt/{backend}/{item.table}/{item.chain}",
        found=_lacking(item.chain, item.rule, rules),
        owed=shown(item.chain, item.rule),
        changes=(*before, RuleInsert(**place, position=position, rule=item.rule)),
        absent=True,
        rule=item.rule,
        backend=backend,
    )


def _position(rules: Sequence[XtRule], item: OwedJump | OwedRule, family: list[XtRule]) -> int:
    """
    Return where a missing rule goes: after the owner's rule before it, else before the one after it.

    With none of the owner's rules there, what has to come first goes to the head, anything
    else to the end, where it decides only what nobody decided before.  *rules* and *family*
    are plain.
    """
    own = family.index(plain(item.rule))
    for sibling in reversed(family[:own]):
        if sibling in rules:
            return rules.index(sibling) + 2
    for sibling in family[own + 1 :]:
        if sibling in rules:
            return rules.index(sibling) + 1
    return 1 if isinstance(item, OwedJump) and item.first else len(rules) + 1
