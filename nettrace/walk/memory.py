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

#: Entries kept; the oldest half goes when there are more.
_CAPACITY = 32768

_memory: dict[tuple[Callable[[Any], Any], int], tuple[Any, Any]] = {}


def derived(make: Callable[[S], T], source: S) -> T:
    """
    Return ``make(source)``, worked out at most once while *source* lives in the memory.

    The entry holds *source* itself, so that its identity cannot be reused by another value.
    *make* must be a pure function of a frozen value.
    """
    key = (make, id(source))
    found = _memory.get(key)
    if found is not None:
        result: T = found[1]
        return result
    made = make(source)
    if len(_memory) >= _CAPACITY:
        for old in list(_memory)[: _CAPACITY // 2]:
            del _memory[old]
    _memory[key] = (source, made)
    return made
