"""
Prefixes and times in the form in which nft shows them.

Lives here: the elements of an anonymous set of addresses, merged as nft merges them, and
durations.  Not here: rules.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range

__all__ = ["braced", "duration"]


def braced(prefixes: Iterable[str]) -> str:
    """
    Return ``{ 192.168.0.0/24, 203.0.113.10 }``, or the only element without braces.

    nft merges what overlaps and what touches, and sorts (src/intervals.c); a merged interval
    that is no prefix is a range.  Several that become one keep the braces.
    """
    given = list(prefixes)
    shown = list(_shown(given))
    return shown[0] if len(given) == 1 else f"{{ {', '.join(shown)} }}"


def _shown(prefixes: Iterable[str]) -> Iterator[str]:
    nets = [ip_network(prefix, strict=False) for prefix in prefixes]
    kind = IPv6Address if any(net.version == 6 for net in nets) else IPv4Address
    spans: list[tuple[int, int]] = []
    for first, last in sorted((int(net[0]), int(net[-1])) for net in nets):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    for first, last in spans:
        low, high = kind(first), kind(last)
        if first == last:
            yield str(low)
            continue
        parts = list(summarize_address_range(low, high))
        yield str(parts[0]) if len(parts) == 1 else f"{low}-{high}"


def duration(seconds: int) -> str:
    """``3h``, ``1d2h``, ``10m``: each unit that is not zero."""
    found = ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        found += f"{count}{unit}" if count else ""
    return found or "0s"
