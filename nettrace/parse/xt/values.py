"""
Values in iptables' text: prefixes, ports, marks, NAT ranges, numbers.

Lives here: text to value and value to text.  All readers raise ValueError.
Not here: the options that carry them.
"""

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network

from nettrace.model.addr import family_of
from nettrace.model.packet import PortRange
from nettrace.model.xt_match import Negatable, Ports
from nettrace.model.xt_target import NatRange

__all__ = [
    "address",
    "mark",
    "mark_text",
    "masked_mark",
    "masked_mark_text",
    "nat_range",
    "nat_range_text",
    "negatable_text",
    "negated",
    "number",
    "ordered",
    "port_range",
    "port_range_text",
    "ports_text",
    "prefix",
]

_V4 = r"[0-9.]+"
_V6 = r"[0-9A-Fa-f:.]+"
_PORTS = r"(?::(?P<ports>[0-9]+(?:-[0-9]+(?:/(?P<base>[0-9]+))?)?))?"
_NAT4 = re.compile(rf"(?:(?P<lo>{_V4})(?:-(?P<hi>{_V4}))?)?{_PORTS}")
_NAT6 = re.compile(rf"(?P<lo>{_V6})(?:-(?P<hi>{_V6}))?")
_NAT6_BRACKETS = re.compile(rf"\[(?P<lo>{_V6})(?:-(?P<hi>{_V6}))?\]{_PORTS}")


def number(text: str, most: int = 0xFFFFFFFF) -> int:
    """Return a decimal number from 0 to *most*."""
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ValueError(f"{text} is not a number from 0 to {most}")
    return int(text)


@lru_cache(maxsize=65536)
def address(text: str) -> str:
    """
    Return an address in the one spelling that inet_ntop(3) gives it.

    Python writes ``::ffff:1.2.3.4`` without dots; inet_ntop keeps them, and so does this.
    """
    canonical = str(ip_address(text))
    return text.lower() if ":" in text and "." in text else canonical


@lru_cache(maxsize=65536)
def prefix(text: str) -> str:
    """
    Return what ``-s`` and ``-d`` were given as the kernel holds it.

    Host bits are cleared and a mask of leading ones becomes a length; any other mask stays
    a mask (``1.0.3.0/255.0.255.0``).  A bare address gets its full length.
    """
    base, _, mask = text.partition("/")
    if not mask or mask.isdigit():
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text} is neither an address nor a prefix") from None
        if network.network_address == ip_address(base):
            return f"{address(base)}/{network.prefixlen}"
        return str(network)
    whole, bits = ip_address(base), ip_address(mask)
    if bits.version != whole.version:
        raise ValueError(f"{text} mixes address families")
    ones = int(bits)
    cleared = type(whole)(int(whole) & ones)
    length = ones.bit_count()
    if ones == ((1 << length) - 1) << (whole.max_prefixlen - length):
        return f"{cleared}/{length}"
    return f"{cleared}/{bits}"


def ordered(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return a comma-separated list of *known* names in their order, which is that of iptables."""
    names = set(text.upper().split(","))
    if not names <= set(known):
        raise ValueError(f"{text} is not a list of {', '.join(known)}")
    return tuple(name for name in known if name in names)


def negated(invert: bool) -> str:
    """``! `` or nothing."""
    return "! " if invert else ""


def port_range(text: str, between: str = ":") -> PortRange:
    """Return ``80``, ``80:90``, ``:90`` or ``1024:`` as a range."""
    first, separator, last = text.partition(between)
    lo = number(first, 65535) if first or not separator else 0
    hi = lo if not separator else number(last, 65535) if last else 65535
    if hi < lo:
        raise ValueError(f"{text} ends before it begins")
    return PortRange(lo, hi)


def port_range_text(ports: PortRange) -> str:
    """``80`` or ``80:90``."""
    return str(ports.lo) if ports.lo == ports.hi else f"{ports.lo}:{ports.hi}"


def ports_text(option: str, ports: Ports | None) -> str:
    """`` ! --dport 80:90`` with a blank before it, or nothing."""
    return "" if ports is None else f" {negated(ports.invert)}{option} {port_range_text(ports.range)}"


def mark(text: str) -> int:
    """Return a number of 32 bits as strtoul(3) reads it: ``0x`` hexadecimal, ``0`` octal, decimal."""
    base = 16 if text[:2] in ("0x", "0X") else 8 if text.startswith("0") else 10
    found = int(text, base)
    if not 0 <= found <= 0xFFFFFFFF:
        raise ValueError(f"{text} has more than 32 bits")
    return found


def masked_mark(text: str) -> tuple[int, int]:
    """Return ``VALUE`` or ``VALUE/MASK``; the mask is all ones when it is left out."""
    bits, _, mask = text.partition("/")
    return mark(bits), mark(mask) if mask else 0xFFFFFFFF


def mark_text(bits: int, mask: int) -> str:
    """``0x5``, or ``0x5/0xff`` if the mask is not all ones (print_mark() of libxt_mark.c)."""
    return f"{bits:#x}" if mask == 0xFFFFFFFF else masked_mark_text(bits, mask)


def masked_mark_text(bits: int, mask: int) -> str:
    """``0x5/0xff``."""
    return f"{bits:#x}/{mask:#x}"


def nat_range(text: str) -> NatRange:
    """
    Return what ``--to-destination`` and ``--to-source`` were given.

    ``1.1.1.1:80-90/85`` has a port base.
    """
    found = _NAT4.fullmatch(text) or _NAT6_BRACKETS.fullmatch(text) or _NAT6.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"{text} is not a NAT range")
    groups = found.groupdict()
    lo = address(groups["lo"]) if groups["lo"] else None
    hi = address(groups["hi"]) if groups["hi"] else None
    if lo and hi and family_of(lo) != family_of(hi):
        raise ValueError(f"{text} mixes address families")
    shown, _, _ = (groups.get("ports") or "").partition("/")
    ports = port_range(shown, "-") if shown else None
    base = number(groups["base"], 65535) if groups.get("base") else None
    return NatRange(lo=lo, hi=None if hi == lo else hi, ports=ports, base=base)


def nat_range_text(to: NatRange) -> str:
    """``1.2.3.4-1.2.3.9:80-90/85``, ``[fd00::1]:80``, ``:80``."""
    addresses = "" if to.lo is None else to.lo if to.hi is None else f"{to.lo}-{to.hi}"
    if to.ports is None:
        return addresses
    ports = f"{to.ports}" if to.base is None else f"{to.ports}/{to.base}"
    return f"[{addresses}]:{ports}" if ":" in addresses else f"{addresses}:{ports}"


def negatable_text(option: str, value: Negatable | None) -> str:
    """`` ! --option value`` with a blank before it, or nothing."""
    return "" if value is None else f" {negated(value.invert)}{option} {value.value}"
