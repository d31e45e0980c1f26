"""
The socket filter that lets a probe's packets pass, and almost no others.

Lives here: classic BPF for packet sockets, from the same forms that rules of nf_tables are made of.  It
may let a stranger pass whose numbers happen to lie close; recognise has the last word.  Pure.
Not here: the sockets (capture).  Source: include/uapi/linux/filter.h, net/core/filter.c.
"""

import ipaddress
import struct
from collections.abc import Sequence

from nettrace.model.packet import Packet
from nettrace.observe.arming import FAMILIES, Form, forms

__all__ = ["MOST_TAGS", "packet_filter"]

#: A program of more tags would be longer than the kernel takes (BPF_MAXINSNS, 4096).
MOST_TAGS = 60

_LD_WORD, _LD_HALF, _LD_BYTE, _LD_LENGTH = 0x20, 0x28, 0x30, 0x80
_SUBTRACT, _JUMP, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x14, 0x05, 0x15, 0x35, 0x06
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets count from the network header
_ALL = 0xFFFF
#: Bytes of a TCP stream that count as the probe's.
WINDOW = 1 << 20
_ETHERNET = 14

_Code = list[tuple[int, int, int, int]]


def packet_filter(proto: str, version: int, tags: Sequence[bytes], replies: Sequence[Packet] = ()) -> bytes:
    """Return the program, 8 bytes an instruction; of too many tags one that lets all packets pass."""
    if len(tags) > MOST_TAGS:
        return _encoded([(_RETURN, 0, 0, _ALL)])
    family = FAMILIES[version]
    number = {"tcp": 6, "udp": 17, "sctp": 132}.get(proto, family.icmp)
    code: _Code = []
    for form in forms(family, number):
        code += _block(version, form, _direct(proto, form, family.header, tags, replies))
    for form in forms(family, family.icmp):
        at = 8 + family.header
        tests: _Code = []
        for tag in tags:
            if proto == "tcp":
                tests += _near(_offset(form, family.header, at + 4), tag)
            elif proto == "sctp":
                tests += _same(_offset(form, family.header, at + 16), tag[:4])
            else:
                tests += _same(_offset(form, family.header, at + 8), tag[:8])
        code += _block(version, form, tests)
    return _encoded([*code, (_RETURN, 0, 0, 0)])


def _offset(form: Form, header: int, at: int) -> int:
    """Where byte *at* of the probe's layer-4 header stands behind the network header."""
    return (header if form.base == 2 else 0) + form.at + at


def _direct(proto: str, form: Form, header: int, tags: Sequence[bytes], replies: Sequence[Packet]) -> _Code:
    code: _Code = []
    for tag in tags:
        if proto == "tcp":
            code += _near(_offset(form, header, 4), tag) + _near(_offset(form, header, 8), tag)
        elif proto == "sctp":
            code += _same(_offset(form, header, 4), tag[:4]) + _same(_offset(form, header, 16), tag[:4])
        else:
            code += _same(_offset(form, header, 8), tag[:8])
    if proto == "udp":
        for ends in dict.fromkeys((reply.src, reply.dst) for reply in replies):
            # The last words of both addresses stand in front of the layer-4 header.
            apart = 4 if header == 20 else 16
            words = [ipaddress.ip_address(end).packed[-4:] for end in ends]
            tail = [(_RETURN, 0, 0, _ALL)]
            second = _if_same(_offset(form, header, -4), words[1], tail)
            code += _if_same(_offset(form, header, -4 - apart), words[0], second)
    return code


def _near(at: int, tag: bytes) -> _Code:
    """Accept if the number there is at most a window behind the tag."""
    return [
        (_LD_WORD, 0, 0, _NETWORK + at),
        (_SUBTRACT, 0, 0, int.from_bytes(tag, "big")),
        (_IF_AT_LEAST, 1, 0, WINDOW),
        (_RETURN, 0, 0, _ALL),
    ]


def _same(at: int, value: bytes) -> _Code:
    """Accept if the bytes there are *value*, one or two words."""
    then: _Code = [(_RETURN, 0, 0, _ALL)]
    for start in reversed(range(0, len(value), 4)):
        then = _if_same(at + start, value[start : start + 4], then)
    return then


def _if_same(at: int, word: bytes, then: _Code) -> _Code:
    return [
        (_LD_WORD, 0, 0, _NETWORK + at),
        (_IF_EQUAL, 0, len(then), int.from_bytes(word, "big")),
        *then,
    ]


def _block(version: int, form: Form, tests: _Code) -> _Code:
    """Do *tests* on packets of the form's protocol that are long enough; a load behind the end rejects."""
    if not tests:
        return []
    ends = [k - _NETWORK + 4 for code, _, _, k in tests if code == _LD_WORD]
    guarded: _Code = [
        (_LD_LENGTH, 0, 0, 0),
        (_IF_AT_LEAST, 1, 0, _ETHERNET + max(ends)),
        (_JUMP, 0, 0, len(tests)),
        *tests,
    ]
    if form.protocol is not None:
        at = 9 if version == 4 else 6
        guarded = [
            (_LD_BYTE, 0, 0, _NETWORK + at),
            (_IF_EQUAL, 1, 0, form.protocol),
            (_JUMP, 0, 0, len(guarded)),
            *guarded,
        ]
    # Of another version of IP, or none: not this block.
    return [
        (_LD_LENGTH, 0, 0, 0),
        (_IF_AT_LEAST, 1, 0, _ETHERNET + 20),
        (_JUMP, 0, 0, len(guarded) + 4),
        (_LD_BYTE, 0, 0, _NETWORK),
        (_IF_AT_LEAST, 0, 1, version << 4),
        (_IF_AT_LEAST, 0, 1, (version + 1) << 4),
        (_JUMP, 0, 0, len(guarded)),
        *guarded,
    ]


def _encoded(code: _Code) -> bytes:
    return b"".join(struct.pack("=HBBI", *one) for one in code)
