"""
Native nftables: the base chains, where they hook, and whether they are empty.

Lives here: every table that is neither iptables-nft's nor ip6tables-nft's, those of
ebtables-nft and arptables-nft included, since nobody else reads them.
Not here: their rules.
"""

from collections.abc import Sequence

from nettrace.collect.nf_tables import Base, ChainSeen, TableSeen, is_xt
from nettrace.model.xt import NftBaseChain

__all__ = ["base_chains"]

#: Tables of nettrace's own probes.
_OURS = "nettrace"


def base_chains(tables: Sequence[TableSeen]) -> tuple[NftBaseChain, ...]:
    """
    Return the base chains of all native tables, one per device where devices are named.

    A dormant table is left out: its chains are not registered.  A chain is empty if it has no
    rules and accepts.
    """
    return tuple(
        _chain(table, chain, chain.base, device)
        for table in tables
        if not is_xt(table) and not table.dormant and not table.name.startswith(_OURS)
        for chain in table.chains
        if chain.base is not None
        for device in chain.base.devices or (None,)
    )


def _chain(table: TableSeen, chain: ChainSeen, base: Base, device: str | None) -> NftBaseChain:
    return NftBaseChain(
        family=table.family,
        table=table.name,
        chain=chain.name,
        type=base.type,
        hook=base.hook,
        priority=base.priority,
        policy=base.policy,
        device=device,
        empty=chain.use == 0 and base.policy == "accept",
        owner=f"port id {table.owner}" if table.owner is not None else None,
    )
