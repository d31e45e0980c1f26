"""
What a register of nf_tables holds, as far as the walk knows it.

Lives here: bytes of which some are not known, or drawn; comparing them with constants.
Not here: where they come from (nft_header, nft_load), sets (nft_set).
Source: net/netfilter/nft_cmp.c, nft_range.c, nft_bitwise.c, nft_byteorder.c: everything is
compared byte by byte, as memcmp does.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from nettrace.model.packet import PortRange
from nettrace.walk.point import Answered, Unsure

__all__ = [
    "Registers",
    "Soft",
    "Value",
    "bitwise",
    "compared",
    "drawn_value",
    "in_range",
    "join",
    "port_value",
    "shifted",
    "swapped",
    "unknown",
]

#: struct nft_regs: 4 bytes a word; words 0 to 3 are the verdict (NFT_REG_VERDICT).
_WORD = 4
_STORE = 80


class Soft(NamedTuple):
    """
    A stretch of a value that is not one certain number: somewhere from *low* to *high*, big-endian.

    *options*, if there are any, are all it can be, each as likely as the others: a draw.
    """

    start: int
    length: int
    low: int
    high: int
    reason: str
    options: tuple[bytes, ...] = ()

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + self.length


class Value(NamedTuple):
    """Bytes; those in *softs* are zero here and stand for what the soft says."""

    data: bytes
    softs: tuple[Soft, ...] = ()

    def low(self) -> bytes:
        """The smallest that it can be."""
        return self._with(lambda soft: soft.low)

    def high(self) -> bytes:
        """The largest that it can be."""
        return self._with(lambda soft: soft.high)

    def _with(self, of: Callable[[Soft], int]) -> bytes:
        found = bytearray(self.data)
        for soft in self.softs:
            found[soft.start : soft.end] = of(soft).to_bytes(soft.length)
        return bytes(found)

    @property
    def draw(self) -> Soft | None:
        """The draw in it, if there is one."""
        return next((soft for soft in self.softs if soft.options), None)

    def taking(self, draw: Soft, options: tuple[bytes, ...]) -> "Value":
        """Return the value with only *options* of its draw left."""
        others = tuple(soft for soft in self.softs if soft is not draw)
        if len(options) == 1:
            data = self.data[: draw.start] + options[0] + self.data[draw.end :]
            return Value(data, others)
        low, high = min(options), max(options)
        narrowed = draw._replace(low=int.from_bytes(low), high=int.from_bytes(high), options=options)
        return Value(self.data, (*others, narrowed))

    @property
    def reason(self) -> str:
        """Why it is not certain."""
        return self.softs[0].reason if self.softs else ""


def unknown(length: int, reason: str) -> Value:
    """Return a value of which nothing is known."""
    return Value(bytes(length), (Soft(0, length, 0, (1 << 8 * length) - 1, reason),))


def drawn_value(options: tuple[bytes, ...], reason: str) -> Value:
    """Return a value that is drawn from *options*, all of one length."""
    length = len(options[0])
    if len(options) == 1:
        return Value(options[0])
    low, high = int.from_bytes(min(options)), int.from_bytes(max(options))
    return Value(bytes(length), (Soft(0, length, low, high, reason, options),))


def port_value(port: PortRange | None, which: str) -> Value:
    """Return a port in network order; one that the kernel chooses is a soft."""
    if port is None:
        return unknown(2, f"the {which} is not known")
    if port.single is not None:
        return Value(port.single.to_bytes(2))
    reason = f"the {which}, which the kernel chooses from {port}, decides"
    return Value(bytes(2), (Soft(0, 2, port.lo, port.hi, reason),))


class Registers:
    """The registers of one rule set's evaluation: a store of bytes under two numberings."""

    __slots__ = ("_data", "_softs")

    def __init__(self) -> None:
        self._data = bytearray(_STORE)
        self._softs: tuple[Soft, ...] = ()

    @staticmethod
    def _start(number: int) -> int:
        """nft_parse_register: 1 to 4 are of 16 bytes, from 8 on they are of 4."""
        return (number * 4 if number < 8 else number - 4) * _WORD

    def load(self, number: int, length: int) -> Value:
        """Return *length* bytes from a register on."""
        start = self._start(number)
        end = start + length
        softs: list[Soft] = []
        for soft in self._softs:
            if soft.end <= start or end <= soft.start:
                continue
            if start <= soft.start and soft.end <= end:
                softs.append(soft._replace(start=soft.start - start))
            else:
                first, last = max(start, soft.start), min(end, soft.end)
                most = (1 << 8 * (last - first)) - 1
                softs.append(Soft(first - start, last - first, 0, most, soft.reason))
        return Value(bytes(self._data[start:end]), tuple(softs))

    def store(self, number: int, value: Value) -> None:
        """Write a value; the rest of its last word becomes zero."""
        start = self._start(number)
        padded = value.data + bytes(-len(value.data) % _WORD)
        end = start + len(padded)
        kept: list[Soft] = []
        for soft in self._softs:
            if soft.end <= start or end <= soft.start:
                kept.append(soft)
                continue
            for first, last in ((soft.start, min(soft.end, start)), (max(soft.start, end), soft.end)):
                if first < last:
                    kept.append(Soft(first, last - first, 0, (1 << 8 * (last - first)) - 1, soft.reason))
        self._data[start:end] = padded
        self._softs = (*kept, *(soft._replace(start=soft.start + start) for soft in value.softs))


