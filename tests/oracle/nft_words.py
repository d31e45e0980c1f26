"""
A rule of native nftables that is about IPv4, said of IPv6.

Lives here: words, and ranges of addresses.
Not here: drawing rules (nft_pieces).
"""

import re

__all__ = ["NOBODY", "about", "network", "span"]

#: Nobody's network, and one of its addresses.
NOBODY = {4: ("198.18.0.0/16", "198.18.0.1"), 6: ("2001:db8::/32", "2001:db8::1")}

#: What IPv6 calls it, in this order.
_WORDS = (
    (r"\bip (saddr|daddr)\b", r"ip6 \1"),
    (r"\b(dnat|snat) ip (to|addr)\b", r"\1 ip6 \2"),
    (r"\brt ip\b", "rt ip6"),
    (r"\bip protocol\b", "ip6 nexthdr"),
    (r"\bip ttl\b", "ip6 hoplimit"),
    (r"\bip length > 30\b", "ip6 length > 7"),  # of what follows the header
    (r"\bip length 60\b", "ip6 length != 40000"),
    (r"\bip (dscp|length)\b", r"ip6 \1"),
    (r"\bip version 4\b", "ip6 version 6"),
    (r"\bip frag-off & 0x1fff == 0\b", "exthdr frag missing"),
    (r"\bip hdrlength 5\b", "exthdr hbh missing"),
    (r"\bipv4_addr\b", "ipv6_addr"),
    (r"\bnfproto (!= )?ipv4\b", r"nfproto \1ipv6"),
    (r"\b(meta protocol|ether type) (!= )?(ip6?)\b", r"\1 \2<\3>"),
    (r"<ip>", "<6>"),
    (r"<ip6>", "ip"),
    (r"<6>", "ip6"),
    (r"\bicmp host-unreachable\b", "icmpv6 addr-unreachable"),
    (r"\bicmp net-prohibited\b", "icmpv6 policy-fail"),
    (r"\bicmp\b", "icmpv6"),
)


def about(family: int, text: str) -> str:
    """Return *text*, a rule or a set of IPv4 whose addresses are of *family*, for that family."""
    if family == 6:
        for old, new in _WORDS:
            text = re.sub(old, new, text)
    return text


def network(address: str) -> str:
    """The network that an address is in."""
    return f"{address.rpartition('::')[0]}::/64" if ":" in address else f"{address.rpartition('.')[0]}.0/24"


def span(address: str, last: int) -> str:
    """The first addresses of the network that an address is in."""
    net = address.rpartition("::")[0] + "::" if ":" in address else address.rpartition(".")[0] + "."
    return f"{net}-{net}{last}" if ":" in address else f"{net}0-{net}{last}"
