"""
A set as a rule names it: ``@NAME``, or its elements in braces where it has no name.

Lives here: elements, intervals and what maps hold, as nft writes them.
Not here: the key that is looked up (text).
"""

from typing import NamedTuple

from nettrace.model.nft import NftElement, NftSet
from nettrace.model.section import Known
from nettrace.parse.nft.netlink import verdict_text
from nettrace.parse.nft.values import NUMBERED, constant

__all__ = ["Part", "elements_text", "set_text"]


#: Bytes of the types that are concatenated.
_SIZES = {
    "ipv4_addr": 4,
    "ipv6_addr": 16,
    "inet_service": 2,
    "inet_proto": 1,
    "mark": 4,
    "ether_addr": 6,
}


class Part(NamedTuple):
    """One part of a key: its length in bytes, and its type."""

    length: int
    kind: str


def set_text(name: str, one: NftSet, parts: list[Part], byteorder: str) -> str:
    """Return what stands for a set in a rule."""
    if "anonymous" not in one.flags or not isinstance(one.elements, Known):
        return f"@{name}"
    writer = _Elements(one, parts, byteorder)
    return "{ " + ", ".join(writer.all(one.elements.value)) + " }"


def elements_text(one: NftSet, byteorder: str) -> list[str]:
    """Return the elements of a set that has a name, each with its comment; none if they were not read."""
    if not isinstance(one.elements, Known):
        return []
    kinds: list[str] = []
    left = one.key_type
    while left:
        kinds.insert(0, NUMBERED.get(left & 0x3F, "integer"))
        left >>= 6
    # the kernel tells the lengths of the parts for sets of ranges only
    lengths = one.fields or tuple(_SIZES.get(kind, one.key_len) for kind in kinds)
    if len(kinds) == 1 or len(kinds) != len(lengths):
        lengths, kinds = (one.key_len,), kinds[:1] or ["integer"]
    parts = [Part(length, kind) for length, kind in zip(lengths, kinds, strict=True)]
    return _Elements(one, parts, byteorder).all(one.elements.value)


class _Elements:
    """The elements of one set."""

    def __init__(self, one: NftSet, parts: list[Part], byteorder: str) -> None:
        self.set, self.parts, self.byteorder = one, parts, byteorder

    def all(self, elements: tuple[NftElement, ...]) -> list[str]:
        """Return the elements, sorted; of an interval that goes on for ever no end is known."""
        ordered = sorted(elements, key=lambda one: (one.catch_all, one.key, not one.interval_end))
        found = []
        for index, element in enumerate(ordered):
            if element.interval_end:
                continue
            if element.catch_all:
                key = "*"
            elif "interval" in self.set.flags and element.key_end is None and len(self.parts) == 1:
                after = next((one for one in ordered[index + 1 :] if not one.catch_all), None)
                key = self._interval(element.key, after.key if after is not None else None)
            else:
                key = self._joined(element.key, element.key_end)
            comment = f' comment "{element.comment}"' if element.comment else ""
            found.append(key + comment + self._data(element))
        return found

    def _interval(self, low: str, behind: str | None) -> str:
        first = bytes.fromhex(low)
        bits = 8 * len(first)
        start = int.from_bytes(first)
        end = int.from_bytes(bytes.fromhex(behind)) - 1 if behind is not None else (1 << bits) - 1
        return self._span(start, end, len(first), self.parts[0].kind)

    def _span(self, start: int, end: int, length: int, kind: str) -> str:
        """One value, a prefix of addresses, or a range."""
        shown = constant(start.to_bytes(length), kind, self.byteorder)
        if start == end:
            return shown
        size = end - start + 1
        if kind in ("ipv4_addr", "ipv6_addr") and size & (size - 1) == 0 and start % size == 0:
            return f"{shown}/{8 * length - size.bit_length() + 1}"
        return f"{shown}-{constant(end.to_bytes(length), kind, self.byteorder)}"

    def _joined(self, key: str, key_end: str | None) -> str:
        data = bytes.fromhex(key)
        last = bytes.fromhex(key_end) if key_end is not None else data
        found, start = [], 0
        for part in self.parts:
            low, high = data[start : start + part.length], last[start : start + part.length]
            if low == high:
                kind = part.kind.rstrip("/")
                found.append(constant(low, kind, self.byteorder))
            else:
                found.append(self._span(int.from_bytes(low), int.from_bytes(high), len(low), part.kind))
            start += (part.length + 3) & ~3
        return " . ".join(found)

    def _data(self, element: NftElement) -> str:
        if element.verdict is not None:
            return f" : {verdict_text(element.verdict)}"
        if element.object is not None:
            return f' : "{element.object}"'
        if element.data is None:
            return ""
        kinds: list[str] = []
        left = self.set.data_type
        while left:
            kinds.insert(0, NUMBERED.get(left & 0x3F, "integer"))
            left >>= 6
        data, found, start = bytes.fromhex(element.data), [], 0
        for kind in kinds or ["integer"]:
            length = _SIZES.get(kind, len(data) - start) if len(kinds) > 1 else len(data)
            found.append(constant(data[start : start + length], kind, self.byteorder))
            start += (length + 3) & ~3
        return f" : {' . '.join(found)}"
