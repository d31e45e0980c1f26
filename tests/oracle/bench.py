"""
The networks of the oracle, and one exchange at a time in them.

Lives here: a topology whose listeners are served by the caller itself, so that an exchange is over as
soon as nobody has anything to do; clients; putting the state back.
Not here: what was seen meanwhile (witness), which state and which packets (generate).
A packet crosses veth pairs in the context of whoever sends it, so nothing has to be waited for.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from nettrace.collect.discover import Handle
from nettrace.collect.netns import Worker
from nettrace.collect.wire import NETLINK_NETFILTER
from nettrace.model.walk import Outcome
from nettrace.observe.attempt import outcome_of
from tests.kernel.bed import Bed, Space
from tests.kernel.walkbed import Net
from tests.oracle.case import Probe

__all__ = ["OracleNet", "Seen"]

_CT_DELETE = 1 << 8 | 2  # IPCTNL_MSG_CT_DELETE without a tuple: all of them
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_IP_TTL, _IP_TOS, _IP_MTU_DISCOVER = 2, 1, 10
_PMTUDISC_DONT, _PMTUDISC_DO = 0, 2
_SO_MARK = 36
#: struct icmp6_filter: a bit that is set keeps a type out.
_ICMP6_FILTER = 1
_ECHO_REPLIES = struct.pack(
    "=8I", *(0xFFFFFFFF & ~(1 << 129 % 32 if word == 129 // 32 else 0) for word in range(8))
)
_TCP_MAXSEG = 2
#: Rounds without anything to do after which an exchange is over, and seconds between late ones.
_IDLE = 2
_NAP = 0.001


#: Bytes of a UDP answer: the packet has the 60 that the walk takes an answer for.
_ANSWER = 32

#: Datagrams that are answered in one exchange: one that comes from where its answer goes to (its
#: own address and port, or a peer that NAT makes of them) would be answered for ever.
_ANSWERS = 64

_FLUSH = Path("/proc/sys/net/ipv4/route/flush")


class Seen(NamedTuple):
    """What the client saw; ``talked``: it sent more than the handshake."""

    outcome: Outcome
    errno: str | None
    source: str
    sport: int | None
    talked: bool = False


class OracleNet(Net):
    """A topology of tests.kernel.walkbed, served from the caller's own thread."""

    def __init__(self, bed: Bed) -> None:
        # without the thread of the base class: what happens late could not be told apart
        self.bed = bed
        self.spaces: dict[str, Space] = {}
        self.roles: dict[str, tuple[str, str]] = {}
        self.sockets: list[socket.socket] = []
        self.accepted: list[socket.socket] = []
        self._answers = 0
        #: What a datagram is answered with; who knows a probe by its payload wants another one.
        self.answer: Callable[[bytes], bytes] = lambda data: data[:_ANSWER]
        self._answered: set[socket.socket] = set()
        self.workers: dict[str, Worker] = {}
        self._flushers: dict[str, socket.socket] = {}
        self._packets: dict[str, socket.socket] = {}
        self._macs: dict[tuple[str, str], str] = {}
        self._finish: socket.socket | None = None

    def worker(self, label: str) -> Worker:
        """A thread inside a namespace."""
        found = self.workers.get(label)
        if found is None:
            found = self.workers[label] = Worker(self[label].path)
        return found

    def handles(self) -> list[Handle]:
        """What nettrace.collect.reader reads the namespaces by."""
        return [
            Handle(
                name=label,
                path=space.path,
                inode=space.inode,
                netns=space.name,
                node=self.roles[label][0],
                role=self.roles[label][1],
            )
            for label, space in self.spaces.items()
        ]

    def listen(
        self, label: str, port: int, proto: str = "tcp", address: str = "", *, both: bool = False
    ) -> None:
        """
        Listen at IPv4, or with "::" at IPv6 alone; serve() answers.

        At UDP each address has a socket: which source a program with one for all would answer from is
        its own affair.
        """
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        addresses = [address]
        six = ":" in address
        if proto == "udp" and address in ("", "::"):
            told = self[label].ip(f"-o -{6 if six else 4} addr").splitlines()
            addresses = [line.split()[3].partition("/")[0] for line in told if "scope link" not in line]

        def opened(address: str) -> socket.socket:
            found = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if six:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind((address, port))
            if proto == "tcp":
                found.listen(64)
            found.setblocking(False)
            return found

        self.sockets += [self.worker(label).run(opened, one) for one in addresses]

    def serve(self) -> bool:
        """Take calls and answer datagrams; was there anything to do?"""
        busy = False
        waiting = [one for one in self.accepted if one not in self._answered]
        readable, _, _ = select.select([*self.sockets, *waiting], (), (), 0)
        for found in readable:
            try:
                if found in waiting:
                    self._answered.add(found)
                    if found.recv(65536):
                        _send_full_size(found)
                elif found.type == socket.SOCK_STREAM:
                    self.accepted.append(found.accept()[0])
                    self.accepted[-1].setblocking(False)
                else:
                    data, peer = found.recvfrom(65536)
                    if self._answers < _ANSWERS:
                        self._answers += 1
                        found.sendto(self.answer(data), peer)
            except OSError:
                pass
            busy = True
        return busy

    def hang_up(self) -> None:
        """End the connections that were taken, without the packets of a proper end."""
        for connection in self.accepted:
            _abort(connection)
        self.accepted.clear()
        self._answered.clear()
        self._answers = 0

    def settle(self, turn: Callable[[], bool], *, wanted: Callable[[], bool], patience: float) -> None:
        """Serve, and let *turn* act, until nothing happens any more; *wanted* is waited for a little."""
        idle, until = 0, time.monotonic() + patience
        while True:
            busy = self.serve()
            busy = turn() or busy
            idle = 0 if busy else idle + 1
            if idle >= _IDLE and (wanted() or time.monotonic() >= until):
                return
            if idle >= _IDLE:
                time.sleep(_NAP)

    def close(self) -> None:
        """Close everything."""
        self.hang_up()
        for found in (*self.sockets, *self._flushers.values(), *self._packets.values()):
            found.close()
        for worker in self.workers.values():
            worker.close()

    # --- state ---------------------------------------------------------------------------

    def forget_connections(self) -> None:
        """Empty the connection tables of all namespaces."""
        for label in self.spaces:
            flusher = self._flushers.get(label)
            if flusher is None:
                flusher = self._flushers[label] = self.worker(label).run(_netfilter_socket)
            flusher.send(struct.pack("=IHHIIBBH", 20, _CT_DELETE, 5, 1, 0, 0, 0, 0))
            flusher.recv(4096)

    def sysctl(self, label: str, name: str, value: str | None = None) -> str:
        """Set a sysctl, or only read it; return what it was."""

        def turn() -> str:
            path = Path("/proc/sys", *(part.replace("/", ".") for part in name.split(".")))
            old = path.read_text().strip()
            if value is not None:
                path.write_text(value)
            return old

        return self.worker(label).run(turn)

    def forget_exceptions(self) -> None:
        """Forget what ICMP errors taught the routes (rt_cache_flush)."""
        for label in self.spaces:
            self.worker(label).run(_FLUSH.write_text, "0")

    def commands(self, label: str, lines: Iterable[str], *, check: bool = True) -> None:
        """Run lines of shell in a namespace, all in one go."""
        text = "\n".join(lines)
        if text:
            self[label].run("sh", "-e" if check else "+e", stdin=text + "\n", check=check)

    def remember(self, probe: Probe) -> None:
        """Make the entries of *probe* that are there before it comes."""
        for label, words in probe.stale:
            self.commands(label, [f"conntrack -I {words.format(sport=probe.sport)}"])

    # --- one exchange ----------------------------------------------------------------------

    def exchange(self, probe: Probe, *, patience: float, wanted: Outcome | None) -> Seen:
        """Send a probe from a socket and see what comes of it, waiting at most for *wanted*."""
        client = self.worker(probe.source).run(_open, probe)
        state = _State()
        try:
            source, sport = client.getsockname()[:2] if not probe.proto.startswith("icmp") else ("", None)
            _first(client, probe, state)
            self.settle(
                lambda: _turn(client, probe, state),
                wanted=lambda: state.done is not None or wanted in (Outcome.TIMEOUT, Outcome.STALLS),
                patience=patience,
            )
            if not probe.proto.startswith("icmp") and not sport:
                source, sport = client.getsockname()[:2]
        finally:
            self._finish = client
        outcome, error = state.done or (Outcome.STALLS if state.talking else Outcome.TIMEOUT, None)
        return Seen(outcome, error, source, sport, state.talking)

    def arrive(self, probe: Probe, peer: str, far: str, *, patience: float) -> None:
        """Send a frame to *probe*'s device from the other end, and serve until nothing happens."""
        sender = self._packets.get(peer)
        if sender is None:
            sender = self._packets[peer] = self.worker(peer).run(
                socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0
            )
        sender.sendto(
            _frame(probe, self._mac(probe.source, probe.device or ""), self._mac(peer, far)), (far, 0)
        )
        self.settle(lambda: False, wanted=lambda: not patience, patience=patience)

    def _mac(self, label: str, device: str) -> str:
        found = self._macs.get((label, device))
        if found is None:
            found = self._macs[label, device] = self.mac(label, device)
        return found

    def finish(self) -> None:
        """Close the client of the last exchange and what it was connected to."""
        if self._finish is not None:
            _abort(self._finish)
            self._finish = None
        self.hang_up()


