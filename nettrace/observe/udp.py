"""UDP: send a datagram, wait for one back or for an ICMP error."""

import os
import selectors
import socket
import time

from nettrace.model.walk import Outcome
from nettrace.observe.attempt import Try, first_line, name_in
from nettrace.observe.tag import dns_question

__all__ = ["UdpTry"]

#: Seconds after which the datagram is sent once more.
_AGAIN = 1.0

# include/uapi/linux/in.h and in6.h: report every ICMP error, not only port unreachable
_IP_RECVERR, _IPV6_RECVERR = 11, 25

_DNS_PORT = 53


class UdpTry(Try):
    """One datagram and its answer; the same socket sends it again once."""

    def start(self) -> None:
        """Send the datagram."""
        found = self.open(socket.SOCK_DGRAM)
        if self.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            found.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        found.connect((self.dst, self.port))
        # Whoever listens on 53 keeps silent to what is no question.
        if self.port == _DNS_PORT:
            identifier = self.tag[:2] if self.tag is not None else os.urandom(2)
            self._payload = dns_question(identifier, self.shape.payload(self.version, 0))
        else:
            self._payload = (self.tag or b"nettrace") + b"\n"
            length = self.shape.payload(self.version, len(self._payload))
            self._payload = self._payload[:length].ljust(length, b".")
        self.send(self._payload)
        self._end = self.due
        self.due = min(self.due, time.monotonic() + _AGAIN)
        self.events = selectors.EVENT_READ

    def ready(self) -> None:
        """An answer came, or an error."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return  # a datagram with a wrong checksum
        line = _reply(data) if self.port == _DNS_PORT else first_line(data)
        self.finish(
            Outcome.CONNECTED, answer=line, answered_by=name_in(line) if self.port != _DNS_PORT else None
        )

    def late(self) -> None:
        """Send it again, or give up."""
        if self.due >= self._end:
            super().late()
            return
        self.due = self._end
        self.send(self._payload)


def _reply(data: bytes) -> str | None:
    if len(data) < 12:
        return None
    code = data[3] & 0x0F
    names = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
    return f"DNS {names.get(code, code)}"
