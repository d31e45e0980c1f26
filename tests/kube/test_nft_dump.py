"""The derived nftables tables beside those that the real kube-proxy wrote for the same objects."""

from collections import Counter

import pytest
from msgspec.structs import replace

from nettrace.kube.expect import expected
from nettrace.kube.expected import ExpectedNftTable, NodeFacts
from nettrace.kube.nft_found import canonical_rule, listed_tables
from nettrace.render.nft_table import nft_tables_text
from tests.kube.fixture_cluster import FIXTURES, NODE, fixture_cluster

FAMILIES = {4: "ip", 6: "ip6"}
CHAINS, RULES = {4: 87, 6: 22}, {4: 137, 6: 33}
SETS, MAPS = {4: 8, 6: 3}, {4: 5, 6: 5}


def dump(family: int) -> ExpectedNftTable:
    """What the real kube-proxy wrote, as nft listed it."""
    text = (FIXTURES / "nftables-1.36/nft-list-ruleset.txt").read_text()
    return next(table for table in listed_tables(text) if table.family == FAMILIES[family])


def derived(family: int) -> ExpectedNftTable:
    """What nettrace derives for the same objects."""
    return expected(fixture_cluster("nftables-1.36"), NODE, family, NodeFacts()).nft[0]


@pytest.mark.parametrize("family", [4, 6])
def test_chains_and_rules_are_those_of_the_real_kube_proxy(family: int) -> None:
    """Every chain is there, hooked in alike, with the same rules in the same order."""
    wanted = {chain.name: chain for chain in dump(family).chains}
    found = {chain.name: chain for chain in derived(family).chains}
    assert set(found) == set(wanted)
    assert len(wanted) == CHAINS[family]
    assert sum(len(chain.rules) for chain in wanted.values()) == RULES[family]
    for name, chain in wanted.items():
        assert (found[name].base, found[name].comment) == (chain.base, chain.comment)
        assert list(map(canonical_rule, found[name].rules)) == list(map(canonical_rule, chain.rules))


@pytest.mark.parametrize("family", [4, 6])
def test_sets_and_elements_are_those_of_the_real_kube_proxy(family: int) -> None:
    """Every set and map is declared alike and holds the same elements, with comments and verdicts."""
    wanted = {one.name: one for one in dump(family).sets}
    found = {one.name: one for one in derived(family).sets}
    assert set(found) == set(wanted)
    assert Counter(one.is_map for one in wanted.values()) == {False: SETS[family], True: MAPS[family]}
    for name, one in wanted.items():
        assert replace(found[name], elements=()) == replace(one, elements=())
        assert Counter(found[name].elements) == Counter(one.elements)
    assert derived(family).comment == dump(family).comment


@pytest.mark.parametrize("family", [4, 6])
def test_the_text_reads_back(family: int) -> None:
    """What is printed is in nft's form: read as a listing it is the table again."""
    table = derived(family)
    (again,) = listed_tables(nft_tables_text((table,)))
    assert again == table
