"""
A packet's headers as bytes, for expressions that read and write them.

Lives here: link, network and transport header of the walk's packet, with what it does not know
(checksums, sequence numbers, the payload) left open; and writing fields.
Not here: everything else that hangs on a packet (nft_load).
Sources: net/netfilter/nft_payload.c, RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792.
"""

import ipaddress

from msgspec.structs import replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.protocol import protocol_number
from nettrace.walk.nft_value import Soft, Value, join, port_value, unknown
from nettrace.walk.skb import BROADCAST, Skb

__all__ = [
    "ARP",
    "address_bytes",
    "address_text",
    "ethertype",
    "load_payload",
    "size_value",
    "store_payload",
    "writes_checksum",
]

#: What a walk's packet of ARP has for a protocol.
ARP = "arp"
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
#: Where the transport header has its checksum.
_CHECKSUM_AT = {"tcp": 16, "udp": 6}


def address_bytes(address: str) -> bytes:
    """An address in network order."""
    return ipaddress.ip_address(address).packed


def address_text(data: bytes) -> str:
    """The canonical text of an address of 4 or 16 bytes."""
    return str(ipaddress.ip_address(data))


def load_payload(skb: Skb, base: str, offset: int, length: int, *, sized: bool = True) -> Value | None:
    """
    Return bytes of a header; None where the packet has none there, which ends the rule.

    *sized*: how long the packet is, is known.
    """
    if base == "link":
        return _cut(_link(skb), offset, length, None)
    packet = skb.packet
    if packet.proto == ARP:
        return _cut(_arp(skb), offset, length, packet.size) if base == "network" else None
    network = 20 if packet.family == 4 else 40
    if base == "network":
        whole = join((_network(packet, sized=sized), _transport(packet, sized=sized)))
        return _cut(whole, offset, length, packet.size)
    if base == "transport":
        return _cut(_transport(packet, sized=sized), offset, length, packet.size - network)
    inside = _header_length(packet)
    if base != "inner" or inside is None:
        return None
    rest = packet.size - network - inside
    return unknown(length, "what the packet carries decides") if offset + length <= rest else None


def _header_length(packet: Packet) -> int | None:
    """Length of the transport header (nft_payload_inner_offset); TCP's options are not known."""
    return {"udp": 8, "tcp": 20}.get(packet.proto)


def _cut(whole: Value, offset: int, length: int, size: int | None) -> Value | None:
    """Return a part; bytes behind those that the walk makes are unknown up to *size*."""
    end = offset + length
    if size is not None and end > size:
        return None
    missing = end - len(whole.data)
    if missing > 0:
        if size is None:
            return None
        whole = join((whole, unknown(missing, "what the packet carries decides")))
    softs = []
    for soft in whole.softs:
        first, last = max(soft.start, offset), min(soft.end, end)
        if first >= last:
            continue
        if (first, last) == (soft.start, soft.end):
            softs.append(soft._replace(start=first - offset))
        else:
            softs.append(Soft(first - offset, last - first, 0, (1 << 8 * (last - first)) - 1, soft.reason))
    return Value(whole.data[offset:end], tuple(softs))


def _mac(text: str, which: str) -> Value:
    if not text:
        return unknown(6, f"the frame's {which} MAC address is not known")
    return Value(bytes.fromhex(text.replace(":", "")))


def _link(skb: Skb) -> Value:
    kind = Value(ethertype(skb.packet).to_bytes(2))
    return join((_mac(skb.dest_mac, "destination"), _mac(skb.source_mac, "source"), kind))


def ethertype(packet: Packet) -> int:
    """Return the type of the packet's frame."""
    if packet.proto == ARP:
        return 0x0806
    return 0x0800 if packet.family == 4 else 0x86DD


def _arp(skb: Skb) -> Value:
    """RFC 826: a broadcast asks, and does not know the target's MAC address."""
    asks = skb.dest_mac == BROADCAST
    return join(
        (
            Value(bytes((0, 1, 8, 0, 6, 4, 0, 1 if asks else 2))),
            _mac(skb.source_mac, "source"),
            Value(address_bytes(skb.packet.src)),
            Value(bytes(6)) if asks else _mac(skb.dest_mac, "destination"),
            Value(address_bytes(skb.packet.dst)),
        )
    )


def size_value(size: int, *, sized: bool = True) -> Value:
    """Return a length of two bytes; what an answer of UDP carries is the program's own matter."""
    if sized:
        return Value(size.to_bytes(2))
    return Value(bytes(2), (Soft(0, 2, 8, 0xFFFF, "the length of the answer decides"),))


def _network(packet: Packet, *, sized: bool = True) -> Value:
    source, target = address_bytes(packet.src), address_bytes(packet.dst)
    number = protocol_number(packet.proto)
    if packet.family == 4:
        return join(
            (
                Value(bytes((0x45, packet.tos))),
                size_value(packet.size, sized=sized),
                unknown(2, "the packet's IP ID decides"),
                Value(bytes((0x40 if packet.df else 0, 0, packet.ttl, number))),
                unknown(2, "the packet's checksum decides"),
                Value(source + target),
            )
        )
    return join(
        (
            Value(bytes((0x60 | packet.tos >> 4,))),
            Value(bytes(1), (Soft(0, 1, (packet.tos & 0xF) << 4, (packet.tos & 0xF) << 4 | 0xF, _LABEL),)),
            unknown(2, _LABEL),
            size_value(packet.size - 40, sized=sized),
            Value(bytes((number, packet.ttl)) + source + target),
        )
    )


