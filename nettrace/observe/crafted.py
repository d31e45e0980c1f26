"""
Probes of crafted packets: sent by a raw socket, or as a frame that arrives at a device.

Lives here: sending one, and hearing what becomes of it where a client's socket would, or at the
other end of the device.
Not here: making the bytes (craft), whose an answer is (recognise).
Sources: raw(7), packet(7); raw_send_hdrinc(), net/ipv4/raw.c.
"""

import errno
import os
import random
import select
import selectors
import socket
import struct
import time
from contextlib import suppress

from nettrace.model.errors import UserError
from nettrace.model.walk import Outcome
from nettrace.observe.attempt import Try
from nettrace.observe.craft import craft
from nettrace.observe.recognise import Recogniser, Whose, read_packet
from nettrace.observe.shape import Arrival, set_options
from nettrace.observe.tag import TAG_BYTES, tag_length
from nettrace.walk.outcome import of_answer

__all__ = ["CraftedTry"]

#: Seconds after which it is sent once more: a SYN's first time-out.
_AGAIN = 1.0
_TRIES = 40  # for a port that is free
_AT_ONCE = 64  # packets taken before others have their turn
_EPHEMERAL = (32768, 60999)
_ETH_P_ALL, _IPV4, _IPV6, _OUTGOING = 3, 0x0800, 0x86DD, 4
_IPV6_HDRINCL = 36
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


