"""
Netlink on the wire: messages, attributes, dumps.

Lives here: what nfnetlink and sock_diag need and pyroute2 is too slow or too eager for.
Tables of tens of thousands of entries are decoded here in microseconds an entry.
Not here: what the attributes mean.  Sources: include/uapi/linux/netlink.h, RFC 3549.
"""

import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from nettrace.collect.failure import CollectError
from nettrace.model.section import MissingKind

__all__ = [
    "NETLINK_NETFILTER",
    "NETLINK_ROUTE",
    "NETLINK_SOCK_DIAG",
    "NETLINK_XFRM",
    "NetlinkSocket",
    "attribute",
    "attributes",
    "be32",
    "be64",
    "each",
    "nfgenmsg",
    "text",
]

NETLINK_ROUTE = 0
NETLINK_SOCK_DIAG = 4
NETLINK_XFRM = 6
NETLINK_NETFILTER = 12

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_CODE = struct.Struct("=i")  # minus errno, 0 for success
_REQUEST, _DUMP, _DUMP_INTERRUPTED = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3

#: Nobody waits longer for a local kernel, in seconds.
_TIMEOUT = 10.0
#: A dump that was interrupted by a change is read again, this often at most.
_TRIES = 4


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Decode attributes; of several with one type the last wins; ValueError if they are cut short."""
    found: dict[int, bytes] = {}
    end = len(data)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            raise ValueError("a netlink message is cut short")
        found[kind & 0x3FFF] = data[start + 4 : start + length]  # without NESTED and NET_BYTEORDER
        start += (length + 3) & ~3
    return found


def each(payload: bytes) -> Iterator[bytes]:
    """The payloads of a list, whose attributes all have one type."""
    start = 0
    while start + 4 <= len(payload):
        length = _ATTRIBUTE.unpack_from(payload, start)[0]
        if length < 4:
            return
        yield payload[start + 4 : start + length]
        start += (length + 3) & ~3


def be32(payload: bytes) -> int:
    """An unsigned 32-bit number in network order, as nfnetlink writes them."""
    return int.from_bytes(payload[:4], "big")


def be64(payload: bytes) -> int:
    """An unsigned 64-bit number in network order."""
    return int.from_bytes(payload[:8], "big")


def text(payload: bytes) -> str:
    """A NUL-terminated string."""
    return payload.split(b"\0", 1)[0].decode(errors="surrogateescape")


def nfgenmsg(family: int = socket.AF_UNSPEC) -> bytes:
    """The header that every nfnetlink message starts with."""
    return struct.pack(">BBH", family, 0, 0)


class _Interrupted(Exception):
    """The state changed during a dump (NLM_F_DUMP_INTR)."""


class NetlinkSocket:
    """A netlink socket; it belongs to the namespace of the thread that opens it."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """
        Return the payloads of all messages that answer a dump request.

        OSError with the kernel's errno; CollectError if the state kept changing meanwhile.
        """
        for _ in range(_TRIES):
            try:
                return list(self._answers(kind, _REQUEST | _DUMP, body))
            except _Interrupted:
                continue
        raise CollectError(MissingKind.FAILED, "unstable: it changed each time while it was read")

    def ask(self, kind: int, body: bytes) -> bytes:
        """Return the payload of the single message that answers; OSError with the kernel's errno."""
        for payload in self._answers(kind, _REQUEST, body):
            return payload
        raise OSError(0, "the kernel did not answer")

    def _answers(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(_HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body)
        interrupted = False
        while True:
            data = self._socket.recv(1 << 17)
            start = 0
            while start + 16 <= len(data):
                length, answer, answer_flags, its_sequence, _ = _HEADER.unpack_from(data, start)
                if length < 16 or start + length > len(data):
                    raise ValueError("a netlink message is cut short")
                payload = data[start + 16 : start + length]
                start += (length + 3) & ~3
                if its_sequence != sequence:
                    continue  # of a dump that was given up
                interrupted = interrupted or bool(answer_flags & _DUMP_INTERRUPTED)
                if answer in (_ERROR, _DONE):
                    code = _CODE.unpack_from(payload)[0] if len(payload) >= 4 else 0
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    if interrupted:
                        raise _Interrupted
                    return
                yield payload
            if not flags & _DUMP:
                return
