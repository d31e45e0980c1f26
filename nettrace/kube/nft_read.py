"""
A snapshot's native table in the shape in which kube-proxy owes one.

Lives here: from rules and elements as the kernel holds them to nft's words for them.
Not here: the text of ``nft list ruleset`` (nft_found), what differs (nettrace.diagnose).
"""

from nettrace.kube.expected import ExpectedNftChain, ExpectedNftSet, ExpectedNftTable
from nettrace.model.nft import NftRuleset, NftSet, nft_path
from nettrace.model.section import Known, Missing
from nettrace.parse.nft.sets import elements_text
from nettrace.parse.nft.text import rule_text

__all__ = ["found_table", "sections_of"]

#: Filled by packets, not by kube-proxy.
_DYNAMIC = "dynamic"


def sections_of(ruleset: NftRuleset, key: str) -> tuple[str, ...]:
    """Return the names of the sections that a table's rules and elements are."""
    table = ruleset.tables.get(key)
    if table is None:
        return ()
    chains = (nft_path(table, name) for name in table.chains)
    sets = (nft_path(table, f"@{name}") for name in table.sets)
    return (*chains, *sets)


def found_table(ruleset: NftRuleset, key: str) -> tuple[ExpectedNftTable | None, dict[str, str]]:
    """
    Return the table called *key* (``ip kube-proxy``), and what of it was not read with the reason.

    None if there is no such table.  What was not read is left out.
    """
    table = ruleset.tables.get(key)
    if table is None:
        return None, {}
    missing: dict[str, str] = {}
    chains: list[ExpectedNftChain] = []
    for name, chain in table.chains.items():
        if isinstance(chain.rules, Missing):
            missing[nft_path(table, name)] = chain.rules.reason or chain.rules.kind.value
            continue
        rules = tuple(
            rule_text(rule, table, ruleset.byteorder) + (f' comment "{rule.comment}"' if rule.comment else "")
            for rule in chain.rules.value
        )
        chains.append(ExpectedNftChain(name=name, base=chain.base, rules=rules))
    sets: list[ExpectedNftSet] = []
    for name, one in table.sets.items():
        if "anonymous" in one.flags:
            continue
        if isinstance(one.elements, Missing):
            missing[nft_path(table, f"@{name}")] = one.elements.reason or one.elements.kind.value
            continue
        sets.append(_set(name, one, ruleset.byteorder))
    found = ExpectedNftTable(family=table.family, name=table.name, sets=tuple(sets), chains=tuple(chains))
    return found, missing


def _set(name: str, one: NftSet, byteorder: str) -> ExpectedNftSet:
    assert isinstance(one.elements, Known)  # noqa: S101  (asked before)
    return ExpectedNftSet(
        name=name,
        type="",
        is_map="map" in one.flags,
        flags=tuple(sorted(one.flags)),
        elements=() if _DYNAMIC in one.flags else tuple(elements_text(one, byteorder)),
    )
