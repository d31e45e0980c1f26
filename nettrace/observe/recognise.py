"""
Whose packet is this?  Told from the bytes of a whole packet.

Lives here: reading headers, and finding the tag of a probe (nettrace.observe.tag) in a packet, in one
that carries it, and in an ICMP error that quotes it.  Pure.
Not here: the same in rules of nf_tables (arming), decoding for display (dissect).
Sources: RFC 791, 8200, 9293, 792, 4443; RFC 7348 for VXLAN.
"""

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.protocol import protocol_name

__all__ = ["Recogniser", "Whose", "read_headers", "read_packet"]

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_ECHO_REQUEST, _ECHO_REPLY = (8, 128), (0, 129)
_UDP_HEADER, _VXLAN_HEADER, _ETHERNET = 8, 8, 14
_MOST_NESTED = 3
#: SCTP chunks that open an association: RFC 9260 section 3.2.
_INIT, _INIT_ACK, _ABORT = 1, 2, 6


class Whose(NamedTuple):
    """
    One packet of a probe.

    ``kind`` is that of the leg: request, ack, reply, error.  ``packet`` is the outermost one, with
    what it carries as its ``inner``; ``tunnelled`` tells that the probe's packet is inside.
    """

    attempt: int
    kind: str
    tunnelled: bool
    packet: Packet


def read_headers(network: bytes, transport: bytes, mark: int = 0) -> Packet | None:
    """
    Read an IPv4 or IPv6 header and the first 20 bytes of what follows it.

    None for what is neither, or cut short.  Extension headers of IPv6 are not followed.
    """
    if not network:
        return None
    if network[0] >> 4 == 4 and len(network) >= 20:
        size, _, fragment = struct.unpack_from(">HHH", network, 2)
        ends = [socket.inet_ntop(socket.AF_INET, network[at : at + 4]) for at in (12, 16)]
        protocol, ttl, tos, df = network[9], network[8], network[1], bool(fragment & 0x4000)
    elif network[0] >> 4 == 6 and len(network) >= 40:
        size = struct.unpack_from(">H", network, 4)[0] + 40
        ends = [socket.inet_ntop(socket.AF_INET6, network[at : at + 16]) for at in (8, 24)]
        protocol, ttl, df = network[6], network[7], True
        tos = (network[0] & 0xF) << 4 | network[1] >> 4
    else:
        return None
    proto = protocol_name(protocol)
    with_ports = proto in ("tcp", "udp", "sctp") and len(transport) >= 4
    sport, dport = struct.unpack_from(">HH", transport) if with_ports else (None, None)
    is_icmp = proto in ("icmp", "icmpv6") and len(transport) >= 8
    flags = transport[13] if proto == "tcp" and len(transport) >= 14 else 0
    return Packet(
        src=ends[0],
        dst=ends[1],
        proto=proto,
        sport=PortRange(sport, sport) if sport is not None else None,
        dport=PortRange(dport, dport) if dport is not None else None,
        tcp_flags=frozenset(name for bit, name in enumerate(_FLAGS) if flags >> bit & 1),
        icmp_type=transport[0] if is_icmp else None,
        icmp_code=transport[1] if is_icmp else None,
        size=size,
        ttl=ttl,
        tos=tos,
        df=df,
        mark=mark,
    )


