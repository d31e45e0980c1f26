"""
One attempt to reach somebody, driven by whoever waits for its socket.

Lives here: the frame that tcp, udp and echo fill in, what an errno means, and reading a name out
of an answer.
"""

import errno
import re
import selectors
import socket
import time

from nettrace.model.errors import UserError
from nettrace.model.observation import Attempt
from nettrace.model.walk import Outcome
from nettrace.observe.shape import PLAIN, Shape, set_options

__all__ = ["Try", "first_line", "name_in", "outcome_of"]

_IP_BIND_ADDRESS_NO_PORT = 24  # include/uapi/linux/in.h; the socket module has no name for it

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?")
_LONGEST_ANSWER = 200


class Try:
    """
    One attempt.

    *tag* is what its packets are recognised by (nettrace.observe.tag); None: nobody looks.
    ``events`` is what it waits for (0: nothing), ``due`` when it stops waiting for it, in the
    time of time.monotonic(), ``attempt`` the result once there is one.  start(), ready() and
    late() may raise OSError, which the driver hands to fail().
    """

    def __init__(
        self,
        *,
        family: int,
        source: str | None,
        sport: int | None,
        dst: str,
        port: int | None,
        timeout: float,
        tag: bytes | None = None,
        shape: Shape = PLAIN,
    ) -> None:
        self.family = family
        self.source = source
        self.sport = sport
        self.dst = dst
        self.port = port or 0
        self.timeout = timeout
        self.tag = tag
        self.shape = shape
        self.attempt: Attempt | None = None
        self.events = 0
        self.watched = 0
        self.began = self.due = 0.0
        self._socket: socket.socket | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if self.family == socket.AF_INET6 else 4

    @property
    def sock(self) -> socket.socket:
        """The open socket."""
        if self._socket is None:
            raise RuntimeError("the attempt was not started, or is over")
        return self._socket

    def open(self, kind: int, protocol: int = 0) -> socket.socket:
        """Open and bind the socket; UserError where the source cannot be bound."""
        self._socket = found = socket.socket(
            self.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol
        )
        self.began = time.monotonic()
        self.due = self.began + self.timeout
        set_options(found, self.shape)
        if self.source is None and self.sport is None:
            return found
        if self.sport is None:
            # Raw sockets have no port, and those of IPv6 refuse this (rawv6_setsockopt()).
            if kind != socket.SOCK_RAW:
                found.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        else:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        anywhere = "::" if self.family == socket.AF_INET6 else "0.0.0.0"
        address = (self.source or anywhere, self.sport or 0)
        try:
            found.bind(address)
        except OSError as error:
            where = f"{address[0]}:{address[1]}" if self.sport else address[0]
            raise UserError(
                f"the probe cannot be sent from {where}: {(error.strerror or '').lower()}",
                where=where,
                hint="the source has to be an address of the namespace, and the port has to be free",
            ) from error
        return found

    def send(self, data: bytes) -> None:
        """
        Send a packet; one that the device itself refuses is lost, like one on its way.

        Of ENOBUFS a program learns only where it has asked for IP_RECVERR, as a probe does for other errors'
        sake, and only if the neighbour was known at once (udp_send_skb, raw_sendmsg, net_xmit_errno).
        """
        try:
            self.sock.send(data)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

    def start(self) -> None:
        """Open the socket and send what is to be sent."""
        raise NotImplementedError

    def ready(self) -> None:
        """The socket has what was waited for."""
        raise NotImplementedError

    def late(self) -> None:
        """``due`` has come."""
        self.finish(Outcome.TIMEOUT)

    def fail(self, error: OSError) -> None:
        """
        End with an error of the socket.

        UserError where the source port that was asked for is still in TIME_WAIT towards this far end:
        that is no answer of the network (tcp_v4_connect(), inet_hash_connect()).
        """
        if error.errno == errno.EADDRNOTAVAIL and self.sport is not None:
            raise UserError(
                f"source port {self.sport} is in use towards {self.dst}",
                where=f"{self.source or ''}:{self.sport}",
                hint="a connection from it has just ended; take another port, or wait a minute",
            ) from error
        self.finish(outcome_of(error), error=error)

    def finish(
        self,
        outcome: Outcome,
        *,
        error: OSError | None = None,
        delay: float | None = None,
        answer: str | None = None,
        answered_by: str | None = None,
    ) -> None:
        """Set the result; *delay* is the time since the start unless it is given."""
        source, sport = self._bound()
        self.attempt = Attempt(
            outcome=outcome,
            errno=errno.errorcode.get(error.errno or 0) if error is not None else None,
            delay=delay if delay is not None else time.monotonic() - self.began,
            answer=answer,
            answered_by=answered_by,
            source=source,
            sport=sport,
        )

    def _bound(self) -> tuple[str | None, int | None]:
        try:
            address, port = self.sock.getsockname()[:2]
        except OSError:
            return self.source, self.sport
        return (address if address not in ("0.0.0.0", "::") else self.source), port or self.sport

    def close(self) -> None:
        """Close the socket; again is no error."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Tell *selector* what is waited for; once over, nothing is, and the socket is closed."""
        wanted = self.events if self.attempt is None else 0
        if wanted == self.watched:
            pass
        elif not wanted:
            selector.unregister(self.sock)
        elif not self.watched:
            selector.register(self.sock, wanted, self)
        else:
            selector.modify(self.sock, wanted, self)
        self.watched = wanted
        if self.attempt is not None:
            self.close()


def outcome_of(error: OSError) -> Outcome:
    """
    Say what an errno means to the user of a socket.

    An RST that answers a SYN is ECONNREFUSED; ECONNRESET tells that there was a connection
    (tcp_reset(), net/ipv4/tcp_input.c).  ``prohibit`` routes give EACCES and ``blackhole`` routes
    EINVAL (fib_props, net/ipv4/fib_semantics.c).
    """
    match error.errno:
        case errno.ECONNREFUSED:
            return Outcome.REFUSED
        case errno.ECONNRESET | errno.EPIPE:
            return Outcome.RESET
        case errno.EPERM:
            return Outcome.DENIED
        case errno.ETIMEDOUT:
            return Outcome.TIMEOUT
        case _:
            return Outcome.UNREACHABLE


def first_line(data: bytes) -> str | None:
    """Return the first line of an answer as text; None if there is none, or if it is not text."""
    try:
        text = data.split(b"\n", 1)[0].decode().strip()
    except UnicodeDecodeError:
        return None
    return text[:_LONGEST_ANSWER] if text and text.isprintable() else None


def name_in(line: str | None) -> str | None:
    """Return the first word of a line if it may be a name."""
    words = line.split() if line else []
    return words[0] if words and _NAME.fullmatch(words[0]) else None
