"""
Looking a key up in a set or a map of nf_tables.

Lives here: hash sets, intervals, concatenations with ranges, catch-all elements; what a walk's
own packets put in; keys that are not wholly known.
Not here: reading the elements (nft_read), what follows (nft_rule).
Sources: net/netfilter/nft_lookup.c, nft_set_hash.c, nft_set_rbtree.c, nft_set_pipapo.c.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from nettrace.model.nft import NftElement, NftSet
from nettrace.walk.nft_value import Value, compared, in_range
from nettrace.walk.point import Answered, Unsure

__all__ = ["Index", "find", "index_of"]

#: Keys that may be one of more elements than this are not compared one by one.
_MOST = 100_000


class Index(NamedTuple):
    """A set's elements, sorted for looking up."""

    kind: str  # exact, interval or ranges
    exact: dict[bytes, NftElement]
    starts: list[bytes]
    at: list[NftElement | None]
    ranges: tuple[tuple[bytes, bytes, NftElement], ...]
    fields: tuple[int, ...]
    rest: NftElement | None


def index_of(one: NftSet, elements: tuple[NftElement, ...]) -> Index:
    """Build the index of a set."""
    rest = next((element for element in elements if element.catch_all), None)
    held = [element for element in elements if not element.catch_all]
    fields = one.fields or (one.key_len,)
    if any(element.key_end is not None for element in held):
        ranges = tuple(
            (bytes.fromhex(element.key), bytes.fromhex(element.key_end or element.key), element)
            for element in held
        )
        return Index("ranges", {}, [], [], ranges, fields, rest)
    if "interval" in one.flags:
        # where an interval ends and the next one begins, the beginning counts
        ordered = sorted(held, key=lambda element: (element.key, not element.interval_end))
        starts = [bytes.fromhex(element.key) for element in ordered]
        at = [None if element.interval_end else element for element in ordered]
        return Index("interval", {}, starts, at, (), fields, rest)
    exact = {bytes.fromhex(element.key): element for element in held}
    return Index("exact", exact, [], [], (), fields, rest)


def find(index: Index, key: Value) -> NftElement | Unsure | None:
    """
    Return the element that *key* hits, None for none, Unsure where what is not known decides.

    A key in which something is drawn must have been resolved before.
    """
    if not key.softs:
        found = _certain(index, key.data)
    else:
        possible = _possible(index, key)
        if isinstance(possible, Unsure):
            return possible
        found = possible
    return found if found is not None else index.rest


def _certain(index: Index, data: bytes) -> NftElement | None:
    if index.kind == "exact":
        return index.exact.get(data)
    if index.kind == "interval":
        position = bisect_right(index.starts, data)
        return index.at[position - 1] if position else None
    for low, high, element in index.ranges:
        if all(low[a:b] <= data[a:b] <= high[a:b] for a, b in _parts(index.fields, len(data))):
            return element
    return None


def _parts(fields: tuple[int, ...], length: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a concatenation lie: each begins at a multiple of four."""
    start = 0
    for field in fields:
        yield start, min(start + field, length)
        start += (field + 3) & ~3


def _possible(index: Index, key: Value) -> NftElement | Unsure | None:
    """The one element that the key hits whatever the unknown part is, or None if it hits none."""
    if index.kind == "interval":
        low, high = key.low(), key.high()
        first, last = bisect_right(index.starts, low), bisect_right(index.starts, high)
        if first == last:
            return index.at[first - 1] if first else None
        return Unsure(key.reason)
    for number, (low, high, element) in enumerate(_alternatives(index)):
        if number > _MOST:
            return Unsure(key.reason)
        answer = compared(key, "eq", low) if index.kind == "exact" else _inside(index, key, low, high)
        if isinstance(answer, Unsure):
            return answer
        if answer:
            return element
    return None


def _alternatives(index: Index) -> Iterator[tuple[bytes, bytes, NftElement]]:
    if index.kind == "exact":
        return ((data, data, one) for data, one in index.exact.items())
    return iter(index.ranges)


def _inside(index: Index, key: Value, low: bytes, high: bytes) -> Answered:
    unsure: Unsure | None = None
    for a, b in _parts(index.fields, len(key.data)):
        softs = tuple(
            soft._replace(start=soft.start - a) for soft in key.softs if a <= soft.start and soft.end <= b
        )
        answer = in_range(Value(key.data[a:b], softs), low[a:b], high[a:b])
        if answer is False:
            return False
        if isinstance(answer, Unsure):
            unsure = answer
    return unsure if unsure is not None else True
