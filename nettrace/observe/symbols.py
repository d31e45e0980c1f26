"""
Names of places in the kernel's code.

Lives here: address -> function, from /proc/kallsyms.  Source: kernel/kallsyms.c; all addresses are
0 there for who may not see them (kptr_restrict, proc(5)).
"""

from bisect import bisect_right
from functools import cache
from pathlib import Path

__all__ = ["function_at"]

_LISTING = Path("/proc/kallsyms")


@cache
def _symbols() -> tuple[list[int], list[str]]:
    found: list[tuple[int, str]] = []
    try:
        with _LISTING.open() as listing:
            for entry in listing:
                address, kind, name = entry.split(maxsplit=3)[:3]
                if kind in "tTwW":
                    found.append((int(address, 16), name))
    except (OSError, ValueError):
        return [], []
    found.sort()
    if not found or not found[-1][0]:
        return [], []
    return [address for address, _ in found], [name for _, name in found]


@cache
def function_at(address: int) -> str:
    """Return the function that an address is in; "" if it cannot be told.  The first call takes 0.2 s."""
    addresses, names = _symbols()
    at = bisect_right(addresses, address) - 1
    return names[at] if at >= 0 else ""
