"""
bpf(2): maps, programs and ring buffers, without a compiler or a library.

Lives here: the system call, an assembler of the few instructions that are needed, and the
descriptors.  Everything made here is held by file descriptors alone: the kernel takes it away when
the process ends, however it ends.
Not here: programs (drop_program).
Source: include/uapi/linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst,
kernel/bpf/ringbuf.c.
"""

import ctypes
import mmap
import os
import platform
import select
import struct
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

__all__ = ["Assembler", "Bpf", "BpfError", "R", "Ring"]

#: The number of bpf(2) by machine; 280 on those that came after the generic table.
_NUMBERS = {"x86_64": 321, "ppc64le": 361, "aarch64": 280, "riscv64": 280, "loongarch64": 280}

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 1, 2, 5, 17
_MAP_HASH, _MAP_ARRAY, _MAP_RINGBUF = 1, 2, 27
_PROG_RAW_TRACEPOINT = 17

#: What a program is for: enum bpf_prog_type, and enum bpf_attach_type where one goes with it.
_KINDS = {
    "sched_cls": (3, 0),
    "xdp": (6, 37),
    "connect4": (18, 10),
    "connect6": (18, 11),
    "sendmsg4": (18, 14),
    "recvmsg4": (18, 19),
    "getpeername4": (18, 29),
    "egress": (8, 1),
    "ingress": (8, 0),
    "netfilter": (32, 45),
}
_LOG = 1 << 16  # bytes for the verifier's complaint

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_RING_HEAD = 8


class BpfError(Exception):
    """Something of BPF is not allowed or not there; the text says what, as half a sentence."""


