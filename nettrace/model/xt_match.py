"""
What rules of iptables test.

Lives here: one frozen type per match that nettrace understands, ``UnknownMatch`` for all others.
Not here: rules (nettrace.model.xt), text (nettrace.parse.iptables), evaluation (nettrace.walk).
"""

from typing import TypeAlias

from msgspec import Struct

from nettrace.model.packet import PortRange

__all__ = [
    "Addrtype",
    "Comment",
    "Connmark",
    "Conntrack",
    "Extension",
    "Icmp",
    "Limit",
    "Mark",
    "Match",
    "Multiport",
    "Negatable",
    "Nfacct",
    "Physdev",
    "Ports",
    "Recent",
    "Rpfilter",
    "SetMatch",
    "State",
    "Statistic",
    "Tcp",
    "Udp",
    "UnknownMatch",
]


class Negatable(Struct, frozen=True):
    """A value and whether the test is for anything but it (``! -s 10.0.0.0/8``)."""

    value: str
    invert: bool = False


class Ports(Struct, frozen=True):
    """A port range and whether the test is for anything outside it (``! --dport 80:90``)."""

    range: PortRange
    invert: bool = False


class Comment(Struct, frozen=True, tag="comment"):
    """``-m comment --comment TEXT``: always true."""

    text: str


class Addrtype(Struct, frozen=True, tag="addrtype"):
    """``-m addrtype``; ``src_type`` and ``dst_type`` hold names like LOCAL, comma-separated."""

    src_type: Negatable | None = None
    dst_type: Negatable | None = None
    limit_iface_in: bool = False
    limit_iface_out: bool = False


class Conntrack(Struct, frozen=True, tag="conntrack", kw_only=True):
    """
    ``-m conntrack``.

    ``states`` of INVALID NEW ESTABLISHED RELATED UNTRACKED SNAT DNAT in the order written.
    ``others`` keeps options that nettrace cannot evaluate, as (option, value, invert).
    """

    states: tuple[str, ...] = ()
    invert: bool = False
    direction: str | None = None  # ORIGINAL or REPLY
    proto: Negatable | None = None
    orig_src: Negatable | None = None
    orig_dst: Negatable | None = None
    repl_src: Negatable | None = None
    repl_dst: Negatable | None = None
    orig_sport: Ports | None = None
    orig_dport: Ports | None = None
    repl_sport: Ports | None = None
    repl_dport: Ports | None = None
    status: Negatable | None = None  # NONE EXPECTED SEEN_REPLY ASSURED CONFIRMED, comma-separated
    expire: Negatable | None = None


class State(Struct, frozen=True, tag="state"):
    """``-m state --state``: conntrack's elder."""

    states: tuple[str, ...]
    invert: bool = False


class Mark(Struct, frozen=True, tag="mark"):
    """``-m mark --mark VALUE/MASK``."""

    value: int
    mask: int = 0xFFFFFFFF
    invert: bool = False


class Connmark(Struct, frozen=True, tag="connmark"):
    """``-m connmark --mark VALUE/MASK``."""

    value: int
    mask: int = 0xFFFFFFFF
    invert: bool = False


class Multiport(Struct, frozen=True, tag="multiport"):
    """``-m multiport``; ``kind`` is ``sports``, ``dports`` or ``ports`` (either)."""

    kind: str
    ranges: tuple[PortRange, ...]
    invert: bool = False


class Physdev(Struct, frozen=True, tag="physdev", kw_only=True):
    """``-m physdev``.  The three ``is_`` fields: None not tested, else the wanted value."""

    physin: Negatable | None = None
    physout: Negatable | None = None
    is_in: bool | None = None
    is_out: bool | None = None
    is_bridged: bool | None = None


class Statistic(Struct, frozen=True, tag="statistic", kw_only=True):
    """
    ``-m statistic``.

    ``mode`` is ``random`` or ``nth``.  ``probability`` is in units of 1/2^31, the kernel's
    own (net/netfilter/xt_statistic.c: a random 31-bit number is smaller than it).
    """

    mode: str
    probability: int | None = None
    every: int | None = None
    packet: int | None = None
    invert: bool = False


class Tcp(Struct, frozen=True, tag="tcp", kw_only=True):
    """``-m tcp``.  ``flags`` is (mask, wanted), each a set of SYN ACK RST FIN PSH URG."""

    sport: Ports | None = None
    dport: Ports | None = None
    flags: tuple[frozenset[str], frozenset[str]] | None = None
    flags_invert: bool = False
    option: int | None = None
    option_invert: bool = False


class Udp(Struct, frozen=True, tag="udp", kw_only=True):
    """``-m udp``, and with ``proto`` ``sctp`` or ``dccp`` the ports of those."""

    sport: Ports | None = None
    dport: Ports | None = None
    proto: str = "udp"
    chunk_types: str | None = None  # SCTP, as written
    chunk_invert: bool = False
    packet_types: Negatable | None = None  # DCCP, as written
    option: Negatable | None = None  # DCCP


class Icmp(Struct, frozen=True, tag="icmp", kw_only=True):
    """``-m icmp --icmp-type``; type 255 is any.  ``proto`` is ``icmp`` or ``icmp6``."""

    proto: str = "icmp"
    icmp_type: int | None = None
    icmp_code: int | None = None
    invert: bool = False


class SetMatch(Struct, frozen=True, tag="set", kw_only=True):
    """``-m set --match-set NAME src,dst``; ``options`` keeps the rest as written."""

    name: str
    directions: tuple[str, ...]
    invert: bool = False
    options: tuple[str, ...] = ()


class Recent(Struct, frozen=True, tag="recent", kw_only=True):
    """``-m recent``; ``action`` is ``set``, ``rcheck``, ``update`` or ``remove``."""

    action: str
    name: str = "DEFAULT"
    side: str = "rsource"
    seconds: int | None = None
    hitcount: int | None = None
    reap: bool = False
    rttl: bool = False
    mask: str | None = None
    invert: bool = False


class Nfacct(Struct, frozen=True, tag="nfacct"):
    """``-m nfacct --nfacct-name``: counts, always true.  Written with a double blank by 1.8.9."""

    name: str


class Limit(Struct, frozen=True, tag="limit"):
    """``-m limit``: true while the bucket has tokens, which no dump shows."""

    rate: str
    burst: int


class Rpfilter(Struct, frozen=True, tag="rpfilter", kw_only=True):
    """``-m rpfilter``: would the reply leave by the interface this came in on?"""

    loose: bool = False
    validmark: bool = False
    accept_local: bool = False
    invert: bool = False


class Extension(Struct, frozen=True, tag="extension"):
    """
    A match of another extension of iptables, its options checked and kept as text.

    nettrace.parse.iptables.extension_options takes the text apart again.
    """

    name: str
    text: str  # everything after ``-m NAME``, "" if nothing


class UnknownMatch(Struct, frozen=True, tag="unknown"):
    """A match nettrace does not know: kept as text, evaluates to unknown."""

    name: str
    text: str  # everything after ``-m NAME``, as written, "" if nothing


Match: TypeAlias = (
    Comment
    | Addrtype
    | Conntrack
    | State
    | Mark
    | Connmark
    | Multiport
    | Physdev
    | Statistic
    | Tcp
    | Udp
    | Icmp
    | SetMatch
    | Recent
    | Nfacct
    | Limit
    | Rpfilter
    | Extension
    | UnknownMatch
)
