"""
What nftables rules are made of: expressions that read, compare and write registers.

Lives here: one frozen type per expression of the kernel that does nothing else, ``UnknownExpr``
for those that nettrace does not know.
Registers bear the kernel's numbers: 0 the verdict, 1 to 4 of 16 bytes, 8 to 23 of 4 bytes over
the same store.  Bytes are hexadecimal text, as they lie in the register.
Not here: expressions that do something to a packet (nettrace.model.nft_statement), rules and
chains (nettrace.model.nft), what they evaluate to (nettrace.walk).
Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from typing import TypeAlias

from msgspec import Struct

from nettrace.model.nft_statement import (
    CounterExpr,
    CtSetExpr,
    DupExpr,
    ExthdrSetExpr,
    FlowOffloadExpr,
    FwdExpr,
    LastExpr,
    LogExpr,
    MasqExpr,
    MetaSetExpr,
    NatExpr,
    NotrackExpr,
    ObjrefExpr,
    PayloadSetExpr,
    QueueExpr,
    RedirExpr,
    RejectExpr,
    SynproxyExpr,
    TproxyExpr,
)

__all__ = [
    "BitwiseExpr",
    "ByteorderExpr",
    "CmpExpr",
    "ConnlimitExpr",
    "CtExpr",
    "DynsetExpr",
    "Expression",
    "ExthdrExpr",
    "FibExpr",
    "HashExpr",
    "ImmediateExpr",
    "LimitExpr",
    "LookupExpr",
    "MetaExpr",
    "NftVerdict",
    "NumgenExpr",
    "PayloadExpr",
    "QuotaExpr",
    "RangeExpr",
    "RtExpr",
    "SocketExpr",
    "UnknownExpr",
    "XtMatchExpr",
    "XtTargetExpr",
]


class NftVerdict(Struct, frozen=True):
    """
    ``code`` is accept, drop, queue, continue, break, jump, goto or return; ``chain`` the one to go to.

    ``queue`` is the number of the queue.
    """

    code: str
    chain: str = ""
    queue: int = 0


# --- reading and comparing -------------------------------------------------------------


class PayloadExpr(Struct, frozen=True, tag="payload"):
    """*length* bytes from *offset* of a header: ``link``, ``network``, ``transport``, ``inner``."""

    dreg: int
    base: str
    offset: int
    length: int


class MetaExpr(Struct, frozen=True, tag="meta"):
    """What hangs on the packet: ``mark``, ``iifname``, ``l4proto`` ..."""

    dreg: int
    key: str


class CtExpr(Struct, frozen=True, tag="ct"):
    """Of the connection; ``direction`` ``original`` or ``reply`` where the key has one."""

    dreg: int
    key: str
    direction: str | None = None


class CmpExpr(Struct, frozen=True, tag="cmp"):
    """``op`` is eq, neq, lt, lte, gt or gte, byte by byte."""

    sreg: int
    op: str
    data: str


class RangeExpr(Struct, frozen=True, tag="range"):
    """Between *low* and *high*, both included; ``op`` is eq or neq."""

    sreg: int
    op: str
    low: str
    high: str


class BitwiseExpr(Struct, frozen=True, tag="bitwise", kw_only=True):
    """
    ``op`` ``mask_xor``: (value & mask) ^ xor; ``lshift``, ``rshift`` by ``data``.

    ``and``, ``or``, ``xor`` of newer kernels take their other side from ``data`` or ``sreg2``.
    """

    sreg: int
    dreg: int
    length: int
    op: str = "mask_xor"
    mask: str = ""
    xor: str = ""
    data: str = ""
    sreg2: int | None = None


class ByteorderExpr(Struct, frozen=True, tag="byteorder"):
    """Between network and host order, in pieces of *size* bytes; ``op`` is ntoh or hton."""

    sreg: int
    dreg: int
    op: str
    length: int
    size: int


class LookupExpr(Struct, frozen=True, tag="lookup"):
    """Is the key in the set?  With ``dreg`` what a map holds for it, into that register."""

    set: str
    sreg: int
    dreg: int | None = None
    invert: bool = False


class DynsetExpr(Struct, frozen=True, tag="dynset", kw_only=True):
    """``op`` is add, update or delete; ``stateful`` names the expressions that an element gets."""

    set: str
    op: str
    sreg_key: int
    sreg_data: int | None = None
    timeout: int | None = None  # ms
    invert: bool = False
    stateful: tuple[str, ...] = ()


class NumgenExpr(Struct, frozen=True, tag="numgen"):
    """A number from *offset* on, of *modulus* ones; ``kind`` is inc or random."""

    dreg: int
    modulus: int
    kind: str
    offset: int = 0


class HashExpr(Struct, frozen=True, tag="hash", kw_only=True):
    """``kind`` is jenkins (of *length* bytes at *sreg*) or symmetric; ``seed`` None: drawn by the kernel."""

    dreg: int
    kind: str
    modulus: int
    offset: int = 0
    sreg: int | None = None
    length: int = 0
    seed: int | None = None


class FibExpr(Struct, frozen=True, tag="fib"):
    """A route's ``oif``, ``oifname`` or ``type``; ``flags`` of saddr daddr mark iif oif present."""

    dreg: int
    result: str
    flags: frozenset[str]


