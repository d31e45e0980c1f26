"""
natOutgoing, and the jumps that lead into Felix' chains.

Lives here: the rules and sets of pools that Felix owes a node whatever runs there.  In modes in which
Felix does not use iptables (BPF, nftables) it owes none.
Source: felix/rules/nat.go (NATOutgoingChain), static.go; felix/dataplane/linux/masq_mgr.go (the sets).
"""

from collections.abc import Iterator, Sequence

from nettrace.model.ipset import IpSet
from nettrace.model.owed import Owed, OwedChain, OwedIpset, OwedJump, OwedRule
from nettrace.model.snapshot import Snapshot
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.calico.facts import OWNER, Pool, pools, runs_on, setting
from nettrace_plugins.calico.names import ALL_POOLS, MASQUERADED
from nettrace_plugins.calico.static import INSERTED, NAT_OUTGOING

__all__ = ["NAT_CHAIN", "owed_rules"]

NAT_CHAIN = "cali-nat-outgoing"


def owed_rules(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield the rules that Felix owes *node*; none where no pool is known."""
    if node not in snapshot.nodes or not runs_on(snapshot, node) or not pools(snapshot):
        return
    if setting(snapshot, "bpfEnabled") is True or setting(snapshot, "nftablesMode") == "Enabled":
        return
    netns = snapshot.nodes[node].netns
    for table, chains in INSERTED.items():
        for chain, texts in chains.items():
            for text in texts:
                yield OwedJump(
                    netns=netns,
                    owner=OWNER,
                    source=f"calico-node runs on {node}",
                    about=f"jump to cali-{chain} of table {table}",
                    table=table,
                    chain=chain,
                    rule=parse_rule(text),
                    first=True,
                )
    used = [pool for pool in pools(snapshot) if not pool.disabled]
    outgoing = [pool for pool in used if pool.nat_outgoing]
    yield _set(netns, ALL_POOLS, used, "all pools")
    yield _set(netns, MASQUERADED, outgoing, "pools that are masqueraded towards the outside")
    if not outgoing or setting(snapshot, "natPortRange") or setting(snapshot, "natOutgoingAddress"):
        return
    source = ", ".join(f"IPPool {pool.name} (natOutgoing)" for pool in outgoing)
    about = f"masquerade of what leaves {', '.join(pool.cidr for pool in outgoing)}"
    yield OwedChain(
        netns=netns,
        owner=OWNER,
        source=source,
        about=about,
        table="nat",
        chain=NAT_CHAIN,
        rules=(parse_rule(NAT_OUTGOING),),
    )
    yield OwedRule(
        netns=netns,
        owner=OWNER,
        source=source,
        about=f"jump to {NAT_CHAIN}, {about}",
        table="nat",
        chain="cali-POSTROUTING",
        rule=parse_rule(f"--jump {NAT_CHAIN}"),
    )


def _set(netns: str, name: str, holding: Sequence[Pool], about: str) -> OwedIpset:
    return OwedIpset(
        netns=netns,
        owner=OWNER,
        source=", ".join(f"IPPool {pool.name}" for pool in holding) or "the IPPools",
        about=about,
        set=IpSet(name=name, type="hash:net", members=tuple(pool.cidr for pool in holding)),
        options="family inet hashsize 1024 maxelem 1048576",
        closed=False,  # a pool that is disabled may be in it
    )
