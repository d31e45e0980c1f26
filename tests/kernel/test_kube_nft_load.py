"""The tables that kube-proxy owes in nftables mode, loaded by nft and listed again."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.kube.expect import expected
from nettrace.kube.expected import ExpectedNftTable, NodeFacts
from nettrace.kube.nft_found import canonical_rule, listed_tables
from nettrace.render.nft_table import nft_tables_text
from tests.kernel.bed import Bed, Space
from tests.kube.fixture_cluster import FIXTURES, NODE, fixture_cluster

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

BRIDGE = {"detect_local_mode": "BridgeInterface", "detect_local_bridge": "cni0"}
VETHS = {"detect_local_mode": "InterfaceNamePrefix", "detect_local_interface_prefix": "veth"}
EVERYWHERE = {"node_port_addresses": ("0.0.0.0/0", "::/0")}

CASES: list[tuple[str, dict[str, Any]]] = [
    ("1.36", {}),
    ("1.30", {}),
    ("1.34", {}),
    ("1.37", {}),
    ("1.36", {"masquerade_all": True, "masquerade_bit": 20, **EVERYWHERE}),
    ("1.30", {"masquerade_all": True, "masquerade_bit": 31, **EVERYWHERE}),
    ("1.36", {"masquerade_bit": 31}),
    ("1.34", {"masquerade_all": True}),
    ("1.36", BRIDGE),
    ("1.30", VETHS),
]


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    """A namespace without rules."""
    bed = Bed()
    try:
        yield bed.new("nft")
    finally:
        bed.close()


def canonical(table: ExpectedNftTable) -> ExpectedNftTable:
    """A table without the order of its chains, sets and elements."""
    chains = [replace(chain, rules=tuple(map(canonical_rule, chain.rules))) for chain in table.chains]
    sets = [replace(one, elements=tuple(sorted(one.elements))) for one in table.sets]
    return replace(
        table,
        chains=tuple(sorted(chains, key=lambda chain: chain.name)),
        sets=tuple(sorted(sets, key=lambda one: one.name)),
    )


def listed(space: Space) -> list[ExpectedNftTable]:
    """What nft lists in the namespace."""
    return [canonical(table) for table in listed_tables(space.run("nft", "list", "ruleset"))]


@pytest.mark.parametrize(("version", "changed"), CASES)
def test_nft_lists_what_is_owed(space: Space, version: str, changed: dict[str, Any]) -> None:
    """Each layout and way of telling local traffic loads, and is listed in the words in which it is owed."""
    kube = fixture_cluster("nftables-1.36", version, **changed)
    owed = [table for family in (4, 6) for table in expected(kube, NODE, family, NodeFacts()).nft]
    space.run("nft", "flush", "ruleset")
    space.run("nft", "-f", "-", stdin=nft_tables_text(owed))
    assert listed(space) == [canonical(table) for table in owed]


def test_nft_lists_the_dump(space: Space) -> None:
    """The owed tables of the dump's objects, loaded, are listed as the dump itself is."""
    kube = fixture_cluster("nftables-1.36")
    owed = [table for family in (4, 6) for table in expected(kube, NODE, family, NodeFacts()).nft]
    space.run("nft", "flush", "ruleset")
    space.run("nft", "-f", "-", stdin=nft_tables_text(owed))
    dump = (FIXTURES / "nftables-1.36/nft-list-ruleset.txt").read_text()
    assert listed(space) == [canonical(table) for table in listed_tables(dump)]