class RtExpr(Struct, frozen=True, tag="rt"):
    """Of the packet's route: ``classid``, ``nexthop4``, ``nexthop6``, ``tcpmss``, ``ipsec``."""

    dreg: int
    key: str


class SocketExpr(Struct, frozen=True, tag="socket"):
    """Of the socket that would take the packet: ``transparent``, ``mark``, ``wildcard``, ``cgroupv2``."""

    dreg: int
    key: str
    level: int = 0


class ExthdrExpr(Struct, frozen=True, tag="exthdr", kw_only=True):
    """``op`` is ipv6, tcpopt, ipv4, sctp or dccp; ``present``: is it there at all?"""

    dreg: int
    op: str
    option: int
    offset: int = 0
    length: int = 0
    present: bool = False


class LimitExpr(Struct, frozen=True, tag="limit", kw_only=True):
    """``rate`` per ``unit`` seconds of ``packets`` or ``bytes``."""

    rate: int
    unit: int
    burst: int = 0
    kind: str = "packets"
    invert: bool = False


class QuotaExpr(Struct, frozen=True, tag="quota", kw_only=True):
    """True until *bytes* are used up; inverted (``over``) from then on."""

    bytes: int
    consumed: int = 0
    invert: bool = False


class ConnlimitExpr(Struct, frozen=True, tag="connlimit"):
    """``ct count``."""

    count: int
    invert: bool = False


# --- registers, and what is not of nf_tables itself ----------------------------------------


class ImmediateExpr(Struct, frozen=True, tag="immediate", kw_only=True):
    """A value, or a verdict, into a register."""

    dreg: int
    data: str = ""
    verdict: NftVerdict | None = None


class XtMatchExpr(Struct, frozen=True, tag="match"):
    """A match of iptables in a rule of nf_tables; ``info`` is its binary."""

    name: str
    rev: int
    info: str


class XtTargetExpr(Struct, frozen=True, tag="target"):
    """A target of iptables in a rule of nf_tables."""

    name: str
    rev: int
    info: str


class UnknownExpr(Struct, frozen=True, tag="unknown"):
    """An expression that nettrace does not know."""

    name: str


Expression: TypeAlias = (
    PayloadExpr
    | MetaExpr
    | CtExpr
    | CmpExpr
    | RangeExpr
    | BitwiseExpr
    | ByteorderExpr
    | LookupExpr
    | DynsetExpr
    | NumgenExpr
    | HashExpr
    | FibExpr
    | RtExpr
    | SocketExpr
    | ExthdrExpr
    | LimitExpr
    | QuotaExpr
    | ConnlimitExpr
    | ImmediateExpr
    | PayloadSetExpr
    | MetaSetExpr
    | CtSetExpr
    | ExthdrSetExpr
    | CounterExpr
    | LastExpr
    | LogExpr
    | NatExpr
    | MasqExpr
    | RedirExpr
    | RejectExpr
    | NotrackExpr
    | QueueExpr
    | TproxyExpr
    | ObjrefExpr
    | DupExpr
    | FwdExpr
    | SynproxyExpr
    | FlowOffloadExpr
    | XtMatchExpr
    | XtTargetExpr
    | UnknownExpr
)
