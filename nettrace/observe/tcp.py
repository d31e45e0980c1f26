"""TCP: connect, and take down what the far end says first."""

import os
import selectors
import socket
import struct
import time
from errno import EINPROGRESS

from nettrace.model.walk import Outcome
from nettrace.observe.attempt import Try, first_line, name_in

__all__ = ["TcpTry"]

#: Seconds in which a far end that speaks first does, and in which one that is asked answers.
_SPEAKS, _ANSWERS = 0.25, 1.0
_ENOUGH = 65536  # bytes

_IPV6_RECVERR = 25  # include/uapi/linux/in6.h
# include/uapi/linux/tcp.h
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_SEND_QUEUE, _OFF_WITHOUT_PROBE = 2, -1


class TcpTry(Try):
    """
    One connection.

    After the handshake it waits a moment for the far end to speak; to one that says nothing it
    sends an HTTP GET.  It is connected in any case, unless it is reset then.
    """

    def start(self) -> None:
        """Send the SYN."""
        found = self.open(socket.SOCK_STREAM)
        if self.tag is not None:
            _begin_at(found, int.from_bytes(self.tag, "big"))
        if self.family == socket.AF_INET6:
            # An error that comes back while connect() still holds the socket, as it does from a
            # namespace of the same machine, would only be heard with the next SYN's.
            found.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        code = found.connect_ex((self.dst, self.port))
        if code not in (0, EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._delay = 0.0
        self.connected = False
        self._asked = False
        self._heard = b""
        self.events = selectors.EVENT_WRITE

    def ready(self) -> None:
        """The handshake is over, or the far end said something."""
        if self.connected:
            self._hear()
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        self.connected = True
        if self.family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 0)
        self._delay = time.monotonic() - self.began
        self.events, self.due = selectors.EVENT_READ, time.monotonic() + _SPEAKS

    def _hear(self) -> None:
        data = self.sock.recv(_ENOUGH)
        self._heard += data
        if not data or _whole(self._heard) or len(self._heard) >= _ENOUGH:
            self._done()

    def late(self) -> None:
        """Nobody answered the SYN, or nobody spoke."""
        if not self.connected:
            super().late()
        elif self._heard or self._asked:
            self._done()
        else:
            host = f"[{self.dst}]" if ":" in self.dst else self.dst
            self.sock.send(f"GET / HTTP/1.0\r\nHost: {host}\r\nUser-Agent: nettrace\r\n\r\n".encode())
            self._asked = True
            self.due = time.monotonic() + _ANSWERS

    def _done(self) -> None:
        line = first_line(_body(self._heard))
        self.finish(Outcome.CONNECTED, delay=self._delay, answer=line, answered_by=name_in(line))


def _begin_at(sock: socket.socket, sequence: int) -> None:
    """
    Choose the initial sequence number; PermissionError without CAP_NET_ADMIN.

    tcp_v4_connect() (net/ipv4/tcp_ipv4.c) draws one only where none was set.
    """
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, _SEND_QUEUE)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, struct.pack("=I", sequence))
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _OFF_WITHOUT_PROBE)


def _whole(heard: bytes) -> bool:
    """Is the first line there: of a response's body, or of what came?"""
    return b"\n" in _body(heard)


def _body(heard: bytes) -> bytes:
    """What follows the head of an HTTP response; anything else as it is."""
    if not heard.startswith(b"HTTP/"):
        return heard
    _, found, body = heard.partition(b"\r\n\r\n")
    return body if found else b""
