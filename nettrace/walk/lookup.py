"""
Which socket of a namespace is a packet for?

Lives here: the kernel's lookup of TCP, UDP and raw sockets.
Not here: what happens then (deliver).
Sources: net/ipv4/inet_hashtables.c (__inet_lookup), net/ipv4/udp.c (__udp4_lib_lookup), net/ipv4/raw.c
(raw_v4_match), and their likes in net/ipv6.
"""

from collections.abc import Sequence

from nettrace.model.packet import Packet
from nettrace.model.sockets import Socket

__all__ = ["WILDCARDS", "at_port", "busy", "raw_takers", "takers"]

#: Addresses of sockets that are bound to none.
WILDCARDS = ("0.0.0.0", "*", "::")

#: TCP states in which a SYN with the same ports does not begin anything new.  In ``time_wait`` it does.
_BUSY = frozenset({"established", "fin_wait1", "fin_wait2", "close_wait", "last_ack", "closing"})


def takers(sockets: Sequence[Socket], packet: Packet, device: str) -> list[Socket]:
    """
    Return who may get a packet that came in by *device*: the sockets of the best score.

    An address of its own is looked for before a wildcard.  Several that are left share a
    port (SO_REUSEPORT): the kernel picks one by a hash of the packet.  A port that the kernel
    is still to choose fits everybody in its range.
    """
    fitting = [one for one in sockets if at_port(one, packet) and _hears(one, packet, device)]
    exact = [one for one in fitting if one.address not in WILDCARDS]
    found = exact or fitting
    best = max((_score(one, packet) for one in found), default=0)
    return [one for one in found if _score(one, packet) == best]


def at_port(one: Socket, packet: Packet) -> bool:
    """Is this a socket for new calls, or a connected UDP one, at the packet's port?"""
    if one.proto != packet.proto or packet.dport is None:
        return False
    waiting = one.state == ("listen" if packet.proto == "tcp" else "unconn")
    connected = packet.proto == "udp" and one.remote is not None
    return (waiting or connected) and packet.dport.lo <= one.port <= packet.dport.hi


def _hears(one: Socket, packet: Packet, device: str) -> bool:
    """Do address, device and peer fit?  A connected UDP socket hears nobody but its peer."""
    if one.device is not None and one.device != device:
        return False
    if not _at_address(one, packet):
        return False
    if one.remote is None:
        return True
    return one.remote == packet.src and packet.sport is not None and packet.sport.single == one.remote_port


def _at_address(one: Socket, packet: Packet) -> bool:
    if one.address == "::":
        return packet.family == 6 or not one.v6only
    if one.address in WILDCARDS:
        return packet.family == 4
    return one.address in (packet.dst, f"::ffff:{packet.dst}")


def _score(one: Socket, packet: Packet) -> int:
    """compute_score: peer and port, device, and an IPv4 socket before one of both families."""
    own_family = packet.family == 6 or ":" not in one.address
    if packet.proto == "tcp":
        return (2 if one.device is not None else 1) + own_family
    return 8 * (one.remote is not None) + 4 * (one.device is not None) + 1 + own_family


def busy(sockets: Sequence[Socket], packet: Packet) -> Socket | None:
    """Return the TCP socket that has exactly this packet's addresses and ports already."""
    if packet.proto != "tcp" or packet.sport is None or packet.dport is None:
        return None
    wanted = (packet.dst, packet.dport.single, packet.src, packet.sport.single)
    if None in wanted:
        return None
    return next(
        (
            one
            for one in sockets
            if one.proto == "tcp"
            and one.state in _BUSY
            and (one.address, one.port, one.remote, one.remote_port) == wanted
        ),
        None,
    )


def raw_takers(sockets: Sequence[Socket], packet: Packet, number: int, device: str) -> list[Socket]:
    """Return the raw sockets that get a copy of a packet of IP protocol *number*, which is their port."""
    return [
        one
        for one in sockets
        if one.proto == "raw"
        and one.port == number
        and (one.device is None or one.device == device)
        and (":" in one.address) == (packet.family == 6)
        and (one.address in WILDCARDS or one.address == packet.dst)
    ]
