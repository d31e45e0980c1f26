"""
The bytes of a packet, as far as they are certain.

Lives here: IP and transport headers out of the walk's packet, each bit known or not; how long
the packet is.  Sequence numbers, checksums, IP IDs, options and payload are never known.
Not here: programs that read them (bytecode).
"""

from ipaddress import ip_address
from typing import NamedTuple

from nettrace.model.packet import Packet, PortRange
from nettrace.model.protocol import protocol_number
from nettrace.walk.context import Run
from nettrace.walk.namespace import namespace
from nettrace.walk.skb import Skb

__all__ = ["Octets", "Word", "length_of", "octets", "tcp_option", "uses_ecn"]

_MOST = 65535
#: What Linux adds to a SYN's TCP header: MSS, SACK permitted, timestamps, window scale.
_TCP_OPTIONS = ("net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack", "net.ipv4.tcp_window_scaling")

#: Option kinds: maximum segment size, window scale, SACK permitted; of every segment the others.
_OF_SYN = (2, 3, 4)
_MSS, _SACK, _TIMESTAMPS = 2, 5, 8

_FLAG_BITS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}


class Word(NamedTuple):
    """A number of which the bits in *known* are known."""

    value: int
    known: int = 0xFFFFFFFF


class Octets(NamedTuple):
    """
    Header bytes with a mask of known bits for each.

    The packet is at least *least* and at most *most* bytes long; what follows the header
    is not known.
    """

    values: bytes
    known: bytes
    least: int
    most: int

    def word(self, at: int, size: int) -> Word | None:
        """Return *size* bytes at *at* in network order, None if the packet ends before; unsure: known 0."""
        if at + size > self.most:
            return None
        if at + size > self.least or at + size > len(self.values):
            part = self.values[at : at + size], self.known[at : at + size]
            if at + size > self.least:
                return Word(0, 0)
            missing = bytes(size - len(part[0]))
            return Word(int.from_bytes(part[0] + missing), int.from_bytes(part[1] + missing))
        return Word(int.from_bytes(self.values[at : at + size]), int.from_bytes(self.known[at : at + size]))


def length_of(run: Run, skb: Skb) -> tuple[int, int]:
    """
    Return the least and the largest length that the IP packet may have.

    How much a UDP program answers is its own affair, a full-size TCP segment may be several
    that travel as one (GSO), and TCP's options depend on three sysctls.
    """
    packet = skb.packet
    header = 40 if packet.family == 6 else 20
    if packet.proto == "udp" and run.leg == "reply":
        return header + 8, _MOST
    if packet.proto == "tcp" and "RST" not in packet.tcp_flags:
        if run.leg in ("data", "reply-data"):
            return header + 20, _MOST
        if not _usual_options(run) or ("stripped" in run.remembered and packet.tcp_flags != {"SYN"}):
            return header + 20, header + 60
    return packet.size, packet.size


def _usual_options(run: Run) -> bool:
    """Does the client's TCP use the options that the walk's packet sizes stand for?"""
    origin = run.flow.origin
    if origin.device is not None:
        return False
    ns = namespace(run, origin.netns)
    return all(ns.sysctl(name) == "1" for name in _TCP_OPTIONS)


def tcp_option(run: Run, skb: Skb, kind: int) -> bool | None:
    """Does the TCP header have an option?  None: it may; those of a client of the snapshot are known."""
    flags = skb.packet.tcp_flags
    if kind in skb.stripped:
        return False
    if kind == _MSS and skb.mss is not None and "SYN" not in flags:
        return True  # a rule has put it in
    if "RST" in flags:
        return False
    if "SYN" not in flags and kind in _OF_SYN:
        return False
    if not _usual_options(run) or ("stripped" in run.remembered and flags != {"SYN"}):
        return None  # what a SYN did not offer is not answered
    if "SYN" in flags:
        return kind in (*_OF_SYN, _TIMESTAMPS)
    return None if kind == _SACK else kind == _TIMESTAMPS


def uses_ecn(run: Run) -> bool | None:
    """May the connection carry bits of ECN?  Not where the client does not ask for it; None: unknown."""
    origin = run.flow.origin
    if origin.device is not None:
        return None
    return False if namespace(run, origin.netns).sysctl("net.ipv4.tcp_ecn") in ("0", "2") else None


class _Build:
    def __init__(self) -> None:
        self.values = bytearray()
        self.known = bytearray()

    def add(self, value: int, size: int = 1, known: int | None = None) -> None:
        """Append a number; without *known* all its bits are."""
        self.values += value.to_bytes(size)
        self.known += ((1 << 8 * size) - 1 if known is None else known).to_bytes(size)

    def port(self, port: PortRange | None) -> None:
        """Append a port, unknown where the kernel may choose it."""
        single = None if port is None else port.single
        self.add(single or 0, 2, None if single is not None else 0)


def octets(run: Run, skb: Skb) -> Octets:
    """Return the certain bytes of *skb*'s packet, from its IP header on."""
    packet = skb.packet
    least, most = length_of(run, skb)
    build = _Build()
    if packet.family == 6:
        _ipv6(build, packet, least, most)
    else:
        _ipv4(build, packet, least, most)
    _transport(build, packet, least, most)
    return Octets(bytes(build.values), bytes(build.known), least, most)


def _ipv4(build: _Build, packet: Packet, least: int, most: int) -> None:
    build.add(0x45)
    build.add(packet.tos)
    build.add(least, 2, None if least == most else 0)
    build.add(0, 2, 0)
    build.add(0x4000 if packet.df else 0, 2)
    build.add(packet.ttl)
    build.add(protocol_number(packet.proto))
    build.add(0, 2, 0)
    for address in (packet.src, packet.dst):
        build.add(int(ip_address(address)), 4)


def _ipv6(build: _Build, packet: Packet, least: int, most: int) -> None:
    build.add(6 << 28 | packet.tos << 20, 4, 0xFFF00000)
    build.add(least - 40, 2, None if least == most else 0)
    build.add(protocol_number(packet.proto))
    build.add(packet.ttl)
    for address in (packet.src, packet.dst):
        build.add(int(ip_address(address)), 16)


def _transport(build: _Build, packet: Packet, least: int, most: int) -> None:
    if packet.proto in ("icmp", "icmpv6"):
        build.add(packet.icmp_type or 0)
        build.add(packet.icmp_code or 0)
        build.add(0, 2, 0)
        known = packet.icmp_id is not None and packet.icmp_id >= 0  # NAT draws one that is below
        build.add(packet.icmp_id or 0 if known else 0, 2, None if known else 0)
        return
    if packet.sport is None and packet.dport is None:
        return
    build.port(packet.sport)
    build.port(packet.dport)
    if packet.proto == "tcp":
        build.add(0, 8, 0)
        build.add(0, 1, 0x0E)  # the data offset depends on options, the last bit on ECN
        build.add(sum(_FLAG_BITS[name] for name in packet.tcp_flags), 1, 0x3F)
    elif packet.proto == "udp":
        header = 40 if packet.family == 6 else 20
        build.add(least - header, 2, None if least == most else 0)
