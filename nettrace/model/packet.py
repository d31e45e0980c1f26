"""
One packet, as the hooks of the kernel see it.

Lives here: header fields, the skb's mark, symbolic port ranges, tunnels by nesting.
Not here: where it is (step), why it exists (flow).
"""

from msgspec import Struct

from nettrace.model.addr import family_of

__all__ = ["EPHEMERAL", "Packet", "PortRange", "TcpFlags", "port_text"]


class PortRange(Struct, frozen=True, order=True):
    """Ports *lo* to *hi*, both included.  A range of more than one is a choice the kernel has."""

    lo: int
    hi: int

    @property
    def single(self) -> int | None:
        """The port, if there is only one."""
        return self.lo if self.lo == self.hi else None

    def inside(self, other: "PortRange") -> bool:
        """Is every port of this range in *other*?"""
        return other.lo <= self.lo and self.hi <= other.hi

    def disjoint(self, other: "PortRange") -> bool:
        """Is no port of this range in *other*?"""
        return self.hi < other.lo or other.hi < self.lo

    def __str__(self) -> str:
        return str(self.lo) if self.lo == self.hi else f"{self.lo}-{self.hi}"


#: What ``net.ipv4.ip_local_port_range`` is by default (Documentation/networking/ip-sysctl.rst).
EPHEMERAL = PortRange(32768, 60999)

TcpFlags = frozenset[str]


def port_text(port: PortRange | None) -> str:
    """``*`` for a port that the kernel chooses, the number otherwise, "" for none."""
    if port is None:
        return ""
    return str(port) if port.single is not None else "*"


class Packet(Struct, frozen=True, kw_only=True):
    """
    An IP packet.  Addresses are canonical text (nettrace.model.addr).

    ``proto`` is ``tcp``, ``udp``, ``icmp``, ``icmpv6``, ``sctp`` or the number as text.
    ``sport`` and ``dport`` are None for protocols without ports.  ``size`` is the length of
    the IP packet in bytes, ``df`` the don't-fragment bit.  ``mark`` is the skb's mark.
    ``inner`` is the packet that this one carries: the tunnelled one for VXLAN and IPIP, the
    offending one for an ICMP error.  ``answers`` tells what a connection-less walk calls the
    packet: ``""`` for a request, ``"rst"``, ``"error"`` ... are said by flags and icmp fields.
    """

    src: str
    dst: str
    proto: str
    sport: PortRange | None = None
    dport: PortRange | None = None
    tcp_flags: TcpFlags = frozenset()  # of SYN ACK RST FIN PSH URG
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    size: int = 60
    ttl: int = 64
    tos: int = 0
    df: bool = True
    mark: int = 0
    inner: "Packet | None" = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return family_of(self.dst)

    @property
    def is_icmp_error(self) -> bool:
        """Destination unreachable, time exceeded, parameter problem (RFC 792, RFC 4443)."""
        if self.proto == "icmp":
            return self.icmp_type in (3, 4, 5, 11, 12)
        return self.proto == "icmpv6" and self.icmp_type is not None and self.icmp_type < 128

    def ends(self) -> str:
        """``10.0.0.1:* -> 10.96.0.10:53``."""

        def end(address: str, port: PortRange | None) -> str:
            shown = f"[{address}]" if ":" in address and port is not None else address
            return f"{shown}:{port_text(port)}" if port is not None else shown

        return f"{end(self.src, self.sport)} -> {end(self.dst, self.dport)}"
