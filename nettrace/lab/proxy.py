"""
kube-proxy's next run on a node of a lab that is up, in mode nftables.

Lives here: bringing its tables to what its objects now ask for, in one transaction.
Not here: what they ask for (nettrace.lab.cluster.proxy), the mode iptables.
"""

from collections.abc import Iterator, Sequence

from nettrace.collect.netns import in_netns
from nettrace.kube.expected import ExpectedNftTable
from nettrace.kube.nft_found import listed_tables
from nettrace.lab.cluster.proxy import native_tables
from nettrace.lab.tools import netns_path, restore_native, run
from nettrace.model.kube import Kube
from nettrace.render.nft_table import nft_tables_text

__all__ = ["program_native"]


def program_native(netns: str, kube: Kube, node: str, *, lock: int | None = None) -> None:
    """
    Give the namespace of *node* the native tables that *kube* asks for; nothing in mode iptables.

    Base chains stay hooked in where they were, and what is known of clients' affinity stays.
    """
    wanted = native_tables(kube, node)
    if not wanted:
        return
    there = listed_tables(in_netns(netns_path(netns), run, ["nft", "list", "ruleset"], lock=lock))
    restore_native(netns, "".join(f"{line}\n" for line in _commands(wanted, there)), lock=lock)


def _commands(wanted: Sequence[ExpectedNftTable], there: Sequence[ExpectedNftTable]) -> Iterator[str]:
    old = {(table.family, table.name): table for table in there}
    for table in wanted:
        name = f"{table.family} {table.name}"
        known = old.get((table.family, table.name), ExpectedNftTable(family=table.family))
        if (table.family, table.name) in old:
            yield f"flush table {name}"
        for one in known.sets:
            if "dynamic" not in one.flags:
                yield f"flush {'map' if one.is_map else 'set'} {name} {one.name}"
        yield nft_tables_text((table,))
        chains, sets = {chain.name for chain in table.chains}, {one.name for one in table.sets}
        for chain in known.chains:
            if chain.name not in chains:
                yield f"delete chain {name} {chain.name}"
        for one in known.sets:
            if one.name not in sets:
                yield f"delete {'map' if one.is_map else 'set'} {name} {one.name}"
