"""
Sockets and connection-tracking entries: who listens, and what the kernel remembers.

Lives here: what ``ss -ltunp`` and ``conntrack -L`` print, typed.
"""

from msgspec import Struct

__all__ = ["ConntrackEntry", "Socket", "Tuple"]


class Socket(Struct, frozen=True, kw_only=True):
    """
    One TCP, UDP or raw socket.  The ``port`` of a raw one is the number of its IP protocol.

    ``state`` is ``listen``, ``established``, ``unconn`` (UDP) or the kernel's other TCP
    states in lower case.  ``address`` is ``0.0.0.0`` or ``::`` for a wildcard bind.
    """

    proto: str
    address: str
    port: int
    state: str
    remote: str | None = None
    remote_port: int | None = None
    device: str | None = None
    v6only: bool = False
    process: str | None = None
    pid: int | None = None


class Tuple(Struct, frozen=True, kw_only=True):
    """One direction of a connection, as conntrack keys it."""

    src: str
    dst: str
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None


class ConntrackEntry(Struct, frozen=True, kw_only=True):
    """
    One entry of the conntrack table.

    ``original`` and ``reply`` differ from mirror images by the NAT in force.  ``status``
    holds names of include/uapi/linux/netfilter/nf_conntrack_common.h in lower case
    (``seen_reply``, ``assured``, ``confirmed``, ``src_nat``, ``dst_nat`` ...).
    """

    proto: str
    original: Tuple
    reply: Tuple
    state: str | None = None
    status: frozenset[str] = frozenset()
    mark: int = 0
    zone: int = 0
    zone_side: str | None = None  # ``original`` or ``reply``: the zone holds for one direction
    timeout: int | None = None
