"""
The program that runs in the kernel where a packet is thrown away.

Lives here: what it takes down, and how it tells the packets that are looked for from all others.
Not here: which bytes these are (drop_filter), reading what it wrote (drops).

It runs for every packet that any program of this machine loses, so it tests the cheap things first:
the reason, then the namespace, then the header.
"""

import struct
from typing import NamedTuple

from nettrace.observe.bpf import Assembler, R
from nettrace.observe.drop_layout import Layout

__all__ = ["HEADER_BYTES", "RECORD", "Maps", "Place", "drop_program", "key"]

#: From the network header on: IPv6, UDP, VXLAN, Ethernet, IPv6, ICMPv6, IPv6, and a tag behind 8 bytes.
HEADER_BYTES = 224

#: time, location, reason, len, mark, ifindex, iif, namespaces of device, socket, receiving socket and
#: route, offset of the network header, tail, ethertype, has a socket, name of the device; the header
#: follows.
RECORD = struct.Struct("=QQIIIIIIIIIIIHH16s")

KEY_BYTES = 40

_READ, _LOOKUP, _TIME, _OUTPUT = 113, 1, 5, 130  # enum bpf_func_id

_TOTAL = RECORD.size + HEADER_BYTES
_AT = -_TOTAL  # of the record, on the stack
_TIME_AT, _LOCATION, _REASON, _LENGTH, _MARK, _IFINDEX, _IIF = (_AT + n for n in (0, 8, 16, 20, 24, 28, 32))
_NET_DEV, _NET_SK, _NET_RX, _NET_DST, _NETWORK, _TAIL = (_AT + n for n in (36, 40, 44, 48, 52, 56))
_PROTOCOL, _HAS_SOCKET, _NAME, _HEADER = (_AT + n for n in (60, 62, 64, 80))
_KEY = _AT - KEY_BYTES
_POINTER = _KEY - 8

#: SKB_NOT_DROPPED_YET and SKB_CONSUMED come before it.
_FIRST_REASON = 2


class Place(NamedTuple):
    """
    One place in the header where a key may stand.

    ``version`` 4 or 6 of the outermost header, ``parts`` (offset, length) of what is put together,
    from the network header, all even; ``kind`` keeps keys of different meaning apart.
    """

    version: int
    kind: int
    parts: tuple[tuple[int, int], ...]


class Maps(NamedTuple):
    """Descriptors: the ring buffer, the counter of what did not fit, keys and namespaces (or None)."""

    ring: int
    lost: int
    keys: int | None
    namespaces: int | None


def key(kind: int, data: bytes) -> bytes:
    """Return the key that a place of *kind* makes from *data*."""
    return struct.pack("=I", kind) + data.ljust(KEY_BYTES - 4, b"\0")


def drop_program(layout: Layout, maps: Maps, places: tuple[Place, ...]) -> bytes:
    """
    Assemble it.

    A packet is taken down if one of its namespaces is among those of the map, and one of *places*
    has a key; a map that is None takes every packet.
    """
    code = Assembler()
    skb, device, socket = R.R6, R.R7, R.R8
    code.move(R.R9, R.R1)
    code.load(8, skb, R.R9, 0)
    code.load(8, R.R1, R.R9, 8)
    code.store(8, R.R10, _LOCATION, R.R1)
    code.set(R.R1, _FIRST_REASON)
    if layout.arguments > 2:
        code.load(8, R.R1, R.R9, 16)
    code.store(4, R.R10, _REASON, R.R1)
    code.load(4, R.R1, R.R10, _REASON)
    code.jump_if_less(R.R1, _FIRST_REASON, "out")

    _pointer(code, device, skb, layout.dev)
    _pointer(code, socket, skb, layout.sk)
    _namespace(code, layout, device, layout.dev_net, _NET_DEV)
    _namespace(code, layout, socket, layout.sk_net, _NET_SK)
    code.store_number(4, R.R10, _NET_RX, 0)
    code.store_number(2, R.R10, _HAS_SOCKET, 0)
    # A packet that the kernel made has neither, but knows its way: its lowest bit is a flag.
    _pointer(code, R.R1, skb, layout.refdst)
    code.mask(R.R1, -2)
    _pointer(code, R.R1, R.R1, layout.dst_dev)
    _namespace(code, layout, R.R1, layout.dev_net, _NET_DST)
    if layout.arguments > 3:
        code.load(8, R.R1, R.R9, 24)
        _namespace(code, layout, R.R1, layout.sk_net, _NET_RX)
    if maps.namespaces is not None:
        for place in (_NET_RX, _NET_DEV, _NET_SK, _NET_DST):
            _lookup(code, maps.namespaces, place)
            code.jump_if_not_equal(R.R0, 0, "here")
        code.jump("out")
        code.label("here")

    _header(code, layout, skb)
    if maps.keys is not None:
        _places(code, maps.keys, places)

    code.move(R.R1, socket)
    code.jump_if_equal(R.R1, 0, "no socket")
    code.set(R.R1, 1)
    code.label("no socket")
    code.store(2, R.R10, _HAS_SOCKET, R.R1)
    for place, size, base, offset in (
        (_LENGTH, 4, skb, layout.length),
        (_MARK, 4, skb, layout.mark),
        (_IIF, 4, skb, layout.iif),
        (_PROTOCOL, 2, skb, layout.protocol),
        (_IFINDEX, 4, device, layout.dev_ifindex),
        (_NAME, 16, device, layout.dev_name),
    ):
        _read(code, place, size, base, offset)
    code.call(_TIME)
    code.store(8, R.R10, _TIME_AT, R.R0)
    code.map(R.R1, maps.ring)
    code.move(R.R2, R.R10)
    code.add(R.R2, _AT)
    code.set(R.R3, _TOTAL)
    code.set(R.R4, 0)
    code.call(_OUTPUT)
    code.jump_if_equal(R.R0, 0, "out")
    code.store_number(4, R.R10, _KEY, 0)
    _lookup(code, maps.lost, _KEY)
    code.jump_if_equal(R.R0, 0, "out")
    code.set(R.R1, 1)
    code.count_up(R.R0, R.R1)
    code.label("out")
    code.set(R.R0, 0)
    code.exit()
    return code.assemble()