_LABEL = "the packet's flow label decides"


def _transport(packet: Packet, *, sized: bool = True) -> Value:
    ports = (port_value(packet.sport, "source port"), port_value(packet.dport, "destination port"))
    match packet.proto:
        case "tcp":
            flags = sum(1 << bit for bit, name in enumerate(_FLAGS) if name in packet.tcp_flags)
            return join(
                (
                    *ports,
                    unknown(8, "the packet's sequence numbers decide"),
                    Value(
                        bytes(1), (Soft(0, 1, 0x50, 0xF0, "the length of the packet's TCP options decides"),)
                    ),
                    Value(bytes((flags,))),
                    unknown(4, "the packet's window and checksum decide"),
                    Value(bytes(2)),
                )
            )
        case "udp":
            size = packet.size - (20 if packet.family == 4 else 40)
            return join(
                (
                    *ports,
                    size_value(max(size, 8), sized=sized),
                    unknown(2, "the packet's checksum decides"),
                )
            )
        case "icmp" | "icmpv6":
            kind, code = packet.icmp_type or 0, packet.icmp_code or 0
            number = (
                Value(packet.icmp_id.to_bytes(2))
                if packet.icmp_id is not None and packet.icmp_id >= 0
                else unknown(2, "the packet's ICMP identifier decides")
            )
            return join(
                (
                    Value(bytes((kind, code))),
                    unknown(2, "the packet's checksum decides"),
                    number,
                    unknown(2, "the packet's ICMP sequence number decides"),
                )
            )
        case "sctp":
            return join((*ports, unknown(8, "the packet's SCTP header decides")))
        case _:
            return Value(b"")


def store_payload(skb: Skb, base: str, offset: int, value: Value) -> str | None:
    """
    Write into a header; "" when done, the reason where the walk cannot follow.

    Only fields that the walk's packet has can be written.  None: there is no such header, and
    the rule ends.
    """
    held = load_payload(skb, base, offset, len(value.data))
    if held is None:
        return None
    packet = skb.packet
    if value == held:
        return ""
    beside = _beside_label(packet, base, offset, value)
    if beside is not None:
        skb.packet = replace(packet, tos=beside)
        return ""
    if value.softs and value.softs != held.softs:
        return f"what is written is not known: {value.reason}"
    new = value.data
    if base == "link":
        whole = bytearray(_link(skb).data)
        whole[offset : offset + len(new)] = new
        skb.dest_mac, skb.source_mac = whole[:6].hex(":"), whole[6:12].hex(":")
        return "" if bytes(whole[12:14]) == _link(skb).data[12:14] else "the frame's type is written"
    if packet.proto == ARP and base != "link":
        return "what is written is no field that the walk knows"
    if base == "network":
        whole = bytearray(_network(packet).data)
        if offset + len(new) > len(whole):
            return "what is written is no field that the walk knows"
        whole[offset : offset + len(new)] = new
        changed = _read_network(packet, bytes(whole))
        if _network(changed).data != bytes(whole):
            return "what is written is no field that the walk knows"
        skb.packet = changed
        return ""
    if base == "transport" and packet.proto in ("tcp", "udp", "sctp") and offset + len(new) <= 4:
        changed = packet
        for at, name in ((0, "sport"), (2, "dport")):
            if offset <= at and at + 2 <= offset + len(new):
                part = value.data[at - offset : at - offset + 2]
                if any(soft.start == at - offset for soft in value.softs):
                    continue
                port = int.from_bytes(part)
                changed = replace(changed, **{name: PortRange(port, port)})
        skb.packet = changed
        return ""
    return "what is written is no field that the walk knows"


def writes_checksum(skb: Skb, base: str, offset: int, value: Value) -> bool:
    """
    Is it the checksum of TCP or UDP, and nothing else, that is written?

    A zero is not meant: in UDP it says that there is none.
    """
    at = _CHECKSUM_AT.get(skb.packet.proto)
    return base == "transport" and offset == at and len(value.data) == 2 and any(value.data)


def _beside_label(packet: Packet, base: str, offset: int, value: Value) -> int | None:
    """
    The traffic class, where it is written with the flow label's first bits beside it.

    They share the second byte: nft writes both, the label as it was.
    """
    if packet.family != 6 or (base, offset, len(value.data)) != ("network", 0, 2) or len(value.softs) != 1:
        return None
    soft = value.softs[0]
    if (soft.start, soft.length, soft.high - soft.low, soft.low & 0xF) != (1, 1, 0xF, 0):
        return None
    return (value.data[0] & 0xF) << 4 | soft.low >> 4 if value.data[0] >> 4 == 6 else None


def _read_network(packet: Packet, data: bytes) -> Packet:
    if packet.family == 4:
        return replace(
            packet,
            tos=data[1],
            ttl=data[8],
            df=bool(data[6] & 0x40),
            src=address_text(data[12:16]),
            dst=address_text(data[16:20]),
        )
    return replace(
        packet,
        tos=(data[0] & 0xF) << 4 | packet.tos & 0xF,
        ttl=data[7],
        src=address_text(data[8:24]),
        dst=address_text(data[24:40]),
    )
