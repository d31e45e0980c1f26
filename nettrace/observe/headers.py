"""
Packet headers as bytes, decoded layer by layer: through tunnels, and into what ICMP errors quote.

Lives here: bytes from an IP header on -> Packet, and where each layer's own header stands.
Not here: whose packet it is (drop_filter), nf_tables' events (trace_event).
Sources: RFC 791, 8200, 9293, 768, 792, 4443, 7348 (VXLAN).
"""

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.protocol import protocol_name

__all__ = ["Layer", "layers", "packet_of"]

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_IN_IP = frozenset({4, 41})
#: IANA's port of VXLAN, and that of Linux before there was one.
_VXLAN_PORTS = frozenset({4789, 8472})
#: flannel's udp backend: an IP packet is the payload.
_IN_UDP_PORT = 8285
_ETHERNET, _VXLAN = 14, 8
_HAS_VNI = 0x08
_DEEPEST = 4
#: IPv6 headers that another follows: hop by hop, routing, destination options.
_EXTENSIONS = frozenset({0, 43, 60})


class Layer(NamedTuple):
    """
    One IP packet; ``quoted``: it is what an ICMP error is about.

    ``payload`` is what follows the layer-4 header (of TCP with its options) as far as it is there,
    ``length`` how long it is by the IP header.  ``sequence`` and ``acknowledged`` are TCP's, -1 for
    others.
    """

    packet: Packet
    payload: bytes
    length: int
    sequence: int
    acknowledged: int
    quoted: bool


class _Ip(NamedTuple):
    src: str
    dst: str
    protocol: int
    size: int
    ttl: int
    tos: int
    df: bool
    header: int
    body: bytes
    first: bool  # not a later fragment


def layers(data: bytes, mark: int = 0) -> tuple[Layer, ...]:
    """
    Decode from the outermost packet to the innermost, as far as the bytes go; none if they are no IP.

    Each packet has the next one as its ``inner``.
    """
    found: list[Layer] = []
    quoted = False
    while len(found) < _DEEPEST:
        ip = _ip(data)
        if ip is None:
            break
        layer = _layer(ip, mark if not found else 0, quoted=quoted)
        found.append(layer)
        quoted = layer.packet.is_icmp_error
        inner = _inner(ip, layer, quoted=quoted)
        if inner is None:
            break
        data = inner
    return tuple(_nested(found))


def packet_of(data: bytes, mark: int = 0) -> Packet | None:
    """Return the outermost packet."""
    found = layers(data, mark)
    return found[0].packet if found else None


def _nested(found: Sequence[Layer]) -> list[Layer]:
    nested: list[Layer] = []
    for layer in reversed(found):
        packet = replace(layer.packet, inner=nested[0].packet) if nested else layer.packet
        nested.insert(0, layer._replace(packet=packet))
    return nested


def _ip(data: bytes) -> _Ip | None:
    if len(data) >= 20 and data[0] >> 4 == 4 and (data[0] & 0xF) >= 5:
        size, _, fragment = struct.unpack_from(">HHH", data, 2)
        src, dst = (socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16))
        header = (data[0] & 0xF) * 4
        df, first = bool(fragment & 0x4000), not fragment & 0x1FFF
        return _Ip(src, dst, data[9], size, data[8], data[1], df, header, data[header:], first)
    if len(data) >= 40 and data[0] >> 4 == 6:
        size = struct.unpack_from(">H", data, 4)[0] + 40
        src, dst = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
        protocol, body, first = _past_extensions(data[6], data[40:])
        tos = (data[0] & 0xF) << 4 | data[1] >> 4
        return _Ip(src, dst, protocol, size, data[7], tos, True, len(data) - len(body), body, first)
    return None


def _past_extensions(protocol: int, body: bytes) -> tuple[int, bytes, bool]:
    first = True
    while len(body) >= 8:
        if protocol in _EXTENSIONS:
            protocol, body = body[0], body[(body[1] + 1) * 8 :]
        elif protocol == 44:  # fragment
            first = not struct.unpack_from(">H", body, 2)[0] & 0xFFF8
            protocol, body = body[0], body[8:]
        else:
            break
    return protocol, body, first


def _layer(ip: _Ip, mark: int, *, quoted: bool) -> Layer:
    body = ip.body if ip.first else b""
    proto = protocol_name(ip.protocol)
    with_ports = proto in ("tcp", "udp", "sctp") and len(body) >= 4
    sport, dport = struct.unpack_from(">HH", body) if with_ports else (None, None)
    is_icmp = proto in ("icmp", "icmpv6") and len(body) >= 2
    sequence = acknowledged = -1
    flags, header = 0, 8
    if proto == "tcp" and len(body) >= 14:
        sequence, acknowledged = struct.unpack_from(">II", body, 4)
        flags, header = body[13], (body[12] >> 4) * 4
    elif proto == "tcp" and len(body) >= 8:
        sequence = struct.unpack_from(">I", body, 4)[0]
    echo = is_icmp and len(body) >= 6 and body[0] in ((8, 0) if proto == "icmp" else (128, 129))
    packet = Packet(
        src=ip.src,
        dst=ip.dst,
        proto=proto,
        sport=PortRange(sport, sport) if sport is not None else None,
        dport=PortRange(dport, dport) if dport is not None else None,
        tcp_flags=frozenset(name for bit, name in enumerate(_FLAGS) if flags >> bit & 1),
        icmp_type=body[0] if is_icmp else None,
        icmp_code=body[1] if is_icmp else None,
        icmp_id=struct.unpack_from(">H", body, 4)[0] if echo else None,
        size=ip.size,
        ttl=ip.ttl,
        tos=ip.tos,
        df=ip.df,
        mark=mark,
    )
    length = max(ip.size - ip.header - header, 0)
    return Layer(packet, body[header:], length, sequence, acknowledged, quoted)


def _inner(ip: _Ip, layer: Layer, *, quoted: bool) -> bytes | None:
    """Return what another packet begins at, if there is one inside."""
    if not ip.first:
        return None
    if quoted:
        return ip.body[8:]
    if ip.protocol in _IN_IP:
        return ip.body
    port = layer.packet.dport.single if layer.packet.proto == "udp" and layer.packet.dport else None
    if port in _VXLAN_PORTS and layer.payload[:1] and layer.payload[0] & _HAS_VNI:
        frame = layer.payload[_VXLAN:]
        return frame[_ETHERNET:] if frame[12:14] in (b"\x08\x00", b"\x86\xdd") else None
    return layer.payload if port == _IN_UDP_PORT else None
