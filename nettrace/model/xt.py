"""
iptables rule sets: tables, chains, rules, matches, targets.

Lives here: one frozen type per match and target that nettrace understands, ``UnknownMatch``
and ``UnknownTarget`` for all others.  The same types serve iptables-nft and iptables-legacy.
Not here: text (nettrace.parse.iptables), evaluation (nettrace.walk).
"""

from typing import TypeAlias

from msgspec import Struct

from nettrace.model.packet import PortRange
from nettrace.model.section import Section

__all__ = [
    "BACKENDS",
    "BUILTIN_CHAINS",
    "TABLES",
    "XT_SECTIONS",
    "Accept",
    "Addrtype",
    "Comment",
    "Connmark",
    "ConnmarkTarget",
    "Conntrack",
    "Counters",
    "Ct",
    "Dnat",
    "Drop",
    "Extension",
    "ExtensionTarget",
    "Icmp",
    "Jump",
    "Limit",
    "Log",
    "Mark",
    "MarkTarget",
    "Masquerade",
    "Match",
    "Multiport",
    "NatRange",
    "Negatable",
    "Nfacct",
    "Nflog",
    "Notrack",
    "PassThrough",
    "Physdev",
    "Ports",
    "Recent",
    "Redirect",
    "Reject",
    "Return",
    "Rpfilter",
    "SetMatch",
    "Snat",
    "State",
    "Statistic",
    "Target",
    "Tcp",
    "Tcpmss",
    "Udp",
    "UnknownMatch",
    "UnknownTarget",
    "XtChain",
    "XtRule",
    "XtRuleset",
    "XtTable",
    "base_protocol",
]

#: Back ends by the word that stands in section keys (``xt/nft/...``).
BACKENDS = ("nft", "legacy")
#: What section keys of rule sets begin with: iptables' and ip6tables'.
XT_SECTIONS = ("xt", "xt6")

TABLES = ("raw", "mangle", "nat", "filter", "security")

