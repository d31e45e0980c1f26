"""
What nftables rules do: expressions that write into packets, translate, answer, count.

Lives here: one frozen type per such expression of the kernel; nft(8) calls them statements.
Not here: expressions that read and compare, registers (nettrace.model.nft_expr).
Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from msgspec import Struct

__all__ = [
    "CounterExpr",
    "CtSetExpr",
    "DupExpr",
    "ExthdrSetExpr",
    "FlowOffloadExpr",
    "FwdExpr",
    "LastExpr",
    "LogExpr",
    "MasqExpr",
    "MetaSetExpr",
    "NatExpr",
    "NotrackExpr",
    "ObjrefExpr",
    "PayloadSetExpr",
    "QueueExpr",
    "RedirExpr",
    "RejectExpr",
    "SynproxyExpr",
    "TproxyExpr",
]


class PayloadSetExpr(Struct, frozen=True, tag="payload_set"):
    """Write into a header."""

    sreg: int
    base: str
    offset: int
    length: int


class MetaSetExpr(Struct, frozen=True, tag="meta_set"):
    """``meta KEY set``."""

    sreg: int
    key: str


class CtSetExpr(Struct, frozen=True, tag="ct_set"):
    """``ct KEY set``."""

    sreg: int
    key: str
    direction: str | None = None


class ExthdrSetExpr(Struct, frozen=True, tag="exthdr_set", kw_only=True):
    """Write an option of TCP; without ``sreg`` strip it."""

    sreg: int | None
    op: str
    option: int
    offset: int = 0
    length: int = 0


class CounterExpr(Struct, frozen=True, tag="counter"):
    """Counts; what it counted is not part of the rule."""


class LastExpr(Struct, frozen=True, tag="last"):
    """Remembers when it was met."""


class LogExpr(Struct, frozen=True, tag="log", kw_only=True):
    """``log``."""

    prefix: str = ""
    group: int | None = None
    level: int | None = None
    flags: int = 0


class NatExpr(Struct, frozen=True, tag="nat", kw_only=True):
    """``kind`` is snat or dnat; registers of addresses and ports; flags of random persistent ..."""

    kind: str
    family: str
    addr_min: int | None = None
    addr_max: int | None = None
    port_min: int | None = None
    port_max: int | None = None
    flags: frozenset[str] = frozenset()


class MasqExpr(Struct, frozen=True, tag="masq", kw_only=True):
    """``masquerade``."""

    port_min: int | None = None
    port_max: int | None = None
    flags: frozenset[str] = frozenset()


class RedirExpr(Struct, frozen=True, tag="redir", kw_only=True):
    """``redirect``."""

    port_min: int | None = None
    port_max: int | None = None
    flags: frozenset[str] = frozenset()


class RejectExpr(Struct, frozen=True, tag="reject"):
    """``kind`` is icmp (with *code* of the family), tcp-reset or icmpx (with a *code* of both)."""

    kind: str
    code: int = 0


class NotrackExpr(Struct, frozen=True, tag="notrack"):
    """``notrack``."""


class QueueExpr(Struct, frozen=True, tag="queue", kw_only=True):
    """``queue``."""

    number: int | None = None
    total: int = 1
    bypass: bool = False
    fanout: bool = False
    sreg: int | None = None


class TproxyExpr(Struct, frozen=True, tag="tproxy", kw_only=True):
    """``tproxy``."""

    family: str
    addr: int | None = None
    port: int | None = None


class ObjrefExpr(Struct, frozen=True, tag="objref", kw_only=True):
    """A named object: its ``kind`` (the kernel's number) and ``name``, or looked up in the map ``set``."""

    kind: int = 0
    name: str = ""
    set: str = ""
    sreg: int | None = None


class DupExpr(Struct, frozen=True, tag="dup", kw_only=True):
    """``dup``: a copy goes elsewhere."""

    addr: int | None = None
    device: int | None = None


class FwdExpr(Struct, frozen=True, tag="fwd", kw_only=True):
    """``fwd``: the packet itself leaves by another device."""

    device: int | None = None
    addr: int | None = None


class SynproxyExpr(Struct, frozen=True, tag="synproxy"):
    """``synproxy``."""

    mss: int = 0
    wscale: int = 0
    flags: int = 0


class FlowOffloadExpr(Struct, frozen=True, tag="flow_offload"):
    """``flow add @TABLE``: later packets go past the hooks."""

    table: str
