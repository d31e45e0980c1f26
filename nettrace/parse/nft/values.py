"""
Bytes of registers as nft writes them: addresses, ports, states, flags, marks, names.

Lives here: one formatter a type, and which type a header field, a meta or ct key has.
Not here: putting them into rules (text).  Source: nftables' datatype.c, proto.c, meta.c, ct.c.
"""

import ipaddress
from collections.abc import Callable, Mapping

__all__ = ["CT_TYPES", "FIELDS", "META_TYPES", "NUMBERED", "constant", "flag_words", "number"]

PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
}
PROTOCOLS |= {132: "sctp", 136: "udplite"}
_ETHER = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ip6", 0x8100: "8021q"}
_ICMP = {
    0: "echo-reply",
    3: "destination-unreachable",
    4: "source-quench",
    5: "redirect",
    8: "echo-request",
    11: "time-exceeded",
    12: "parameter-problem",
    13: "timestamp-request",
    14: "timestamp-reply",
}
_ICMP6 = {
    1: "destination-unreachable",
    2: "packet-too-big",
    3: "time-exceeded",
    4: "parameter-problem",
    128: "echo-request",
    129: "echo-reply",
    133: "nd-router-solicit",
    134: "nd-router-advert",
    135: "nd-neighbor-solicit",
    136: "nd-neighbor-advert",
}
_DSCP = {0: "cs0", 46: "ef", 44: "va"} | {8 * n: f"cs{n}" for n in range(1, 8)}
_DSCP |= {8 * a + 2 * b: f"af{a}{b}" for a in range(1, 5) for b in range(1, 4)}
_ROUTES = (
    "unspec",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
)

#: Types of flags -> their bits, lowest first, with "" for those without a name.
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "tcp_flag": ("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"),
    "ct_state": ("invalid", "established", "related", "new", "", "", "untracked"),
    "ct_status": ("expected", "seen-reply", "assured", "confirmed", "snat", "dnat", "", "", "", "dying"),
}

#: (header, offset, length) -> name and type.  ``th`` is any transport protocol with ports.
FIELDS: Mapping[tuple[str, int, int], tuple[str, str]] = {
    ("ip", 0, 1): ("version", "integer"),
    ("ip", 1, 1): ("dscp", "tos"),
    ("ip", 2, 2): ("length", "integer"),
    ("ip", 4, 2): ("id", "integer"),
    ("ip", 6, 2): ("frag-off", "integer"),
    ("ip", 8, 1): ("ttl", "integer"),
    ("ip", 9, 1): ("protocol", "inet_proto"),
    ("ip", 12, 4): ("saddr", "ipv4_addr"),
    ("ip", 16, 4): ("daddr", "ipv4_addr"),
    ("ip6", 4, 2): ("length", "integer"),
    ("ip6", 6, 1): ("nexthdr", "inet_proto"),
    ("ip6", 7, 1): ("hoplimit", "integer"),
    ("ip6", 8, 16): ("saddr", "ipv6_addr"),
    ("ip6", 24, 16): ("daddr", "ipv6_addr"),
    **{
        (header, offset, 2): (name, "inet_service")
        for header in ("tcp", "udp", "sctp", "dccp", "udplite", "th")
        for offset, name in ((0, "sport"), (2, "dport"))
    },
    ("tcp", 4, 4): ("sequence", "integer"),
    ("tcp", 8, 4): ("ackseq", "integer"),
    ("tcp", 13, 1): ("flags", "tcp_flag"),
    ("tcp", 14, 2): ("window", "integer"),
    ("udp", 4, 2): ("length", "integer"),
    ("icmp", 0, 1): ("type", "icmp_type"),
    ("icmp", 1, 1): ("code", "integer"),
    ("icmp", 4, 2): ("id", "integer"),
    ("icmpv6", 0, 1): ("type", "icmpv6_type"),
    ("icmpv6", 1, 1): ("code", "integer"),
    ("ether", 0, 6): ("daddr", "ether_addr"),
    ("ether", 6, 6): ("saddr", "ether_addr"),
    ("ether", 12, 2): ("type", "ether_type"),
}