class R:
    """Registers (instruction-set.rst): R0 is what a call returns, R1 to R5 its arguments, R10 the stack."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}


class Assembler:
    """
    Instructions one after another; jumps name labels, and go forward only.

    Sizes are in bytes, offsets relative to the register beside them.
    """

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int]] = []
        self._jumps: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}

    def _emit(self, op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self._code.append((op, dst, src, off, imm))

    def move(self, dst: int, src: int) -> None:
        """Dst = src, registers."""
        self._emit(0xBF, dst, src)

    def set(self, dst: int, value: int) -> None:
        """Dst = a number of 32 bits, its sign kept."""
        self._emit(0xB7, dst, imm=value)

    def add(self, dst: int, value: int) -> None:
        """Dst += a number."""
        self._emit(0x07, dst, imm=value)

    def add_register(self, dst: int, src: int) -> None:
        """Dst += src."""
        self._emit(0x0F, dst, src)

    def mask(self, dst: int, value: int) -> None:
        """Dst &= a number of 32 bits, its sign kept."""
        self._emit(0x57, dst, imm=value)

    def shift_right(self, dst: int, bits: int) -> None:
        """Dst >>= bits."""
        self._emit(0x77, dst, imm=bits)

    def load(self, size: int, dst: int, src: int, off: int) -> None:
        """Dst = what stands at src + off."""
        self._emit(0x61 | _SIZES[size], dst, src, off)

    def store(self, size: int, dst: int, off: int, src: int) -> None:
        """Write src to dst + off."""
        self._emit(0x63 | _SIZES[size], dst, src, off)

    def store_number(self, size: int, dst: int, off: int, value: int) -> None:
        """Write a number to dst + off."""
        self._emit(0x62 | _SIZES[size], dst, off=off, imm=value)

    def count_up(self, dst: int, src: int) -> None:
        """Add src to the 8 bytes at dst, as one step."""
        self._emit(0xDB, dst, src)

    def map(self, dst: int, descriptor: int) -> None:
        """Dst = a map."""
        self._emit(0x18, dst, 1, imm=descriptor)
        self._emit(0)

    def call(self, helper: int) -> None:
        """Call a helper of the kernel by its number (enum bpf_func_id)."""
        self._emit(0x85, imm=helper)

    def exit(self) -> None:
        """Return R0."""
        self._emit(0x95)

    def jump(self, label: str) -> None:
        """Go on at a label."""
        self._to(label, 0x05)

    def jump_if_equal(self, dst: int, value: int, label: str) -> None:
        """Go on at a label if dst is a number."""
        self._to(label, 0x15, dst, value)

    def jump_if_not_equal(self, dst: int, value: int, label: str) -> None:
        """Go on at a label if dst is not a number."""
        self._to(label, 0x55, dst, value)

    def jump_if_less(self, dst: int, value: int, label: str) -> None:
        """Go on at a label if dst, without a sign, is less than a number."""
        self._to(label, 0xA5, dst, value)

    def _to(self, label: str, op: int, dst: int = 0, value: int = 0) -> None:
        self._jumps.append((len(self._code), label))
        self._emit(op, dst, imm=value)

    def label(self, name: str) -> None:
        """Name the place of the next instruction; ValueError if the name is taken."""
        if name in self._labels:
            raise ValueError(f"the label {name} is there twice")
        self._labels[name] = len(self._code)

    def assemble(self) -> bytes:
        """Return the program; ValueError for a jump that leads nowhere or back."""
        code = list(self._code)
        for at, label in self._jumps:
            target = self._labels.get(label)
            if target is None or target <= at:
                raise ValueError(f"no label {label} follows instruction {at}")
            op, dst, src, _, imm = code[at]
            code[at] = (op, dst, src, target - at - 1, imm)
        return b"".join(
            struct.pack("=BBhi", op, src << 4 | dst, off, imm - (1 << 32) if imm >= 1 << 31 else imm)
            for op, dst, src, off, imm in code
        )


class Bpf:
    """
    A set of descriptors that are closed together.

    Raises BpfError where the system call is not known or not allowed.
    """

    def __init__(self) -> None:
        number = _NUMBERS.get(platform.machine())
        if number is None or sys.byteorder != "little":
            raise BpfError(f"BPF is not spoken on {platform.machine()}")
        self._number = number
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._open: list[int] = []

    def _call(self, command: int, attributes: bytes, what: str) -> int:
        block = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
        result = int(self._syscall(self._number, command, block, len(block)))
        if result < 0:
            code = ctypes.get_errno()
            raise BpfError(f"{what}: {os.strerror(code).lower()}")
        return result

    def _hold(self, descriptor: int) -> int:
        self._open.append(descriptor)
        return descriptor

    def map(self, kind: int, key: int, value: int, most: int, *, name: str = "", flags: int = 0) -> int:
        """
        Make a map of a type of enum bpf_map_type; sizes in bytes.

        Of the name the kernel keeps 15 bytes, and takes letters, digits, ``_`` and ``.``.
        """
        words = (kind, key, value, most, flags, 0, 0, name.encode()[:15])
        return self._hold(self._call(_MAP_CREATE, struct.pack("=IIIIIII16s", *words), "a BPF map"))

    def program(self, kind: str, code: bytes, name: str) -> int:
        """
        Load a program for the hook *kind*: ``sched_cls``, ``xdp``, ``connect4`` ...

        It is gone with its descriptor, unless it is attached to something meanwhile.
        """
        block = ctypes.create_string_buffer(code)
        licence = ctypes.create_string_buffer(b"GPL")
        return self._hold(self._load(block, len(code), licence, None, kind=_KINDS[kind], name=name))

    def hash(self, key: int, value: int, most: int) -> int:
        """Make a hash map; sizes in bytes."""
        return self.map(_MAP_HASH, key, value, max(most, 1))

    def array(self, value: int, most: int) -> int:
        """Make an array; keys are numbers of 4 bytes."""
        return self.map(_MAP_ARRAY, 4, value, most)

    def ring(self, size: int) -> "Ring":
        """Make a ring buffer of *size* bytes, a power of two of at least a page."""
        return Ring(self.map(_MAP_RINGBUF, 0, 0, size), size)

    def put(self, where: int, key: bytes, value: bytes) -> None:
        """Write an entry of a map."""
        key_block, value_block = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
        block = struct.pack("=IIQQQ", where, 0, ctypes.addressof(key_block), ctypes.addressof(value_block), 0)
        self._call(_MAP_UPDATE, block, "an entry of a BPF map")

    def get(self, where: int, key: bytes, size: int) -> bytes:
        """Read an entry of a map whose values have *size* bytes."""
        key_block, value_block = ctypes.create_string_buffer(key), ctypes.create_string_buffer(size)
        block = struct.pack("=IIQQQ", where, 0, ctypes.addressof(key_block), ctypes.addressof(value_block), 0)
        self._call(_MAP_LOOKUP, block, "an entry of a BPF map")
        return value_block.raw

    def attach(self, tracepoint: str, code: bytes) -> None:
        """
        Load a program and run it at every call of a raw tracepoint.

        What the verifier says against it goes into the BpfError: its last line.
        """
        program = ctypes.create_string_buffer(code)
        licence = ctypes.create_string_buffer(b"GPL")  # probe_read_kernel is for GPL programs
        try:
            loaded = self._load(program, len(code), licence, None)
        except BpfError as error:
            log = ctypes.create_string_buffer(_LOG)
            try:
                loaded = self._load(program, len(code), licence, log)
            except BpfError:
                lines = log.value.decode(errors="replace").strip().splitlines()
                said = next((line for line in reversed(lines) if not line.startswith("processed")), "")
                raise BpfError(f"{error}{f' ({said})' if said else ''}") from error
        self._hold(loaded)
        name = ctypes.create_string_buffer(tracepoint.encode())
        block = struct.pack("=QI", ctypes.addressof(name), loaded)
        self._hold(self._call(_RAW_TRACEPOINT_OPEN, block, f"the tracepoint {tracepoint}"))

    def _load(
        self,
        program: "ctypes.Array[ctypes.c_char]",
        length: int,
        licence: "ctypes.Array[ctypes.c_char]",
        log: "ctypes.Array[ctypes.c_char] | None",
        *,
        kind: tuple[int, int] = (_PROG_RAW_TRACEPOINT, 0),
        name: str = "nettrace",
    ) -> int:
        block = struct.pack(
            "=IIQQIIQII16sII",
            kind[0],
            length // 8,
            ctypes.addressof(program),
            ctypes.addressof(licence),
            1 if log is not None else 0,
            _LOG if log is not None else 0,
            ctypes.addressof(log) if log is not None else 0,
            0,
            0,
            name.encode()[:15],
            0,
            kind[1],
        )
        return self._call(_PROG_LOAD, block, "a BPF program")

    def close(self) -> None:
        """Close all descriptors, the last made first; again is no error."""
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Ring:
    """
    What programs put into a ring buffer, read without a system call.

    Two counters and the records stand in shared pages; the records are mapped twice in a row, so
    that one which crosses the end is whole.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.descriptor, self._size = descriptor, size
        try:
            self._consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._producer = mmap.mmap(
                descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as error:
            raise BpfError(f"the ring buffer cannot be mapped: {(error.strerror or '').lower()}") from error
        self._page = page
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to read."""
        return bool(self._poll.poll(seconds * 1000))

    def read(self, most: int | None = None) -> Iterator[bytes]:
        """Yield what is there, at most *most* records, each given back as soon as the next is asked for."""
        at = int.from_bytes(self._consumer[:8], "little")
        end = int.from_bytes(self._producer[:8], "little")
        taken = 0
        while at < end and (most is None or taken < most):
            start = self._page + at % self._size
            head = int.from_bytes(self._producer[start : start + 4], "little")
            if head & _BUSY:
                return  # it is being written
            length = head & ~(_BUSY | _DISCARDED)
            if not head & _DISCARDED:
                yield self._producer[start + _RING_HEAD : start + _RING_HEAD + length]
                taken += 1
            at += (_RING_HEAD + length + 7) & ~7
            self._consumer[:8] = at.to_bytes(8, "little")

    def close(self) -> None:
        """Unmap it."""
        self._poll.unregister(self.descriptor)
        self._consumer.close()
        self._producer.close()
