"""
Real connections from inside a namespace, and what the client saw of them.

Lives here: several attempts at once, each with a socket of its own, and what their errors mean.
Not here: how each protocol is spoken (tcp, udp, echo, crafted), what was predicted (nettrace.align).
"""

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from nettrace.collect.netns import in_netns
from nettrace.model.addr import family_of
from nettrace.model.errors import UserError
from nettrace.model.observation import Attempt, Observed
from nettrace.observe.attempt import Try
from nettrace.observe.echo import EchoTry
from nettrace.observe.shape import PLAIN, SOCKET_SYN, Shape
from nettrace.observe.tcp import TcpTry
from nettrace.observe.udp import UdpTry

__all__ = ["connect", "is_crafted"]

#: Seconds.  A neighbour that does not answer is given up after three ARP requests, one a second
#: (net.ipv4.neigh.default.mcast_solicit), and the client has EHOSTUNREACH after 3.1 s.
PATIENCE = 4.0

#: Attempts on their way at the same time.
_AT_ONCE = 32

_PROTOCOLS: dict[str, Callable[..., Try]] = {
    "tcp": TcpTry,
    "udp": UdpTry,
    "icmp": EchoTry,
    "icmpv6": EchoTry,
}


def connect(
    path: str,
    source: str | None,
    dst: str,
    port: int | None,
    proto: str,
    *,
    timeout: float = PATIENCE,
    count: int = 1,
    sport: int | None = None,
    tags: Sequence[bytes] = (),
    shape: Shape = PLAIN,
) -> Observed:
    """
    Make *count* real connections from the namespace at *path* to *dst*.

    A TCP attempt connects and takes down what the far end says first; a UDP attempt sends a
    datagram and waits for one back; ``icmp`` is an echo request.  *source* and *sport* are
    what the sockets are bound to; without *sport* the kernel chooses a fresh port for each, and
    with it the attempts count up from there.  *timeout* is what one attempt may take, in
    seconds.  *tags*, one an attempt, are what its packets are to be recognised by; *shape* is
    what the first of them is to look like.

    UserError if the namespace cannot be entered, the source address is not there, the port is
    taken, or *proto* cannot be probed.
    """
    make = _crafted(proto) if is_crafted(proto, shape, dst) else _PROTOCOLS.get(proto)
    if make is None:
        raise UserError(
            f"{proto} cannot be probed",
            where=dst,
            hint="tcp, udp, sctp and icmp can; `trace` without --probe walks it",
        )
    if port is None and proto in ("tcp", "udp", "sctp"):
        raise UserError(f"a {proto} probe needs a port", where=dst, hint=f"{dst}:PORT/{proto}")
    family = socket.AF_INET6 if family_of(dst) == 6 else socket.AF_INET
    tries = [
        make(
            family=family,
            source=source,
            sport=sport + number if sport is not None else None,
            dst=dst,
            port=port,
            timeout=timeout,
            tag=tags[number] if tags else None,
            shape=shape,
        )
        for number in range(count)
    ]
    return Observed(attempts=in_netns(path, _run, tries))


def is_crafted(proto: str, shape: Shape, dst: str) -> bool:
    """Is the packet made byte by byte?  Where that was asked for, or no socket sends one like it."""
    if shape.crafted or shape.arrival is not None or proto == "sctp":
        return proto in (*_PROTOCOLS, "sctp")
    usual = SOCKET_SYN[family_of(dst)]
    return proto == "tcp" and shape.size not in (None, usual)


def _crafted(proto: str) -> Callable[..., Try]:
    from nettrace.observe.crafted import CraftedTry  # noqa: PLC0415  (rarely needed)

    def make(**options: Any) -> Try:
        made = CraftedTry(**options)
        made.proto = proto
        return made

    return make


def _run(tries: list[Try]) -> tuple[Attempt, ...]:
    """Run all tries in the calling thread's namespace; their sockets are closed whatever happens."""
    waiting = list(reversed(tries))
    running: set[Try] = set()
    try:
        with selectors.DefaultSelector() as selector:
            while waiting or running:
                while waiting and len(running) < _AT_ONCE:
                    started = waiting.pop()
                    running.add(started)
                    _step(started, started.start)
                    started.watch(selector)
                now = time.monotonic()
                nearest = min((one.due for one in running if one.attempt is None), default=now)
                for key, _ in selector.select(max(0.0, nearest - now)):
                    _step(key.data, key.data.ready)
                for one in tuple(running):
                    if one.attempt is None and one.due <= time.monotonic():
                        _step(one, one.late)
                    one.watch(selector)
                    if one.attempt is not None:
                        running.discard(one)
    finally:
        for one in tries:
            one.close()
    return tuple(one.attempt for one in tries if one.attempt is not None)


def _step(one: Try, act: Callable[[], None]) -> None:
    """Let a try act; an error of its socket is its outcome."""
    try:
        act()
    except OSError as error:
        one.fail(error)
