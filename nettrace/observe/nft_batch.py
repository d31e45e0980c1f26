"""
nf_tables messages: one table of our own, made in one transaction and owned by a socket.

Lives here: encoding of tables, chains, verdict maps, rules and the few expressions that are needed,
and sending them.  Raw nfnetlink needs no library and no process.
Not here: which rules (arming).  Numbers from include/uapi/linux/netfilter/nf_tables.h.
"""

import os
import socket
import struct
from collections.abc import Iterable, Sequence

from nettrace.collect.wire import NETLINK_NETFILTER, attribute

__all__ = ["Batch", "compare", "load_l4proto", "load_payload", "lookup", "set_nftrace", "verdict_jump"]

_NESTED = 0x8000
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM = 0, 3, 6, 9, 12
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NLMSG_ERROR = 2
_HEADER = 16  # bytes

_OWNER = 0x2  # NFT_TABLE_F_OWNER
_MAP = 0x8  # NFT_SET_MAP
_DATA_VERDICT = 0xFFFFFF00
_JUMP = -3
_REGISTER, _VERDICT_REGISTER = 1, 0
_META_NFTRACE, _META_L4PROTO = 12, 16

#: Of attributes that hold lists; the length of an attribute is 16 bits.
_ELEMENTS_AT_ONCE = 500
_BUFFER = 16 << 20  # bytes; a transaction is one message to the kernel


def _nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack(">I", number & 0xFFFFFFFF))


def _expression(name: str, *parts: bytes) -> bytes:
    return _nest(1, _text(1, name), _nest(2, *parts))


def load_l4proto() -> bytes:
    """``meta l4proto`` into the register."""
    return _expression("meta", _number(1, _REGISTER), _number(2, _META_L4PROTO))


def load_payload(base: int, offset: int, length: int) -> bytes:
    """Bytes of the packet into the register; *base* 1 is the network header, 2 the transport header."""
    return _expression(
        "payload", _number(1, _REGISTER), _number(2, base), _number(3, offset), _number(4, length)
    )


def compare(value: bytes) -> bytes:
    """Go on if the register holds *value*."""
    return _expression("cmp", _number(1, _REGISTER), _number(2, 0), _nest(3, attribute(1, value)))


def lookup(name: str) -> bytes:
    """Do what the verdict map says of the register; go on with the next rule if nothing."""
    return _expression("lookup", _text(1, name), _number(2, _REGISTER), _number(3, _VERDICT_REGISTER))


def verdict_jump(chain: str) -> bytes:
    """``jump CHAIN``."""
    return _expression("immediate", _number(1, _VERDICT_REGISTER), _nest(2, _jump(chain)))


def set_nftrace() -> bytes:
    """``meta nftrace set 1``."""
    one = _expression("immediate", _number(1, _REGISTER), _nest(2, attribute(1, b"\x01")))
    return one + _expression("meta", _number(2, _META_NFTRACE), _number(3, _REGISTER))


def _jump(chain: str) -> bytes:
    return _nest(2, _number(1, _JUMP), _text(2, chain))


class Batch:
    """
    One table and what is in it, sent as one transaction.

    *family* is NFPROTO_IPV4 (2) or NFPROTO_IPV6 (10).
    """

    def __init__(self, family: int, table: str) -> None:
        self._family, self._table = family, table
        self._messages: list[bytes] = []
        self._sets = 0
        self._add(_NEWTABLE, _CREATE, _text(1, table) + _number(2, _OWNER))

    def chain(self, name: str) -> None:
        """Add a chain that is jumped to."""
        self._add(_NEWCHAIN, _CREATE, _text(1, self._table) + _text(3, name))

    def base_chain(self, name: str, hook: int, priority: int) -> None:
        """Add a chain of type filter with policy accept at a hook (NF_INET_...)."""
        where = _nest(4, _number(1, hook), _number(2, priority))
        self._add(
            _NEWCHAIN,
            _CREATE,
            _text(1, self._table) + _text(3, name) + where + _number(5, 1) + _text(7, "filter"),
        )

    def rule(self, chain: str, *expressions: bytes) -> None:
        """Append a rule."""
        self._add(
            _NEWRULE,
            _CREATE | _APPEND,
            _text(1, self._table) + _text(2, chain) + _nest(4, *expressions),
        )

    def verdict_map(self, name: str, jumps: Sequence[tuple[bytes, str]]) -> None:
        """Add a map from values of one length to chains."""
        self._sets += 1
        self._add(
            _NEWSET,
            _CREATE,
            _text(1, self._table)
            + _text(2, name)
            + _number(3, _MAP)
            + _number(4, 0)
            + _number(5, len(jumps[0][0]))
            + _number(6, _DATA_VERDICT)
            + _number(7, 0)
            + _number(10, self._sets),
        )
        for start in range(0, len(jumps), _ELEMENTS_AT_ONCE):
            elements = [
                _nest(1, _nest(1, attribute(1, key)), _nest(2, _jump(chain)))
                for key, chain in jumps[start : start + _ELEMENTS_AT_ONCE]
            ]
            self._add(_NEWSETELEM, _CREATE, _text(1, self._table) + _text(2, name) + _nest(3, *elements))

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        header = struct.pack(">BBH", self._family, 0, 0)
        self._messages.append(
            _message(_SUBSYSTEM << 8 | kind, _REQUEST | flags, len(self._messages) + 2, header + body)
        )

    def send(self) -> socket.socket:
        """
        Carry it out in the namespace of the calling thread.

        Returns the socket that owns the table: the kernel removes the table when it is closed,
        also by the end of the process.  OSError with the kernel's errno, and nothing is left.
        """
        bracket = struct.pack(">BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)
        *messages, final = self._messages
        flags = struct.unpack_from("=H", final, 6)[0] | _ACK
        final = final[:6] + struct.pack("=H", flags) + final[8:]
        begin, end = (_message(kind, _REQUEST, 1, bracket) for kind in (_BEGIN, _END))
        owner = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            for option in (32, 33):  # SO_SNDBUFFORCE, SO_RCVBUFFORCE
                owner.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            owner.settimeout(10.0)
            owner.bind((0, 0))
            owner.send(b"".join((begin, *messages, final, end)))
            _answer(owner, len(self._messages) + 1)
        except BaseException:
            owner.close()
            raise
        return owner


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def _answer(owner: socket.socket, final: int) -> None:
    """Wait until the last message is answered; OSError with the first error of any."""
    while True:
        for kind, sequence, payload in _messages(owner.recv(1 << 20)):
            if kind != _NLMSG_ERROR:
                continue
            code = struct.unpack_from("=i", payload)[0]
            if code:
                raise OSError(-code, os.strerror(-code))
            if sequence == final:
                return


def _messages(data: bytes) -> Iterable[tuple[int, int, bytes]]:
    start = 0
    while start + _HEADER <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, start)
        if length < _HEADER:
            return
        yield kind, sequence, data[start + _HEADER : start + length]
        start += (length + 3) & ~3
