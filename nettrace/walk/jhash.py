"""
Bob Jenkins' hash, as the kernel spreads connections with it.

Lives here: jhash, jhash2 and reciprocal_scale (include/linux/jhash.h, include/linux/kernel.h),
and addresses as the 32-bit words that a little-endian machine hashes.
"""

from ipaddress import ip_address

__all__ = ["address_words", "jhash", "jhash2", "reciprocal_scale"]

_ALL = 0xFFFFFFFF
_INIT = 0xDEADBEEF


def _rol(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _ALL


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c & _ALL) ^ _rol(c, 4)
    c = c + b & _ALL
    b = (b - a & _ALL) ^ _rol(a, 6)
    a = a + c & _ALL
    c = (c - b & _ALL) ^ _rol(b, 8)
    b = b + a & _ALL
    a = (a - c & _ALL) ^ _rol(c, 16)
    c = c + b & _ALL
    b = (b - a & _ALL) ^ _rol(a, 19)
    a = a + c & _ALL
    c = (c - b & _ALL) ^ _rol(b, 4)
    b = b + a & _ALL
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _rol(b, 14) & _ALL
    a = (a ^ c) - _rol(c, 11) & _ALL
    b = (b ^ a) - _rol(a, 25) & _ALL
    c = (c ^ b) - _rol(b, 16) & _ALL
    a = (a ^ c) - _rol(c, 4) & _ALL
    b = (b ^ a) - _rol(a, 14) & _ALL
    return (c ^ b) - _rol(b, 24) & _ALL


def jhash(data: bytes, seed: int, byteorder: str) -> int:
    """Hash bytes on a machine of this order: words in its own, what is left over little-endian."""
    a = b = c = (_INIT + len(data) + seed) & _ALL
    at = 0
    while len(data) - at > 12:
        first, second, third = _words(data[at : at + 12], byteorder)
        a, b, c = _mix(a + first & _ALL, b + second & _ALL, c + third & _ALL)
        at += 12
    if at == len(data):
        return c
    first, second, third = _words(data[at:].ljust(12, b"\0"), "little")
    return _final(a + first & _ALL, b + second & _ALL, c + third & _ALL)


def _words(data: bytes, byteorder: str) -> tuple[int, ...]:
    return tuple(
        int.from_bytes(data[at : at + 4], byteorder)  # type: ignore[arg-type]
        for at in range(0, len(data), 4)
    )


def jhash2(words: tuple[int, ...], seed: int) -> int:
    """Hash 32-bit words; jhash_1word and its kin give the same."""
    a = b = c = (_INIT + (len(words) << 2) + seed) & _ALL
    left = list(words)
    while len(left) > 3:
        a, b, c = _mix(a + left[0] & _ALL, b + left[1] & _ALL, c + left[2] & _ALL)
        left = left[3:]
    if not left:
        return c
    first, second, third = (*left, 0, 0)[:3]
    return _final(a + first & _ALL, b + second & _ALL, c + third & _ALL)


def reciprocal_scale(value: int, end: int) -> int:
    """Map a 32-bit number to 0 ... *end* - 1."""
    return value * end >> 32


def address_words(address: str) -> tuple[int, ...]:
    """Return an address as the kernel holds it: network order, read by a little-endian machine."""
    return _words(ip_address(address).packed, "little")
