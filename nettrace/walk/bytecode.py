"""
Small programs over a packet's bytes: u32, classic BPF, a search for a string.

Lives here: running them on bytes of which some are not known; the answer is unsure where it
hangs on one of those.
Not here: which bytes are known (octets).
Sources: net/netfilter/xt_u32.c, xt_bpf.c, xt_string.c; Documentation/networking/filter.rst.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from nettrace.walk.octets import Octets, Word
from nettrace.walk.point import Answered, Unsure

__all__ = ["bpf_matches", "hex_string", "string_in", "u32_matches"]

_ALL = 0xFFFFFFFF


def _compare(word: Word, low: int, high: int) -> bool | None:
    """Is a number that is partly known in a range?  None: it may be."""
    if word.known == _ALL:
        return low <= word.value <= high
    fixed = word.value & word.known
    smallest, largest = fixed, fixed | ~word.known & _ALL
    if low <= smallest and largest <= high:
        return True
    if largest < low or smallest > high:
        return False
    if low == high and (low ^ fixed) & word.known:
        return False
    return None


# --- u32 -------------------------------------------------------------------------------------


class _U32Test(NamedTuple):
    location: tuple[tuple[str, int], ...]
    values: tuple[tuple[int, int], ...]


_NUMBER = r"(0[xX][0-9a-fA-F]+|[0-9]+)"
_STEP = re.compile(rf"(<<|>>|&|@)?{_NUMBER}")


def _u32_program(text: str) -> list[_U32Test]:
    tests = []
    for part in text.replace(" ", "").split("&&"):
        location, equals, wanted = part.partition("=")
        if not equals or not re.fullmatch(rf"{_NUMBER}((<<|>>|&|@){_NUMBER})*", location):
            raise ValueError(f"{part} is not a u32 test")
        steps = tuple((step[1] or "", int(step[2], 0)) for step in _STEP.finditer(location))
        if any(operator in ("<<", ">>") and number > 31 for operator, number in steps):
            raise ValueError(f"{part} shifts by more than 31 bits")
        ranges = []
        for one in wanted.split(","):
            low, colon, high = one.partition(":")
            ranges.append((int(low, 0), int(high, 0) if colon else int(low, 0)))
        tests.append(_U32Test(steps, tuple(ranges)))
    return tests


def u32_matches(text: str, data: Octets) -> Answered:
    """``-m u32 --u32 TEXT`` (u32_match_it): all tests hold, none reads beyond the end."""
    unsure: Unsure | None = None
    for test in _u32_program(text):
        answer = _u32_test(test, data)
        if answer is False:
            return False
        if isinstance(answer, Unsure):
            unsure = unsure or answer
    return unsure if unsure is not None else True


def _u32_test(test: _U32Test, data: Octets) -> Answered:
    unknown = Unsure("u32 reads bytes of the packet that are not known")
    base = 0
    word: Word | None = data.word(test.location[0][1], 4)
    for operator, number in test.location[1:]:
        if word is None:
            return False
        value, known = word
        if operator == "&":
            word = Word(value & number, known | ~number & _ALL)
        elif operator == "<<":
            word = Word(value << number & _ALL, (known << number | (1 << number) - 1) & _ALL)
        elif operator == ">>":
            word = Word(value >> number, known >> number | ~(_ALL >> number) & _ALL)
        else:
            if known != _ALL:
                return unknown
            base += value
            word = data.word(base + number, 4)
    if word is None:
        return False
    found = [_compare(word, low, high) for low, high in test.values]
    if True in found:
        return True
    return unknown if None in found else False


# --- string ----------------------------------------------------------------------------------


def hex_string(text: str) -> bytes:
    """Return the bytes of ``--hex-string``: text with ``|0d 0a|`` in it (parse_hex_string)."""
    found = b""
    for number, part in enumerate(text.split("|")):
        found += bytes.fromhex(part) if number % 2 else part.encode()
    return found


def string_in(pattern: bytes, data: Octets, first: int, last: int, *, fold: bool) -> Answered:
    """
    Does *pattern* begin at a place from *first* to *last* (skb_find_text)?

    Unsure where the bytes that are not known could hold it, and where it ends behind *last*:
    kernels before 6.5 find it, later ones do not.
    """
    unsure = False
    wanted = pattern.lower() if fold else pattern
    for at in range(first, min(last, data.most - len(pattern)) + 1):
        held = _held(wanted, data, at, fold=fold)
        if held is True and at + len(wanted) <= last:
            return True
        unsure = unsure or held is not False
        if at >= len(data.values):
            break  # nothing is known from here on
    return Unsure("what the packet carries, where -m string looks, is not known") if unsure else False


def _held(wanted: bytes, data: Octets, at: int, *, fold: bool) -> bool | None:
    known = at + len(wanted) <= data.least
    for offset, letter in enumerate(wanted):
        place = at + offset
        if place >= len(data.values):
            return None
        mask = data.known[place]
        have = data.values[place]
        if mask == 0xFF:
            same = (chr(have).lower() if fold else chr(have)) == chr(letter)
            if not same:
                return False
        else:
            known = False
            if not fold and (have ^ letter) & mask:
                return False
    return True if known else None


# --- classic BPF -----------------------------------------------------------------------------

_NET_OFF = 0xFFF00000  # SKF_NET_OFF
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}

_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x30: lambda a, b: a // b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << b if b < 32 else 0,
    0x70: lambda a, b: a >> b if b < 32 else 0,
    0x90: lambda a, b: a % b,
    0xA0: lambda a, b: a ^ b,
}


class _Stop(Exception):
    """The program ended, or cannot be followed further."""

    def __init__(self, answer: Answered) -> None:
        super().__init__(answer)
        self.answer = answer


class _Machine:
    def __init__(self, data: Octets) -> None:
        self.data = data
        self.a = Word(0)
        self.x = Word(0)
        self.memory = [Word(0)] * 16

    def length(self) -> Word:
        data = self.data
        return Word(data.least) if data.least == data.most else Word(0, 0)

    def packet(self, at: int, size: int) -> Word:
        if at >= _NET_OFF:
            at -= _NET_OFF
            if at > 0xFFFF:
                raise _Stop(Unsure("its program reads what is no part of the packet"))
        found = self.data.word(at, size)
        if found is None:
            raise _Stop(False)  # a load beyond the end returns 0
        return Word(found.value, found.known | ~((1 << 8 * size) - 1) & _ALL)

    def load(self, code: int, k: int) -> Word:
        mode = code & 0xE0
        if mode == 0x00:
            return Word(k)
        if mode == 0x20:
            return self.packet(k, _SIZES[code & 0x18])
        if mode == 0x40:
            return self.packet((_certain(self.x) + k) & _ALL, _SIZES[code & 0x18])
        if mode == 0x60:
            return self.memory[k]
        if mode == 0x80:
            return self.length()
        if mode == 0xA0:
            low = self.packet(k, 1)
            return Word((low.value & 15) << 2, (low.known & 15) << 2 | ~0x3C & _ALL)
        raise ValueError(f"code {code:#x}")

    def operate(self, code: int, k: int) -> None:
        other = self.x if code & 0x08 else Word(k)
        kind = code & 0xF0
        if kind == 0x80:
            self.a = Word(-_certain(self.a) & _ALL)
        elif kind == 0x50 and other.known == _ALL:
            self.a = Word(self.a.value & other.value, self.a.known | ~other.value & _ALL)
        elif kind == 0x70 and other.known == _ALL and other.value < 32:
            by = other.value
            self.a = Word(self.a.value >> by, self.a.known >> by | ~(_ALL >> by) & _ALL)
        else:
            operand = _certain(other)
            if kind in (0x30, 0x90) and not operand:
                raise _Stop(False)
            self.a = Word(_ALU[kind](_certain(self.a), operand) & _ALL)

    def holds(self, code: int, k: int) -> bool:
        other = _certain(self.x) if code & 0x08 else k
        kind = code & 0xF0
        if kind == 0x10:
            answer = _compare(self.a, other, other)
        elif kind == 0x20:
            answer = _compare(self.a, other + 1, _ALL) if other < _ALL else False
        elif kind == 0x30:
            answer = _compare(self.a, other, _ALL)
        elif kind == 0x40:
            answer = True if self.a.value & self.a.known & other else None
            if answer is None and not other & ~self.a.known & _ALL:
                answer = False
        else:
            raise ValueError(f"code {code:#x}")
        if answer is None:
            raise _Stop(Unsure("its program reads bytes of the packet that are not known"))
        return answer


def _certain(word: Word) -> int:
    if word.known != _ALL:
        raise _Stop(Unsure("its program reads bytes of the packet that are not known"))
    return word.value


def bpf_matches(text: str, data: Octets) -> Answered:
    """``-m bpf --bytecode TEXT``: LENGTH, then code, jt, jf, k of each instruction (xt_bpf.c)."""
    count, *lines = text.strip().rstrip(",").split(",")
    program = [tuple(int(number) for number in line.split()) for line in lines]
    if int(count) != len(program) or any(len(one) != 4 for one in program):
        raise ValueError(f"{text} is not a BPF program")
    machine = _Machine(data)
    try:
        _execute(machine, program)
    except _Stop as stop:
        return stop.answer
    except (IndexError, KeyError) as error:
        raise ValueError(f"{text} is not a BPF program") from error
    return False


def _execute(machine: _Machine, program: list[tuple[int, ...]]) -> None:
    at = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        kind = code & 7
        if kind == 0:
            machine.a = machine.load(code, k)
        elif kind == 1:
            machine.x = machine.load(code, k)
        elif kind in (2, 3):
            machine.memory[k] = machine.a if kind == 2 else machine.x
        elif kind == 4:
            machine.operate(code, k)
        elif kind == 5:
            at += k if code & 0xF0 == 0 else yes if machine.holds(code, k) else no
        elif kind == 6:
            raise _Stop(bool(_certain(machine.a) if code & 0x18 == 0x10 else k))
        elif code & 0xF8:
            machine.a = machine.x
        else:
            machine.x = machine.a