class _State:
    def __init__(self) -> None:
        self.done: tuple[Outcome, str | None] | None = None
        self.talking = False
        self.heard = b""


def _netfilter_socket() -> socket.socket:
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    found.bind((0, 0))
    return found


def _abort(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "icmp": (socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "icmpv6": (socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
}


def _open(probe: Probe) -> socket.socket:
    """Open the client's socket in the calling thread's namespace."""
    kind, protocol = _KINDS[probe.proto]
    six = ":" in probe.dst
    found = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind | socket.SOCK_NONBLOCK, protocol)
    (_ask6 if six else _ask4)(found, probe)
    if probe.mark:
        found.setsockopt(socket.SOL_SOCKET, _SO_MARK, probe.mark)
    if probe.proto.startswith("icmp"):
        if probe.src:
            found.bind((probe.src, 0))
    else:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((probe.src or ("::" if six else "0.0.0.0"), probe.sport or 0))
    return found


def _ask4(found: socket.socket, probe: Probe) -> None:
    ip = socket.IPPROTO_IP
    if probe.proto != "tcp":
        found.setsockopt(ip, _IP_RECVERR, 1)
    found.setsockopt(ip, _IP_TTL, probe.ttl)
    if probe.tos:
        found.setsockopt(ip, _IP_TOS, probe.tos)
    if probe.proto != "tcp":
        found.setsockopt(ip, _IP_MTU_DISCOVER, _PMTUDISC_DO if probe.df else _PMTUDISC_DONT)


def _ask6(found: socket.socket, probe: Probe) -> None:
    """Fragments are made by who sends or by nobody: ``df`` is the socket's own wish."""
    ip = socket.IPPROTO_IPV6
    found.setsockopt(ip, socket.IPV6_UNICAST_HOPS, probe.ttl)
    if probe.tos:
        found.setsockopt(ip, socket.IPV6_TCLASS, probe.tos)
    if probe.proto != "tcp":
        found.setsockopt(ip, _IPV6_RECVERR, 1)
        found.setsockopt(ip, socket.IPV6_DONTFRAG, int(probe.df))
    if probe.proto == "icmpv6":  # answers to echoes alone
        found.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _ECHO_REPLIES)