def _read(code: Assembler, place: int, size: int, base: int, offset: int) -> None:
    """Copy from the kernel's memory to the stack; zeros where there is none."""
    code.move(R.R3, base)
    code.add(R.R3, offset)
    code.move(R.R1, R.R10)
    code.add(R.R1, place)
    code.set(R.R2, size)
    code.call(_READ)


def _pointer(code: Assembler, dst: int, base: int, offset: int) -> None:
    _read(code, _POINTER, 8, base, offset)
    code.load(8, dst, R.R10, _POINTER)


def _namespace(code: Assembler, layout: Layout, base: int, offset: int, place: int) -> None:
    """Take down the inode of the namespace of a device or socket; 0 without one."""
    _pointer(code, R.R1, base, offset)
    _read(code, place, 4, R.R1, layout.net_inum)


def _header(code: Assembler, layout: Layout, skb: int) -> None:
    """Copy from the network header on, and how far the packet's linear part goes."""
    code.store_number(4, R.R10, _NETWORK, 0)
    _read(code, _NETWORK, 2, skb, layout.network_header)
    _read(code, _TAIL, 4, skb, layout.tail)
    _pointer(code, R.R1, skb, layout.head)
    code.load(4, R.R2, R.R10, _NETWORK)
    code.add_register(R.R1, R.R2)
    _read(code, _HEADER, HEADER_BYTES, R.R1, 0)


def _lookup(code: Assembler, descriptor: int, place: int) -> None:
    code.map(R.R1, descriptor)
    code.move(R.R2, R.R10)
    code.add(R.R2, place)
    code.call(_LOOKUP)


def _places(code: Assembler, keys: int, places: tuple[Place, ...]) -> None:
    """Go on at the end if one of the places has a key, leave otherwise."""
    for version in (4, 6):
        code.load(1, R.R1, R.R10, _HEADER)
        code.shift_right(R.R1, 4)
        code.jump_if_not_equal(R.R1, version, f"not {version}")
        for place in places:
            if place.version == version:
                _place(code, keys, place)
        code.label(f"not {version}")
    code.jump("out")
    code.label("wanted")


def _place(code: Assembler, keys: int, place: Place) -> None:
    code.set(R.R1, 0)
    for at in range(0, KEY_BYTES, 8):
        code.store(8, R.R10, _KEY + at, R.R1)
    code.store_number(4, R.R10, _KEY, place.kind)
    to = _KEY + 4
    for offset, length in place.parts:
        for step in range(0, length, 2):
            code.load(2, R.R1, R.R10, _HEADER + offset + step)
            code.store(2, R.R10, to + step, R.R1)
        to += length
    _lookup(code, keys, _KEY)
    code.jump_if_not_equal(R.R0, 0, "wanted")
