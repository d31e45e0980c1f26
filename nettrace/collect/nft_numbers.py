"""
What the numbers in nf_tables' attributes are called.

Lives here: a table an attribute; where it is a sequence the number is the place in it.
Not here: decoding (nft_expressions).
Source: include/uapi/linux/netfilter/nf_tables.h and nf_nat.h; the names are nft(8)'s.
"""

__all__ = [
    "BASES",
    "BITWISE",
    "CMP",
    "CT",
    "DYNSET",
    "EXTHDR",
    "FIB_FLAGS",
    "FIB_RESULTS",
    "META",
    "NAT_FLAGS",
    "REJECTS",
    "RT",
    "SOCKET",
    "VERDICTS",
]

VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    0xFFFFFFFF: "continue",
    0xFFFFFFFE: "break",
    0xFFFFFFFD: "jump",
    0xFFFFFFFC: "goto",
    0xFFFFFFFB: "return",
}
BASES = ("link", "network", "transport", "inner", "tun")
META = [
    "length",
    "protocol",
    "priority",
    "mark",
    "iif",
    "oif",
    "iifname",
    "oifname",
    "iiftype",
    "oiftype",
    "skuid",
    "skgid",
    "nftrace",
    "rtclassid",
    "secmark",
    "nfproto",
    "l4proto",
    "ibrname",
    "obrname",
    "pkttype",
    "cpu",
    "iifgroup",
    "oifgroup",
    "cgroup",
    "random",
    "ipsec",
    "iifkind",
    "oifkind",
    "ibrpvid",
    "ibrvproto",
    "time",
    "day",
    "hour",
    "sdif",
    "sdifname",
    "broute",
    "ibrhwaddr",
]
CT = [
    "state",
    "direction",
    "status",
    "mark",
    "secmark",
    "expiration",
    "helper",
    "l3proto",
    "saddr",
    "daddr",
    "protocol",
    "proto-src",
    "proto-dst",
    "label",
    "packets",
    "bytes",
    "avgpkt",
    "zone",
    "event",
    "ip_saddr",
    "ip_daddr",
    "ip6_saddr",
    "ip6_daddr",
    "id",
]
CMP = ("eq", "neq", "lt", "lte", "gt", "gte")
BITWISE = ("mask_xor", "lshift", "rshift", "and", "or", "xor")
RT = ("classid", "nexthop4", "nexthop6", "tcpmss", "ipsec")
SOCKET = ("transparent", "mark", "wildcard", "cgroupv2")
EXTHDR = ("ipv6", "tcpopt", "ipv4", "sctp", "dccp")
FIB_RESULTS = ("", "oif", "oifname", "type")
FIB_FLAGS = ("saddr", "daddr", "mark", "iif", "oif", "present")
NAT_FLAGS = {2: "random", 3: "persistent", 4: "fully-random", 6: "netmap"}
REJECTS = ("icmp", "tcp-reset", "icmpx")
DYNSET = ("add", "update", "delete")
