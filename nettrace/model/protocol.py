"""
Transport protocols: the names that packets carry, and their numbers.

Lives here: the one table of them (a protocol that is not in it goes by its number as text), and what
iptables calls them.
Not here: packets (nettrace.model.packet).
Source: IANA's protocol numbers, include/uapi/linux/in.h, /etc/protocols.
"""

__all__ = ["base_protocol", "protocol_name", "protocol_number"]

#: The names that packets and connections carry.
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_NUMBERS = {
    **{name: number for number, name in _NAMES.items()},
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipcomp": 108,
    "mh": 135,
    "udplite": 136,
}


def protocol_name(number: int) -> str:
    """Return the name that a packet of this protocol carries."""
    return _NAMES.get(number, str(number))


def protocol_number(name: str) -> int:
    """Return the number for the name that a packet carries; ValueError for what is neither."""
    return _NUMBERS[name] if name in _NUMBERS else int(name)


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