#: meta key -> length and type of the host's order.
META_TYPES: Mapping[str, tuple[int, str]] = {
    "length": (4, "host"),
    "protocol": (2, "ether_type"),
    "priority": (4, "host"),
    "mark": (4, "mark"),
    "iif": (4, "host"),
    "oif": (4, "host"),
    "iifname": (16, "ifname"),
    "oifname": (16, "ifname"),
    "ibrname": (16, "ifname"),
    "obrname": (16, "ifname"),
    "skuid": (4, "host"),
    "skgid": (4, "host"),
    "nfproto": (1, "nf_proto"),
    "l4proto": (1, "inet_proto"),
    "pkttype": (1, "pkt_type"),
    "nftrace": (1, "host"),
    "ipsec": (1, "boolean"),
    "cgroup": (4, "host"),
    "cpu": (4, "host"),
    "iifgroup": (4, "host"),
    "oifgroup": (4, "host"),
    "random": (4, "host"),
    "iiftype": (2, "host"),
    "oiftype": (2, "host"),
}

#: ct key -> length and type; addresses go by the family.
CT_TYPES: Mapping[str, tuple[int, str]] = {
    "state": (4, "ct_state"),
    "direction": (1, "ct_dir"),
    "status": (4, "ct_status"),
    "mark": (4, "mark"),
    "zone": (2, "host"),
    "l3proto": (1, "nf_proto"),
    "protocol": (1, "inet_proto"),
    "proto-src": (2, "inet_service"),
    "proto-dst": (2, "inet_service"),
    "ip_saddr": (4, "ipv4_addr"),
    "ip_daddr": (4, "ipv4_addr"),
    "ip6_saddr": (16, "ipv6_addr"),
    "ip6_daddr": (16, "ipv6_addr"),
    "packets": (8, "host"),
    "bytes": (8, "host"),
    "avgpkt": (8, "host"),
    "expiration": (4, "host"),
    "helper": (16, "string"),
}

#: nft's numbers of types (enum datatypes), as sets and maps keep them.
NUMBERED: Mapping[int, str] = {
    2: "nf_proto",
    4: "integer",
    7: "ipv4_addr",
    8: "ipv6_addr",
    9: "ether_addr",
    10: "ether_type",
    12: "inet_proto",
    13: "inet_service",
    14: "icmp_type",
    15: "tcp_flag",
    19: "mark",
    20: "host",
    26: "ct_state",
    27: "ct_dir",
    28: "ct_status",
    29: "icmpv6_type",
    31: "pkt_type",
    36: "dscp",
    38: "fib_addrtype",
    41: "ifname",
}


def number(data: bytes, kind: str, byteorder: str) -> int:
    """Return the number that the bytes of a type stand for."""
    order = byteorder if kind in _HOST else "big"
    return int.from_bytes(data, order)  # type: ignore[arg-type]


_HOST = frozenset({"host", "mark", "ct_state", "ct_status", "fib_addrtype"})


def flag_words(value: int, kind: str) -> str:
    """``established,related``; a number where a bit has no name."""
    names = _FLAGS[kind]
    bits = [bit for bit in range(value.bit_length()) if value >> bit & 1]
    if not bits or any(bit >= len(names) or not names[bit] for bit in bits):
        return f"{value:#x}"
    return ",".join(names[bit] for bit in bits)


def constant(data: bytes, kind: str, byteorder: str) -> str:
    """Return a constant of a type as text."""
    if kind in ("ifname", "string"):
        text = data.split(b"\0", 1)[0].decode(errors="backslashreplace")
        return f'"{text}"' if b"\0" in data or len(data) == 16 else f'"{text}*"'
    if kind in ("ipv4_addr", "ipv6_addr") and len(data) in (4, 16):
        return str(ipaddress.ip_address(data))
    if kind == "ether_addr":
        return data.hex(":")
    value = number(data, kind, byteorder)
    if kind in _FLAGS:
        return flag_words(value, kind)
    named = _NAMED.get(kind)
    if named is not None:
        return named(value)
    return str(value)


_NAMED: Mapping[str, Callable[[int], str]] = {
    "boolean": lambda value: "exists" if value else "missing",
    "ct_dir": lambda value: "reply" if value else "original",
    "dscp": lambda value: _DSCP.get(value, f"0x{value:02x}"),
    "ether_type": lambda value: _ETHER.get(value, f"{value:#06x}"),
    "fib_addrtype": lambda value: _ROUTES[value] if value < len(_ROUTES) else str(value),
    "icmp_type": lambda value: _ICMP.get(value, str(value)),
    "icmpv6_type": lambda value: _ICMP6.get(value, str(value)),
    "inet_proto": lambda value: PROTOCOLS.get(value, str(value)),
    "mark": lambda value: f"0x{value:08x}",
    "nf_proto": lambda value: {2: "ipv4", 10: "ipv6"}.get(value, str(value)),
    "pkt_type": lambda value: {0: "host", 1: "broadcast", 2: "multicast", 3: "other"}.get(value, str(value)),
}
