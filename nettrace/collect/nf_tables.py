"""
nf_tables as the kernel lists it: tables and chains, without their rules.

Lives here: raw nfnetlink, which answers in microseconds a chain and creates nothing.
iptables-nft and native nftables share these tables; xt and nft take each its own.
Numbers from include/uapi/linux/netfilter/nf_tables.h and netfilter.h.
"""

import errno
import struct

from msgspec import Struct

from nettrace.collect.modules import has_module
from nettrace.collect.session import Session
from nettrace.collect.wire import attributes, be32, be64, each, nfgenmsg, text
from nettrace.model.nft import FAMILIES
from nettrace.model.xt import Counters

__all__ = ["Base", "ChainSeen", "TableSeen", "generation", "is_xt", "list_tables"]

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GETTABLE, _GETCHAIN, _GETGEN = _SUBSYSTEM | 1, _SUBSYSTEM | 4, _SUBSYSTEM | 16

_TABLE_NAME, _TABLE_FLAGS, _TABLE_OWNER = 1, 2, 7
_DORMANT, _OWNER = 1, 2
_CHAIN_HANDLE = 2
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_USE, _CHAIN_TYPE, _CHAIN_COUNTERS = (
    1,
    3,
    4,
    5,
    6,
    7,
    8,
)
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE, _HOOK_DEVICES = 1, 2, 3, 4
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_GENERATION = 1

_INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_HOOKS = {"arp": ("input", "output", "forward"), "netdev": ("ingress", "egress")}

#: (table, chain) -> hook, priority and type of a base chain of iptables-nft: iptables/nft.c
_XT_BASES = {
    **{
        (table, hook.upper()): (hook, priority, "filter")
        for table, priority, hooks in (
            ("raw", -300, ("prerouting", "output")),
            ("mangle", -150, ("prerouting", "input", "forward", "postrouting")),
            ("filter", 0, ("input", "forward", "output")),
            ("security", 50, ("input", "forward", "output")),
        )
        for hook in hooks
    },
    ("mangle", "OUTPUT"): ("output", -150, "route"),
    ("nat", "PREROUTING"): ("prerouting", -100, "nat"),
    ("nat", "OUTPUT"): ("output", -100, "nat"),
    ("nat", "INPUT"): ("input", 100, "nat"),
    ("nat", "POSTROUTING"): ("postrouting", 100, "nat"),
}
#: Version of IP -> the family that its iptables keeps its tables in.
_XT_FAMILIES = {4: "ip", 6: "ip6"}
_XT_TABLES = frozenset(table for table, _ in _XT_BASES)


class Base(Struct, frozen=True, kw_only=True):
    """Where a base chain hooks in."""

    type: str
    hook: str
    priority: int
    policy: str
    devices: tuple[str, ...] = ()
    counters: Counters | None = None


class ChainSeen(Struct, frozen=True, kw_only=True):
    """
    One chain.  ``use`` is what the kernel counts: its rules and the jumps to it.

    For a base chain, which nothing jumps to, that is the number of its rules
    (nf_tables_newrule(), net/netfilter/nf_tables_api.c).
    """

    name: str
    use: int
    base: Base | None = None
    handle: int = 0


class TableSeen(Struct, frozen=True, kw_only=True):
    """One table.  ``owner`` is the port id of the process it belongs to; dormant: its hooks are off."""

    family: str
    name: str
    dormant: bool = False
    owner: int | None = None
    chains: tuple[ChainSeen, ...] = ()


def list_tables(session: Session) -> tuple[TableSeen, ...]:
    """
    List the tables of all families with their chains; none where nf_tables is not loaded.

    PermissionError without CAP_NET_ADMIN, CollectError if it kept changing.
    """
    if not has_module("nf_tables"):
        return ()
    try:
        tables = session.netfilter.dump(_GETTABLE, nfgenmsg())
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return ()  # this kernel has no nf_tables
        raise
    chains: dict[tuple[str, str], list[ChainSeen]] = {}
    for payload in session.netfilter.dump(_GETCHAIN, nfgenmsg()) if tables else ():
        family = _family(payload)
        found = attributes(payload, 4)
        chains.setdefault((family, text(found[_CHAIN_TABLE])), []).append(_chain(family, found))
    return tuple(_table(payload, chains) for payload in tables)


def generation(session: Session) -> int:
    """Return the number that grows with every change of the namespace's nf_tables."""
    return be32(attributes(session.netfilter.ask(_GETGEN, nfgenmsg()), 4)[_GENERATION])


def is_xt(table: TableSeen, family: int | None = None) -> bool:
    """
    Is this a table of iptables-nft (*family* 4), of ip6tables-nft (6), or of one of them (None)?

    It has one of iptables' names, and no base chain that iptables would not have made itself;
    one that has is refused by iptables as a whole ("incompatible, use 'nft' tool").
    """
    return (
        table.family in (_XT_FAMILIES.values() if family is None else (_XT_FAMILIES[family],))
        and table.name in _XT_TABLES
        and not table.dormant
        and all(
            chain.base is None or _is_xt_base(table.name, chain.name, chain.base) for chain in table.chains
        )
    )


def _is_xt_base(table: str, name: str, base: Base) -> bool:
    return _XT_BASES.get((table, name)) == (base.hook, base.priority, base.type)


def _family(payload: bytes) -> str:
    return FAMILIES.get(payload[0], str(payload[0]))


def _table(payload: bytes, chains: dict[tuple[str, str], list[ChainSeen]]) -> TableSeen:
    family, found = _family(payload), attributes(payload, 4)
    name = text(found[_TABLE_NAME])
    flags = be32(found[_TABLE_FLAGS]) if _TABLE_FLAGS in found else 0
    return TableSeen(
        family=family,
        name=name,
        dormant=bool(flags & _DORMANT),
        owner=be32(found[_TABLE_OWNER]) if flags & _OWNER and _TABLE_OWNER in found else None,
        chains=tuple(chains.get((family, name), ())),
    )


def _chain(family: str, found: dict[int, bytes]) -> ChainSeen:
    base = None
    if _CHAIN_HOOK in found:
        hook = attributes(found[_CHAIN_HOOK])
        number = be32(hook[_HOOK_NUMBER])
        names = _HOOKS.get(family, _INET_HOOKS)
        base = Base(
            type=text(found[_CHAIN_TYPE]) if _CHAIN_TYPE in found else "filter",
            hook=names[number] if number < len(names) else str(number),
            priority=struct.unpack(">i", hook[_HOOK_PRIORITY])[0],
            policy="drop" if _CHAIN_POLICY in found and be32(found[_CHAIN_POLICY]) == 0 else "accept",
            devices=_devices(hook),
            counters=_counters(found.get(_CHAIN_COUNTERS)),
        )
    return ChainSeen(
        name=text(found[_CHAIN_NAME]),
        use=be32(found[_CHAIN_USE]),
        base=base,
        handle=be64(found[_CHAIN_HANDLE]),
    )


def _devices(hook: dict[int, bytes]) -> tuple[str, ...]:
    if _HOOK_DEVICES in hook:
        return tuple(text(name) for name in each(hook[_HOOK_DEVICES]))
    return (text(hook[_HOOK_DEVICE]),) if _HOOK_DEVICE in hook else ()


def _counters(payload: bytes | None) -> Counters | None:
    if payload is None:
        return None
    found = attributes(payload)
    return Counters(be64(found[_COUNTER_PACKETS]), be64(found[_COUNTER_BYTES]))
