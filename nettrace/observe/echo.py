"""ICMP and ICMPv6 echo: what ping does, once."""

import os
import selectors
import socket
import struct
import time

from nettrace.model.errors import UserError
from nettrace.model.walk import Outcome
from nettrace.observe.attempt import Try

__all__ = ["EchoTry"]

#: Seconds after which the request is sent once more.
_AGAIN = 1.0

_HEADER = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence
_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request, reply: RFC 792, RFC 4443
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
# level and option of IP_RECVERR and IPV6_RECVERR
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_PAYLOAD = 56  # bytes, as ping(8)
_AT_ONCE = 64  # packets taken before others have their turn


class EchoTry(Try):
    """
    One echo request and its answer.

    Answers are told apart by 8 random bytes at the start of the payload; a NAT on the way may
    change the identifier.
    """

    def start(self) -> None:
        """Send the request; UserError where neither raw nor ping sockets are allowed."""
        self._raw = True
        try:
            found = self.open(socket.SOCK_RAW, _PROTOCOL[socket.AddressFamily(self.family)])
        except PermissionError:
            self._raw = False
            try:
                # Allowed to the groups of net.ipv4.ping_group_range, by default to none.
                found = self.open(socket.SOCK_DGRAM, _PROTOCOL[socket.AddressFamily(self.family)])
            except PermissionError as error:
                raise UserError(
                    "an echo request needs root", where=self.dst, hint="run it as root"
                ) from error
        level, option = _RECVERR[socket.AddressFamily(self.family)]
        found.setsockopt(level, option, 1)
        found.connect((self.dst, 0))
        self._cookie = self.tag[:8] if self.tag is not None else os.urandom(8)
        self.send(self._request())
        self._end = self.due
        self.due = min(self.due, time.monotonic() + _AGAIN)
        self.events = selectors.EVENT_READ

    def _request(self) -> bytes:
        kind, _ = _ECHO[socket.AddressFamily(self.family)]
        identifier = struct.unpack(">H", self._cookie[:2])[0]
        length = max(self.shape.payload(self.version, _PAYLOAD), len(self._cookie))
        payload = self._cookie.ljust(length, b"\0")
        packet = _HEADER.pack(kind, 0, 0, identifier, 1) + payload
        # Of ICMPv6 the kernel writes the checksum, which covers its pseudo-header.
        checksum = _checksum(packet) if self.family == socket.AF_INET else 0
        return _HEADER.pack(kind, 0, checksum, identifier, 1) + payload

    def ready(self) -> None:
        """Packets came, or errors; most may be somebody else's."""
        self._errors()
        for _ in range(_AT_ONCE):
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # the error just taken from the queue, told once more
            if self._raw and self.family == socket.AF_INET:
                data = data[(data[0] & 0x0F) * 4 :]
            _, reply = _ECHO[socket.AddressFamily(self.family)]
            if len(data) >= 16 and data[0] == reply and data[8:16] == self._cookie:
                self.finish(Outcome.CONNECTED)
                return

    def _errors(self) -> None:
        """Raise the first error that is about this request (ip(7), IP_RECVERR)."""
        level, option = _RECVERR[socket.AddressFamily(self.family)]
        for _ in range(_AT_ONCE):
            try:
                quoted, ancillary, _, _ = self.sock.recvmsg(
                    512, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            except OSError:
                continue
            if len(quoted) >= 16 and quoted[8:16] != self._cookie:
                continue
            if self._raw and len(quoted) >= 6 and quoted[4:6] != self._cookie[:2]:
                continue  # NAT has changed the identifier, and did not translate the error back
            for its_level, kind, data in ancillary:
                if (its_level, kind) == (level, option):
                    code = struct.unpack_from("=I", data)[0]
                    raise OSError(code, os.strerror(code))

    def late(self) -> None:
        """Send it again, or give up."""
        if self.due >= self._end:
            super().late()
            return
        self.due = self._end
        self.send(self._request())


def _checksum(packet: bytes) -> int:
    """RFC 1071."""
    packet += b"\0" * (len(packet) % 2)
    total: int = sum(struct.unpack(f">{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