class CraftedTry(Try):
    """
    One crafted packet and its answer.

    A SYN that is answered is not acknowledged: the kernel, which has no such connection, resets it.
    """

    #: What is sent; set before it starts.
    proto = "tcp"

    @property
    def arrival(self) -> Arrival | None:
        """How the frame arrives, None for one that leaves a raw socket."""
        return self.shape.arrival

    def start(self) -> None:
        """Send it; UserError where that needs root."""
        self._poll = select.epoll()
        self._ears: dict[int, socket.socket] = {}
        self._held: socket.socket | None = None
        self.began = time.monotonic()
        self._end = self.began + self.timeout
        self.due = min(self._end, self.began + _AGAIN)
        self._tag = self.tag if self.tag is not None else os.urandom(TAG_BYTES)[: self._room()]
        number = 58 if self.version == 6 else 1
        try:
            if self.arrival is None:
                self.source = self.source or self._own_address()
                self._hold_port()
                self._hear(_NUMBERS.get(self.proto, number))
                if self.proto in _NUMBERS:
                    self._hear(number)
                self._socket = socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                if self.version == 6:
                    self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
                set_options(self._socket, self.shape._replace(ttl=None, tos=None, df=None))
            else:
                self.sport = self.sport or random.randint(*_EPHEMERAL)  # noqa: S311  (no secret)
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
                self._socket.bind((self.arrival.device, _ETH_P_ALL))
                self._listen(self._socket)
        except PermissionError as error:
            raise UserError("a crafted packet needs root", where=self.dst, hint="run it as root") from error
        self._recogniser = Recogniser(self.proto, [self._tag])
        self._packet = craft(
            self.proto, self.source or "", self.sport, self.dst, self.port or None, self._tag, self.shape
        )
        self._send()
        self.events = selectors.EVENT_READ

    def _room(self) -> int:
        """Bytes that there are for a tag."""
        return tag_length(self.proto, self.port, self.shape.payload(self.version, TAG_BYTES))

    def _own_address(self) -> str:
        """Ask the kernel which source it would take, as connect(2) does."""
        with socket.socket(self.family, socket.SOCK_DGRAM) as asked:
            set_options(asked, self.shape._replace(ttl=None, tos=None, df=None))
            asked.connect((self.dst, self.port or 9))
            return str(asked.getsockname()[0])

    def _hold_port(self) -> None:
        """Bind a socket to the port, so that nobody else has it."""
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}.get(self.proto)
        if kind is None:
            self.sport = self.sport or random.randint(*_EPHEMERAL)  # noqa: S311
            return
        for left in reversed(range(_TRIES)):
            port = self.sport or random.randint(*_EPHEMERAL)  # noqa: S311
            held = socket.socket(self.family, kind | socket.SOCK_NONBLOCK)
            try:
                # An address that is not here may be the source of a crafted packet too.
                held.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
                held.bind((self.source or "", port))
            except OSError as error:
                held.close()
                if error.errno == errno.EADDRINUSE and not self.sport and left:
                    continue
                raise UserError(
                    f"the probe cannot be sent from {self.source}:{port}: {(error.strerror or '').lower()}",
                    where=f"{self.source}:{port}",
                    hint="the port has to be free",
                ) from error
            self._held, self.sport = held, port
            return

    def _hear(self, number: int) -> None:
        self._listen(socket.socket(self.family, socket.SOCK_RAW, number), number)

    def _listen(self, sock: socket.socket, number: int = 0) -> None:
        sock.setblocking(False)
        self._ears[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)
        self._protocols = {**getattr(self, "_protocols", {}), sock.fileno(): number}

    def _send(self) -> None:
        if self.arrival is None:
            self.sock.sendto(self._packet, (self.dst, 0))
            return
        macs = [
            bytes.fromhex(one.replace(":", "")) for one in (self.arrival.dest_mac, self.arrival.source_mac)
        ]
        kind = _IPV6 if self.version == 6 else _IPV4
        self.send(b"".join(macs) + struct.pack(">H", kind) + self._packet)

    def ready(self) -> None:
        """Packets came; most are somebody else's."""
        for descriptor, _ in self._poll.poll(0):
            sock = self._ears[descriptor]
            for _ in range(_AT_ONCE):
                try:
                    data, address = sock.recvfrom(65536)
                except (BlockingIOError, ConnectionError):
                    break
                found = self._recognised(descriptor, data, address)
                if found is not None:
                    self._answered(found)
                    return

    def _recognised(self, descriptor: int, data: bytes, address: tuple[object, ...]) -> Whose | None:
        if self.arrival is not None:
            if address[2] == _OUTGOING or address[1] not in (_IPV4, _IPV6):
                return None
            data = data[14:]
        elif self.version == 6:
            # Raw sockets of IPv6 hand out what follows its header (RFC 3542 section 3).
            ends = [
                socket.inet_pton(self.family, str(end).split("%")[0]) for end in (address[0], self.source)
            ]
            number = self._protocols[descriptor]
            data = struct.pack(">IHBB", 6 << 28, len(data), number, 64) + b"".join(ends) + data
        found = self._recogniser.whose(data)
        if found is None or found.tunnelled:
            found = self._by_ends(data)
        return found if found is not None and found.kind in ("reply", "error") else None

    def _by_ends(self, data: bytes) -> Whose | None:
        """Answers of UDP carry no tag, and a reset may acknowledge what fills a SYN up."""
        packet = read_packet(data)
        if packet is None or packet.proto != self.proto or packet.sport is None or packet.dport is None:
            return None
        if (packet.src, packet.dst) != (self.dst, self.source):
            return None
        if (packet.sport.single, packet.dport.single) != (self.port, self.sport):
            return None
        return Whose(0, "reply", tunnelled=False, packet=packet)

    def _answered(self, found: Whose) -> None:
        """Say what a client's socket would have made of it."""
        packet = found.packet
        if found.kind == "reply" and not (packet.proto == "tcp" and "RST" in packet.tcp_flags):
            self.finish(Outcome.CONNECTED)
            return
        outcome, name = of_answer(self.proto, packet)
        if outcome is Outcome.TIMEOUT:
            return  # an error that a socket does not end for
        self.finish(outcome, error=OSError(getattr(errno, name), name) if name else None)

    def late(self) -> None:
        """Send it again, or give up."""
        if self.due >= self._end:
            super().late()
            return
        self.due = self._end
        self._send()

    def _bound(self) -> tuple[str | None, int | None]:
        return self.source, self.sport

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Watch all sockets as one."""
        wanted = self.events if self.attempt is None else 0
        if wanted and not self.watched:
            selector.register(self._poll, wanted, self)
        elif self.watched and not wanted:
            selector.unregister(self._poll)
        self.watched = wanted
        if self.attempt is not None:
            self.close()

    def close(self) -> None:
        """Close all sockets; again is no error."""
        for sock in (*getattr(self, "_ears", {}).values(), getattr(self, "_held", None)):
            if sock is not None:
                sock.close()
        with suppress(AttributeError):
            self._poll.close()
        super().close()