def _first(client: socket.socket, probe: Probe, state: _State) -> None:
    """Send the first packet; an error of the call itself is the outcome."""
    try:
        client.connect((probe.dst, probe.dport or 0))
        if probe.proto == "udp":
            client.send(probe.payload)
        elif probe.proto != "tcp":
            client.send(_echo(probe))
    except BlockingIOError:
        pass
    except OSError as error:
        # ENOBUFS, of what the device refuses, is told to who asked for IP_RECVERR alone, and only where the
        # neighbour was known at once (net_xmit_errno)
        if error.errno not in (errno.EINPROGRESS, errno.ENOBUFS):
            _failed(state, error)


def _turn(client: socket.socket, probe: Probe, state: _State) -> bool:
    """Take what came; was there anything?"""
    if state.done is not None:
        return False
    events = select.POLLOUT if probe.proto == "tcp" and not state.talking else select.POLLIN
    poll = select.poll()
    poll.register(client, events)
    found = poll.poll(0)
    if not found and (probe.proto != "tcp" or state.talking):
        return False
    if probe.proto.startswith("icmp"):
        return _echoed(client, probe, state)
    # An error that comes while connect() holds the socket is only noted (sk_err_soft), and reported when
    # the SYN that is sent a second later has the same fate; whoever asks is told of it before.
    error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        _failed(state, OSError(error, os.strerror(error)))
        return True
    if not found:
        return False
    if probe.proto == "tcp":
        if probe.talk:
            _talk(client, state)
        else:
            state.done = (Outcome.CONNECTED, None)
        return True
    try:
        client.recv(65536)
    except BlockingIOError:
        return _errors(client, probe, state)
    except OSError as failure:
        _failed(state, failure)
        return True
    state.done = (Outcome.CONNECTED, None)
    return True