#: Table -> its built-in chains, in the order iptables-save prints them.
BUILTIN_CHAINS: dict[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


class Negatable(Struct, frozen=True):
    """A value and whether the test is for anything but it (``! -s 10.0.0.0/8``)."""

    value: str
    invert: bool = False


class Ports(Struct, frozen=True):
    """A port range and whether the test is for anything outside it (``! --dport 80:90``)."""

    range: PortRange
    invert: bool = False


# --- matches ---------------------------------------------------------------------------


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


# --- targets ---------------------------------------------------------------------------


class Accept(Struct, frozen=True, tag="ACCEPT"):
    """Ends this table's base chain, not the hook."""


class Drop(Struct, frozen=True, tag="DROP"):
    """Ends everything."""


class Return(Struct, frozen=True, tag="RETURN"):
    """Back to the calling chain; in a built-in chain, the policy."""


class Jump(Struct, frozen=True, tag="jump"):
    """``-j CHAIN``, or ``-g CHAIN`` with ``goto``: no way back to here."""

    chain: str
    goto: bool = False


class Reject(Struct, frozen=True, tag="REJECT"):
    """Drop and answer; ``with_`` as in ``--reject-with``."""

    with_: str = "icmp-port-unreachable"


class NatRange(Struct, frozen=True, kw_only=True):
    """
    Addresses *lo* to *hi* and ports; None: kept.

    With a *base* a port is moved by as much as it was above that (``:5000-5100/80``).
    """

    lo: str | None = None
    hi: str | None = None
    ports: PortRange | None = None
    base: int | None = None


class Dnat(Struct, frozen=True, tag="DNAT", kw_only=True):
    """``-j DNAT --to-destination``."""

    to: NatRange
    random: bool = False
    persistent: bool = False


class Snat(Struct, frozen=True, tag="SNAT", kw_only=True):
    """``-j SNAT --to-source``."""

    to: NatRange
    random: bool = False
    random_fully: bool = False
    persistent: bool = False


class Masquerade(Struct, frozen=True, tag="MASQUERADE", kw_only=True):
    """SNAT to the address of the device that the packet leaves by."""

    ports: PortRange | None = None
    random: bool = False
    random_fully: bool = False


class Redirect(Struct, frozen=True, tag="REDIRECT", kw_only=True):
    """DNAT to the address of the device that the packet came in by; 127.0.0.1 in OUTPUT."""

    ports: PortRange | None = None
    random: bool = False


class MarkTarget(Struct, frozen=True, tag="MARK"):
    """``--set-xmark VALUE/MASK``: mark = (mark & ~MASK) ^ VALUE."""

    value: int
    mask: int = 0xFFFFFFFF


class ConnmarkTarget(Struct, frozen=True, tag="CONNMARK", kw_only=True):
    """
    ``action`` is ``set``, ``save`` or ``restore``; masks as in xt_CONNMARK.

    ``shift`` moves the new mark to the left by so many bits, to the right if it is negative.
    """

    action: str
    value: int = 0
    ctmask: int = 0xFFFFFFFF
    nfmask: int = 0xFFFFFFFF
    shift: int = 0


class Notrack(Struct, frozen=True, tag="NOTRACK"):
    """``-j CT --notrack`` and ``-j NOTRACK``; ``old`` keeps which one was written."""

    old: bool = False


class Ct(Struct, frozen=True, tag="CT"):
    """``-j CT`` with other options, kept as written (zone, helper, timeout ...)."""

    text: str


class Log(Struct, frozen=True, tag="LOG"):
    """``-j LOG``; no verdict."""

    text: str = ""


class Nflog(Struct, frozen=True, tag="NFLOG"):
    """``-j NFLOG``; no verdict."""

    text: str = ""


class Tcpmss(Struct, frozen=True, tag="TCPMSS"):
    """``-j TCPMSS``: ``mss`` None means clamp to the path MTU."""

    mss: int | None = None


class PassThrough(Struct, frozen=True, tag="none"):
    """No ``-j`` at all: the rule only counts."""


class ExtensionTarget(Struct, frozen=True, tag="extension"):
    """
    Another target of iptables, its options checked and kept as text.

    nettrace.parse.iptables.extension_options takes the text apart again.
    """

    name: str
    text: str  # everything after ``-j NAME``, "" if nothing


class UnknownTarget(Struct, frozen=True, tag="unknown"):
    """A target nettrace does not know: kept as text, evaluates to unknown."""

    name: str
    text: str


Target: TypeAlias = (
    Accept
    | Drop
    | Return
    | Jump
    | Reject
    | Dnat
    | Snat
    | Masquerade
    | Redirect
    | MarkTarget
    | ConnmarkTarget
    | Notrack
    | Ct
    | Log
    | Nflog
    | Tcpmss
    | PassThrough
    | ExtensionTarget
    | UnknownTarget
)


# --- rules, chains, tables -------------------------------------------------------------


class Counters(Struct, frozen=True):
    """Packets and bytes of a rule or a policy."""

    packets: int
    bytes: int


class XtRule(Struct, frozen=True, kw_only=True):
    """
    One rule.

    ``proto`` is as written (``tcp``, ``132``); devices may end in ``+``.  ``fragment``:
    None not tested, True ``-f``, False ``! -f``.  Two rules are equal when the kernel holds
    the same; counters are not part of a rule.
    """

    src: Negatable | None = None
    dst: Negatable | None = None
    in_device: Negatable | None = None
    out_device: Negatable | None = None
    proto: Negatable | None = None
    fragment: bool | None = None
    matches: tuple[Match, ...] = ()
    target: Target = PassThrough()

    @property
    def comment(self) -> str:
        """The text of the rule's comment match, or ""."""
        return next((m.text for m in self.matches if isinstance(m, Comment)), "")


class XtChain(Struct, frozen=True, kw_only=True):
    """
    One chain.  ``policy`` is None for user-defined chains.

    ``counters`` has one entry a rule, ``policy_counters`` those of a built-in chain.
    """

    policy: str | None = None
    rules: tuple[XtRule, ...] = ()
    counters: tuple[Counters, ...] | None = None
    policy_counters: Counters | None = None


class XtTable(Struct, frozen=True):
    """The chains of a table.  A name that is not in here does not exist on the node."""

    chains: dict[str, Section[XtChain]]


class XtRuleset(Struct, frozen=True):
    """The tables of one back end.  A table that is not in here does not exist on the node."""

    tables: dict[str, Section[XtTable]]


def base_protocol(name: str) -> str:
    """
    Return what a packet says for what ``-p`` may be given, a number or a name of /etc/protocols.

    That is the lower-case name of a protocol that packets name, otherwise its number as text.
    """
    return _PROTOCOLS.get(name.lower(), name.lower())


_PROTOCOLS = {
    "1": "icmp",
    "6": "tcp",
    "17": "udp",
    "33": "dccp",
    "58": "icmpv6",
    "132": "sctp",
    "136": "udplite",
    "ipv6-icmp": "icmpv6",
    "igmp": "2",
    "ipencap": "4",
    "ipv6": "41",
    "gre": "47",
    "esp": "50",
    "ipsec-esp": "50",
    "ah": "51",
    "ipsec-ah": "51",
    "ospf": "89",
    "ipip": "94",
    "pim": "103",
    "ipcomp": "108",
    "vrrp": "112",
    "l2tp": "115",
}
