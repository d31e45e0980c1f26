"""
Addresses and prefixes as canonical text.

Lives here: parsing once, comparing often.  The model keeps addresses as text because
text is what people, JSON and iptables read; the integers are cached here.
Not here: which address belongs to whom (links, routes, kube).
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

__all__ = [
    "ANY4",
    "ANY6",
    "address_text",
    "address_value",
    "canonical_address",
    "canonical_prefix",
    "family_of",
    "in_prefix",
    "is_address",
    "is_link_local",
    "is_loopback",
    "is_multicast",
    "network_of",
    "prefix_contains",
    "prefix_length",
]

ANY4 = "0.0.0.0/0"
ANY6 = "::/0"


@lru_cache(maxsize=65536)
def _address(text: str) -> tuple[int, int]:
    parsed = ip_address(text)
    return parsed.version, int(parsed)


@lru_cache(maxsize=65536)
def _prefix(text: str) -> tuple[int, int, int]:
    base, _, mask_text = text.partition("/")
    if "." in mask_text or ":" in mask_text:
        # iptables takes any mask (0.0.0.5/0.0.0.255: the last octet is 5), where ip_network
        # would take 0.0.0.255 for a host mask
        version, value = _address(base)
        mask = _address(mask_text)[1]
        return version, value & mask, mask
    parsed = ip_network(text, strict=False)
    return parsed.version, int(parsed.network_address), int(parsed.netmask)


@lru_cache(maxsize=65536)
def canonical_address(text: str) -> str:
    """Return the one spelling of an IPv4 or IPv6 address; ValueError if it is none."""
    return str(ip_address(text))


def is_address(text: str) -> bool:
    """Is it an IPv4 or IPv6 address, in any spelling?"""
    try:
        canonical_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=65536)
def canonical_prefix(text: str) -> str:
    """Return ``network/length`` with host bits cleared; a bare address gets its full length."""
    return str(ip_network(text, strict=False))


def address_value(text: str) -> int:
    """Return an address as a number."""
    return _address(text)[1]


def address_text(value: int, family: int) -> str:
    """Return the address that a number is."""
    return str(IPv4Address(value) if family == 4 else IPv6Address(value))


def family_of(text: str) -> int:
    """Return 4 or 6 for an address or a prefix."""
    return 6 if ":" in text else 4


def in_prefix(address: str, prefix: str) -> bool:
    """Is *address* in *prefix* (``10.0.0.0/8``, a bare address, ``ADDRESS/MASK``)?  Families never mix."""
    version, value = _address(address)
    prefix_version, network, mask = _prefix(prefix)
    return version == prefix_version and value & mask == network


def prefix_contains(outer: str, inner: str) -> bool:
    """Does the prefix *outer* cover the whole of the prefix *inner*?"""
    version, network, mask = _prefix(outer)
    inner_version, inner_network, inner_mask = _prefix(inner)
    return version == inner_version and inner_network & mask == network and inner_mask & mask == mask


def prefix_length(prefix: str) -> int:
    """Return the length in bits of a prefix; 32 or 128 for a bare address."""
    return ip_network(prefix, strict=False).prefixlen


@lru_cache(maxsize=65536)
def network_of(address: str, length: int) -> str:
    """Return the canonical prefix of *length* bits that holds *address*."""
    return str(ip_interface(f"{address}/{length}").network)


@lru_cache(maxsize=65536)
def is_loopback(address: str) -> bool:
    """127.0.0.0/8 or ::1."""
    return ip_address(address).is_loopback


@lru_cache(maxsize=65536)
def is_link_local(address: str) -> bool:
    """169.254.0.0/16 or fe80::/10."""
    return ip_address(address).is_link_local


@lru_cache(maxsize=65536)
def is_multicast(address: str) -> bool:
    """224.0.0.0/4 or ff00::/8."""
    return ip_address(address).is_multicast