# --- comparing -----------------------------------------------------------------------------


def _equal(value: Value, wanted: bytes) -> Answered:
    """Is it *wanted*, as far as that is certain?"""
    unsure: Unsure | None = None
    plain = bytearray(value.data)
    for soft in value.softs:
        part = wanted[soft.start : soft.end]
        number = int.from_bytes(part)
        if not soft.low <= number <= soft.high or (soft.options and part not in soft.options):
            return False
        if soft.low != soft.high:
            unsure = unsure or Unsure(soft.reason)
        plain[soft.start : soft.end] = part
    if bytes(plain) != wanted:
        return False
    return unsure if unsure is not None else True


_ORDERED: dict[str, Callable[[bytes, bytes], bool]] = {
    "lt": lambda one, other: one < other,
    "lte": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "gte": lambda one, other: one >= other,
}


def compared(value: Value, op: str, wanted: bytes) -> Answered:
    """nft_cmp_eval."""
    if op in ("eq", "neq"):
        answer = _equal(value, wanted)
        return answer if isinstance(answer, Unsure) else answer == (op == "eq")
    holds = _ORDERED[op]
    at_least, at_most = holds(value.low(), wanted), holds(value.high(), wanted)
    return at_least if at_least == at_most else Unsure(value.reason)


def in_range(value: Value, low: bytes, high: bytes) -> Answered:
    """Is it from *low* to *high*, both included?"""
    least, most = value.low(), value.high()
    if low <= least and most <= high:
        return True
    if most < low or high < least:
        return False
    return Unsure(value.reason)


# --- changing ------------------------------------------------------------------------------


def _mapped(value: Value, change: Callable[[bytes], bytes]) -> Value | None:
    """Apply *change* to each option of a value that is nothing but a draw; None for another."""
    draw = value.draw
    if draw is None or len(value.softs) > 1:
        return None
    options = tuple(change(value.data[: draw.start] + one + value.data[draw.end :]) for one in draw.options)
    return drawn_value(options, draw.reason)


def bitwise(value: Value, op: str, mask: bytes, xor: bytes) -> Value:
    """(value & mask) ^ xor; or ``and``, ``or``, ``xor`` with *mask*."""
    if op in ("or", "and", "xor"):
        none, all_ = bytes(len(mask)), b"\xff" * len(mask)
        inverted = bytes(0xFF ^ one for one in mask)
        mask, xor = {"and": (mask, none), "or": (inverted, mask), "xor": (all_, mask)}[op]

    def change(data: bytes) -> bytes:
        return bytes((a & m) ^ x for a, m, x in zip(data, mask, xor, strict=True))

    mapped = _mapped(value, change)
    if mapped is not None:
        return mapped
    softs = []
    data = bytearray(change(value.data))
    for soft in value.softs:
        kept = int.from_bytes(mask[soft.start : soft.end])
        turned = int.from_bytes(xor[soft.start : soft.end])
        if kept == (1 << 8 * soft.length) - 1 and not turned:
            softs.append(soft)
            data[soft.start : soft.end] = bytes(soft.length)
            continue
        varying = kept & ((1 << (soft.low ^ soft.high).bit_length()) - 1)
        known = ((soft.low & kept) ^ turned) & ~varying
        if not varying:
            data[soft.start : soft.end] = known.to_bytes(soft.length)
            continue
        data[soft.start : soft.end] = bytes(soft.length)
        softs.append(Soft(soft.start, soft.length, known, known | varying, soft.reason))
    return Value(bytes(data), tuple(softs))


def shifted(value: Value, op: str, by: int, byteorder: str) -> Value:
    """Shift words of the host's order, with carry from one to the next."""

    def change(data: bytes) -> bytes:
        words = [int.from_bytes(data[i : i + 4], byteorder) for i in range(0, len(data), 4)]  # type: ignore[arg-type]
        whole = 0
        for word in words:
            whole = whole << 32 | word
        bits = 32 * len(words)
        whole = (whole << by if op == "lshift" else whole >> by) & ((1 << bits) - 1)
        return b"".join(
            (whole >> (bits - 32 * (i + 1)) & 0xFFFFFFFF).to_bytes(4, byteorder)  # type: ignore[arg-type]
            for i in range(len(words))
        )[: len(data)]

    return _changed(value, change)


def swapped(value: Value, size: int, byteorder: str) -> Value:
    """Turn pieces of *size* bytes around where the host's order is not the network's."""
    if byteorder == "big":
        return value

    def change(data: bytes) -> bytes:
        return b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))

    return _changed(value, change)


def _changed(value: Value, change: Callable[[bytes], bytes]) -> Value:
    if not value.softs:
        return Value(change(value.data))
    mapped = _mapped(value, change)
    return mapped if mapped is not None else unknown(len(value.data), value.reason)


def join(parts: Iterable[Value]) -> Value:
    """Put values one behind the other."""
    data, softs = b"", []
    for part in parts:
        softs += [soft._replace(start=soft.start + len(data)) for soft in part.softs]
        data += part.data
    return Value(data, tuple(softs))
