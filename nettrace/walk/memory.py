"""
What is worked out once from a section and used by every walk over it.

Lives here: a bounded memory keyed by the identity of a frozen value.  Diagnosis walks
hundreds of snapshots that share almost all sections; an index of 10,000 rules or a routing
table is built once for each distinct section.
Not here: what is worked out (each stage brings its own function).
"""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["derived"]

S = TypeVar("S")
T = TypeVar("T")

_memory: dict[Callable[[Any], Any], dict[int, tuple[Any, Any]]] = {}


def derived(make: Callable[[S], T], source: S, *, keep: int = 4096) -> T:
    """
    Return ``make(source)``, worked out at most once while *source* lives in the memory.

    The entry holds *source* itself, so that its identity cannot be reused by another value.
    *make* must be a pure function of a frozen value.  At most *keep* results of one function
    are held; when there are more, the older half goes.
    """
    held = _memory.setdefault(make, {})
    found = held.get(id(source))
    if found is not None:
        result: T = found[1]
        return result
    made = make(source)
    if len(held) >= keep:
        for old in list(held)[: keep // 2]:
            del held[old]
    held[id(source)] = (source, made)
    return made