def _split(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the network header and what follows it."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        length = (data[0] & 0xF) * 4
        return (data[:length], data[length:]) if 20 <= length <= len(data) else None
    if len(data) >= 40 and data[0] >> 4 == 6:
        return data[:40], data[40:]
    return None


def read_packet(data: bytes, mark: int = 0) -> Packet | None:
    """Read a packet from its network header on; None for what is no IP packet."""
    parts = _split(data)
    return read_headers(parts[0], parts[1][:20], mark) if parts is not None else None


class Recogniser:
    """
    Recognises the packets of several attempts.

    *replies* are the predicted answers of UDP, which carry no tag: those whose addresses and
    certain ports fit are taken for answers of attempt 0.
    """

    def __init__(self, proto: str, tags: Sequence[bytes], replies: Sequence[Packet] = ()) -> None:
        self._proto, self._tags = proto, tuple(tags)
        self._numbers = {tag: number for number, tag in enumerate(self._tags)}
        self._replies = tuple(replies) if proto == "udp" else ()
        self._sequences = (
            {int.from_bytes(tag, "big"): number for number, tag in enumerate(self._tags)}
            if proto in ("tcp", "sctp")
            else {}
        )

    def whose(self, data: bytes, mark: int = 0) -> Whose | None:
        """Tell whose packet this is, from its network header on; None: not of the probe."""
        return self._look(data, mark, 0)

    def _look(self, data: bytes, mark: int, depth: int) -> Whose | None:
        parts = _split(data)
        packet = read_headers(parts[0], parts[1][:20], mark) if parts is not None else None
        if parts is None or packet is None or depth > _MOST_NESTED:
            return None
        behind = parts[1]
        if packet.is_icmp_error:
            return self._error(packet, behind)
        found = self._direct(packet, behind)
        if found is not None:
            return Whose(*found, tunnelled=False, packet=packet)
        for start in _carried(packet, behind):
            inner = self._look(behind[start:], 0, depth + 1)
            if inner is not None:
                return inner._replace(tunnelled=True, packet=replace(packet, inner=inner.packet))
        return None

    def _direct(self, packet: Packet, behind: bytes) -> tuple[int, str] | None:
        is_echo = self._proto in ("icmp", "icmpv6") and packet.proto in ("icmp", "icmpv6")
        if packet.proto != self._proto and not is_echo:
            return None
        if self._proto == "tcp":
            return self._segment(packet, behind)
        if self._proto == "sctp":
            return self._chunk(behind)
        number = self._tagged(behind)
        if is_echo:
            if number is None or packet.icmp_type not in (*_ECHO_REQUEST, *_ECHO_REPLY):
                return None
            return number, "request" if packet.icmp_type in _ECHO_REQUEST else "reply"
        if number is not None and not self._answers(packet):
            return number, "request"
        return (0, "reply") if self._answers(packet) else None

    def _segment(self, packet: Packet, behind: bytes) -> tuple[int, str] | None:
        if len(behind) < 12:
            return None
        sequence, acknowledged = struct.unpack_from(">II", behind, 4)
        number = self._sequences.get(sequence)
        if number is not None:
            return number, "request"
        number = self._sequences.get((sequence - 1) & 0xFFFFFFFF)
        if number is not None:
            return number, "ack"
        number = self._sequences.get((acknowledged - 1) & 0xFFFFFFFF)
        return (number, "reply") if number is not None and "ACK" in packet.tcp_flags else None

    def _chunk(self, behind: bytes) -> tuple[int, str] | None:
        """RFC 9260: an INIT tells its tag behind its chunk's header, answers carry it in front."""
        if len(behind) < 20:
            return None
        kind = behind[12]
        where = 16 if kind == _INIT else 4
        number = self._sequences.get(struct.unpack_from(">I", behind, where)[0])
        if number is None:
            return None
        return number, "request" if kind == _INIT else "reply"

    def _tagged(self, behind: bytes) -> int | None:
        """The tag stands behind a header of 8 bytes; ICMP cuts what it quotes, so a part will do."""
        for tag, number in self._numbers.items():
            told = behind[8 : 8 + len(tag)]
            if len(told) >= min(8, len(tag)) > 0 and tag.startswith(told):
                return number
        return None

    def _answers(self, packet: Packet) -> bool:
        return any(_fits(packet, reply) for reply in self._replies)

    def _error(self, packet: Packet, behind: bytes) -> Whose | None:
        """An ICMP error quotes the packet that it is about (RFC 792: 8 bytes of its payload at least)."""
        quoted = behind[8:]
        inner = _split(quoted)
        offending = read_packet(quoted)
        if inner is None or offending is None:
            return None
        number: int | None
        if self._proto in ("tcp", "sctp"):
            number = self._quoted(inner[1]) if offending.proto == self._proto else None
        else:
            number = self._tagged(inner[1])
        if number is None:
            return None
        return Whose(number, "error", tunnelled=False, packet=replace(packet, inner=offending))

    def _quoted(self, behind: bytes) -> int | None:
        if self._proto == "sctp":
            found = self._chunk(behind.ljust(20, b"\0"))
            return found[0] if found is not None else None
        if len(behind) < 8:
            return None
        sequence = struct.unpack_from(">I", behind, 4)[0]
        for value in (sequence, (sequence - 1) & 0xFFFFFFFF):
            if value in self._sequences:
                return self._sequences[value]
        return None


def _carried(packet: Packet, behind: bytes) -> Sequence[int]:
    """Where a packet inside this one may begin: VXLAN, flannel's udp back end, IPIP and 6in4."""
    if packet.proto == "udp":
        return (_UDP_HEADER + _VXLAN_HEADER + _ETHERNET, _UDP_HEADER)
    return (0,) if packet.proto in ("4", "41") else ()


def _fits(packet: Packet, predicted: Packet) -> bool:
    """Are addresses those of *predicted*, and ports inside of what it is certain of?"""
    if (packet.src, packet.dst) != (predicted.src, predicted.dst):
        return False
    return all(
        want is None or have is None or have.inside(want)
        for want, have in ((predicted.sport, packet.sport), (predicted.dport, packet.dport))
    )
