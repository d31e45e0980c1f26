"""
The running kernel's own description of its types (BTF): where a field stands, what a number is called.

Lives here: a reader of struct members and enums, no more of the format than that takes.
Not here: what is asked of it (drop_layout).
Source: Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["VMLINUX", "Btf", "BtfError"]

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_MAGIC = 0xEB9F
_TYPE = struct.Struct("=III")

_PTR, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC_PROTO, _ENUM64 = 2, 4, 5, 6, 8, 13, 19
#: kind -> (bytes that follow the head, bytes that follow it for each of its vlen)
_EXTRA = {
    1: (4, 0),  # INT
    3: (12, 0),  # ARRAY
    _STRUCT: (0, 12),
    _UNION: (0, 12),
    _ENUM: (0, 8),
    _FUNC_PROTO: (0, 8),
    14: (4, 0),  # VAR
    15: (0, 12),  # DATASEC
    17: (4, 0),  # DECL_TAG
    _ENUM64: (0, 12),
}
#: const, volatile, restrict, typedef, type tag: what they stand for is another type.
_THROUGH = frozenset({_TYPEDEF, 9, 10, 11, 18})


class BtfError(Exception):
    """The description is damaged, or does not have what was asked for."""


class Btf:
    """
    One BTF blob.

    A module's blob goes on where that of the kernel ends: its type and string numbers count on
    from *base*'s.  Raises BtfError for what is none.
    """

    def __init__(self, data: bytes, base: "Btf | None" = None) -> None:
        self.data, self._base = data, base
        try:
            magic, _, _, head, types, types_length, strings, strings_length = struct.unpack_from(
                "=HBBIIIII", data
            )
        except struct.error as error:
            raise BtfError("it is too short") from error
        if magic != _MAGIC:
            raise BtfError("it does not begin like BTF of this machine's byte order")
        self._strings = head + strings
        self.strings_length = strings_length
        self.string_base: int = base.string_base + base.strings_length if base else 0
        self.first: int = base.first + base.count if base else 1
        self._offsets: list[int] = []
        self._named: dict[tuple[int, int], int] | None = None
        self._scan(head + types, head + types + types_length)

    @property
    def count(self) -> int:
        """How many types this blob has."""
        return len(self._offsets)

    def _scan(self, at: int, end: int) -> None:
        """Note where each type begins."""
        if end > len(self.data):
            raise BtfError("it is cut short")
        offsets, data, unpack = self._offsets, self.data, _TYPE.unpack_from
        nothing = (0, 0)
        while at < end:
            offsets.append(at)
            info = unpack(data, at)[1]
            fixed, each = _EXTRA.get(info >> 24 & 0x1F, nothing)
            at += 12 + fixed + each * (info & 0xFFFF)

    def head(self, number: int) -> tuple[int, int, int, int, int]:
        """Return where a type's members begin, its name, kind, vlen, and its size or the type it is of."""
        if self._base is not None and number < self.first:
            return self._base.head(number)
        if not 0 <= number - self.first < len(self._offsets):
            raise BtfError(f"there is no type {number}")
        at = self._offsets[number - self.first]
        name, info, of = _TYPE.unpack_from(self.data, at)
        return at + 12, name, info >> 24 & 0x1F, info & 0xFFFF, of

    def text(self, offset: int) -> str:
        """Return the string at an offset."""
        if self._base is not None and offset < self.string_base:
            return self._base.text(offset)
        start = self._strings + offset - self.string_base
        end = self.data.find(b"\0", start)
        return self.data[start:end].decode(errors="replace")

    def _find(self, kind: int, name: str) -> int:
        """Return the number of a named type of this blob."""
        wanted = self.data.find(b"\0" + name.encode() + b"\0", self._strings - 1)
        if wanted < 0:
            raise BtfError(f"it does not know {name}")
        offset = wanted + 1 - self._strings + self.string_base
        if self._named is None:
            self._named = {}
            for number, at in enumerate(self._offsets, self.first):
                its_name, info, _ = _TYPE.unpack_from(self.data, at)
                self._named.setdefault((info >> 24 & 0x1F, its_name), number)
        found = self._named.get((kind, offset))
        if found is None:
            raise BtfError(f"it does not know {name}")
        return found

    def offset(self, structure: str, *path: str) -> int:
        """Return the bytes from the start of ``struct structure`` to the member that *path* leads to."""
        number, bits = self._find(_STRUCT, structure), 0
        for name in path:
            found = self._member(number, name)
            if found is None:
                raise BtfError(f"struct {structure} has no {'.'.join(path)}")
            bits += found[0]
            number = found[1]
        if bits % 8:
            raise BtfError(f"{'.'.join(path)} of struct {structure} is a bit field")
        return bits // 8

    def _member(self, number: int, name: str) -> tuple[int, int] | None:
        """Return (bit offset, type) of a member, also of one in a nameless struct or union."""
        at, _, kind, count, of = self.head(number)
        while kind in _THROUGH:
            at, _, kind, count, of = self.head(of)
        if kind not in (_STRUCT, _UNION):
            return None
        for index in range(count):
            its_name, its_type, its_offset = self._triple(number, at + 12 * index)
            its_offset &= 0xFFFFFF  # above it, of a bit field, its size
            if its_name == 0:
                inner = self._member(its_type, name)
                if inner is not None:
                    return its_offset + inner[0], inner[1]
            elif self.text(its_name) == name:
                return its_offset, its_type
        return None

    def _triple(self, number: int, at: int) -> tuple[int, int, int]:
        data = self._base.data if self._base is not None and number < self.first else self.data
        first, second, third = _TYPE.unpack_from(data, at)
        return first, second, third

    def arguments(self, typedef: str) -> int:
        """Return how many arguments the function has that ``typedef`` is a pointer to."""
        _, _, kind, count, of = self.head(self._find(_TYPEDEF, typedef))
        while kind in _THROUGH or kind == _PTR:
            _, _, kind, count, of = self.head(of)
        if kind != _FUNC_PROTO:
            raise BtfError(f"{typedef} is no function")
        return count

    def enums(self, ending: str) -> Iterator[tuple[str, int]]:
        """Return names and values of every enum of this blob whose name ends with *ending*."""
        for at in self._offsets:
            name, info, _ = _TYPE.unpack_from(self.data, at)
            kind = info >> 24 & 0x1F
            if kind not in (_ENUM, _ENUM64) or not self.text(name).endswith(ending):
                continue
            for index in range(info & 0xFFFF):
                if kind == _ENUM:
                    its_name, value = struct.unpack_from("=II", self.data, at + 12 + 8 * index)
                else:
                    its_name, low, high = _TYPE.unpack_from(self.data, at + 12 + 12 * index)
                    value = low | high << 32
                yield self.text(its_name), value
