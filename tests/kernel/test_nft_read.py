"""Chains of native nftables are read from the kernel: each alone, or all of a table in one dump."""

import os

import pytest

from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.section import Known, SectionKey
from tests.kernel.bed import Bed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CHAINS = 24
RULES = "\n".join(
    [
        "add table inet many",
        *(f"add chain inet many c{number}" for number in range(CHAINS)),
        *(
            f"add rule inet many c{number} tcp dport {number + 1} counter accept"
            for number in range(CHAINS - 1)
        ),
        'add rule inet many c0 ip saddr { 10.0.0.1, 10.0.0.2 } drop comment "two"',
    ]
)


def test_many_chains_in_one_dump(netns: Bed) -> None:
    """What one dump of a table gives is what each chain read alone gives, counters, sets and comments included."""
    space = netns.new("many")
    space.run("nft", "-f", "-", stdin=RULES)
    handle = Handle(name="n", path=space.path, inode=space.inode, netns=space.name, node="n", role="node")
    keys = [SectionKey("n", f"nft/inet/many/c{number}") for number in range(CHAINS)]
    with Reader([handle]) as reader:
        outline = reader.read([SectionKey("n", "nft")], reader.skeleton())
        at_once = reader.read(keys, outline)
        alone = outline
        for key in keys:
            alone = reader.read([key], alone)
    one, other = at_once.namespaces["n"].nft, alone.namespaces["n"].nft
    assert isinstance(one, Known)
    assert isinstance(other, Known)
    assert one.value == other.value
    chains = one.value.tables["inet many"].chains
    rules = {name: chain.rules for name, chain in chains.items()}
    first = rules["c0"]
    assert isinstance(first, Known)
    assert [(rule.comment, rule.packets) for rule in first.value] == [("", 0), ("two", None)]
    assert rules[f"c{CHAINS - 1}"] == Known(())