def _echoed(client: socket.socket, probe: Probe, state: _State) -> bool:
    """
    Take an answer to an echo, or an error about it.

    Raw sockets hear everybody's, errors by the address alone (raw_icmp_error): those that quote another
    identifier are passed over, as ping(8) does, and so is what SO_ERROR says of them.
    """
    if _errors(client, probe, state):
        return True
    client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    try:
        data = client.recv(65536)
    except OSError:
        return True  # an error that came just now: the queue has it
    message, kind = (data, 129) if probe.proto == "icmpv6" else (data[20:], 0)
    number = probe.icmp_id.to_bytes(2, "big")
    if (message[0], message[4:6], message[8:16]) == (kind, number, probe.payload[:8]):
        state.done = (Outcome.CONNECTED, None)
    return True


def _talk(client: socket.socket, state: _State) -> None:
    """Send one full-size segment, then take what comes until it is as much as was promised."""
    try:
        if not state.talking:
            state.talking = True
            _send_full_size(client)
            return
        data = client.recv(65536)
    except OSError as error:
        _failed(state, error)
        return
    state.heard += data
    if not data:
        state.done = (Outcome.RESET, None)
    elif len(state.heard) >= int.from_bytes(state.heard[:4], "big"):
        state.done = (Outcome.CONNECTED, None)


def _send_full_size(connection: socket.socket) -> None:
    """Send as much as fits into one segment; it begins with its length."""
    size = connection.getsockopt(socket.IPPROTO_TCP, _TCP_MAXSEG)
    connection.send(size.to_bytes(4, "big").ljust(size, b"\0"))


def _errors(client: socket.socket, probe: Probe, state: _State) -> bool:
    try:
        quoted, ancillary, _, _ = client.recvmsg(2048, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:
        return False
    number = probe.icmp_id.to_bytes(2, "big")
    if probe.proto.startswith("icmp") and len(quoted) >= 6 and quoted[4:6] != number:
        return True
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
            code = struct.unpack_from("=I", data)[0]
            _failed(state, OSError(code, os.strerror(code)))
    return True


def _failed(state: _State, error: OSError) -> None:
    state.done = (outcome_of(error), errno.errorcode.get(error.errno or 0))


def _echo(probe: Probe) -> bytes:
    if probe.proto == "icmpv6":  # the kernel does the sum
        return struct.pack(">BBHHH", 128, 0, 0, probe.icmp_id, 1) + probe.payload
    head = struct.pack(">BBHHH", 8, 0, 0, probe.icmp_id, 1)
    data = head + probe.payload
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:2] + struct.pack(">H", ~total & 0xFFFF) + data[4:]


def _frame(probe: Probe, to: str, by: str) -> bytes:
    """The bytes of a frame that nobody's stack has made."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
    from scapy.layers.l2 import Ether

    header: Any = IP(
        src=probe.src,
        dst=probe.dst,
        ttl=probe.ttl,
        tos=probe.tos,
        flags="DF" if probe.df else 0,
        id=probe.icmp_id or 1,
    )
    if ":" in probe.dst:
        header = IPv6(src=probe.src, dst=probe.dst, hlim=probe.ttl, tc=probe.tos)
    inner: Any
    if probe.proto == "tcp":
        inner = TCP(
            sport=probe.sport,
            dport=probe.dport,
            flags="".join(flag[0] for flag in probe.flags),
            seq=1000,
            ack=2000 if "ACK" in probe.flags else 0,
            options=[("MSS", 1460)] if "SYN" in probe.flags else [],
        )
    elif probe.proto == "udp":
        inner = UDP(sport=probe.sport, dport=probe.dport) / probe.payload
    elif probe.proto == "icmpv6":
        inner = ICMPv6EchoRequest(id=probe.icmp_id, data=probe.payload)
    else:
        inner = ICMP(type=8, id=probe.icmp_id) / probe.payload
    return bytes(Ether(src=by, dst=to) / header / inner)
