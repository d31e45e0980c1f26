"""
What the probe's packets look like beyond addresses and ports.

Lives here: mark, TTL, TOS, size and DF, and giving them to a socket.
Not here: packets of which a socket cannot be told (craft).
"""

import socket
from typing import NamedTuple

__all__ = ["PLAIN", "SOCKET_SYN", "Arrival", "Shape", "set_options"]

#: Bytes of the SYN that a socket sends: options for MSS, SACK, time stamps and scaling.
SOCKET_SYN = {4: 60, 6: 80}

_SO_MARK = 36  # include/uapi/asm-generic/socket.h
# include/uapi/linux/in.h, in6.h
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_DONT, _DO = 0, 2


class Arrival(NamedTuple):
    """
    A frame that arrives at a device, sent by its other end.

    ``device`` is the other end's name in the namespace that the probe is sent from, the MAC
    addresses are text.
    """

    device: str
    source_mac: str
    dest_mac: str


class Shape(NamedTuple):
    """
    One packet's looks.

    ``size`` is that of the whole IP packet in bytes, None for the usual one; None for ``ttl``,
    ``tos`` and ``df``: what the kernel gives.  ``crafted``: made byte by byte and sent by a raw
    socket, with ``arrival`` as a frame.
    """

    mark: int = 0
    ttl: int | None = None
    tos: int | None = None
    size: int | None = None
    df: bool | None = None
    crafted: bool = False
    arrival: Arrival | None = None

    def payload(self, version: int, usual: int) -> int:
        """Bytes behind a layer-4 header of 8 bytes; *usual* where no size was chosen."""
        return usual if self.size is None else max(0, self.size - (20 if version == 4 else 40) - 8)


PLAIN = Shape()


def set_options(sock: socket.socket, shape: Shape) -> None:
    """
    Make what *sock* sends look like *shape*; the size is the sender's matter.

    PermissionError for a mark without CAP_NET_ADMIN (socket(7)); ip(7), ipv6(7) for the others.
    """
    is_v6 = sock.family == socket.AF_INET6
    if shape.mark:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, shape.mark)
    if shape.ttl is not None:
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, shape.ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, shape.ttl)
    if shape.tos is not None:
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, shape.tos)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, shape.tos)
    if shape.df is not None:
        how = _DO if shape.df else _DONT
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, how)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, how)
