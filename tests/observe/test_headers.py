"""Headers of packets, layer by layer, held against scapy's."""

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from nettrace.model.packet import Packet, PortRange
from nettrace.observe.drop_filter import ProbeFilter, Whose
from nettrace.observe.headers import layers, packet_of

SYN = TCP(sport=1000, dport=80, flags="S", seq=77, options=[("MSS", 1460)])


def tunnelled(inner: Any, port: int = 8472) -> bytes:
    """The frame of a packet in VXLAN."""
    return bytes(IP(src="1.1.1.1", dst="1.1.1.2") / UDP(sport=9, dport=port) / VXLAN(vni=1) / Ether() / inner)


def test_a_syn_is_read_with_everything_the_walk_knows() -> None:
    """Addresses, ports, flags, size, TTL, tos, the don't-fragment bit, and the skb's mark."""
    data = bytes(IP(src="10.0.0.1", dst="10.0.0.2", ttl=9, tos=8, flags="DF") / SYN)
    assert packet_of(data, 5) == Packet(
        src="10.0.0.1",
        dst="10.0.0.2",
        proto="tcp",
        sport=PortRange(1000, 1000),
        dport=PortRange(80, 80),
        tcp_flags=frozenset({"SYN"}),
        size=44,
        ttl=9,
        tos=8,
        df=True,
        mark=5,
    )
    assert layers(data)[0].sequence == 77


def test_tunnels_and_errors_hold_what_is_inside() -> None:
    """VXLAN, IP in IP, flannel's UDP, and the packet that an ICMP error is about."""
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / SYN
    for data in (
        tunnelled(inner),
        bytes(IP(src="1.1.1.1", dst="1.1.1.2") / inner),
        bytes(IP(src="1.1.1.1", dst="1.1.1.2") / UDP(sport=8285, dport=8285) / bytes(inner)),
        bytes(IP(src="1.1.1.1", dst="1.1.1.2") / ICMP(type=3, code=1) / bytes(inner)[:28]),
    ):
        found = packet_of(data)
        assert found is not None
        assert found.inner is not None
        assert (found.inner.src, found.inner.dst, found.inner.proto) == ("10.0.0.1", "10.0.0.2", "tcp")
        assert found.inner.sport == PortRange(1000, 1000)


def test_ipv6_is_read_past_its_extensions() -> None:
    """A destination option and a fragment header stand before the transport header."""
    whole = IPv6(src="fd00::1", dst="fd00::2", hlim=3, tc=4)
    for between in (IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(m=1)):
        found = packet_of(bytes(whole / between / UDP(sport=5, dport=6)))
        assert found is not None
        assert (found.src, found.proto, found.sport, found.ttl, found.tos) == (
            "fd00::1",
            "udp",
            PortRange(5, 5),
            3,
            4,
        )
    error = packet_of(bytes(whole / ICMPv6DestUnreach() / IPv6(src="fd00::2", dst="fd00::1") / UDP()))
    assert error is not None
    assert error.inner is not None
    assert error.inner.proto == "udp"


def test_a_later_fragment_has_no_ports() -> None:
    """What stands there is payload."""
    found = packet_of(bytes(IP(src="10.0.0.1", dst="10.0.0.2", frag=10, proto=17) / (b"\0" * 16)))
    assert found is not None
    assert found.sport is None


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x00" * 40, b"\x60" + b"\0" * 20])
def test_no_packet_is_none(data: bytes) -> None:
    """Too little, or something else, is not read at all."""
    assert packet_of(data) is None


TAG = (77).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("packet", "whose"),
    [
        (TCP(seq=77, flags="S"), Whose(0, "request", tunnelled=False)),
        (TCP(seq=5, ack=78, flags="SA"), Whose(0, "reply", tunnelled=False)),
        (TCP(seq=0, ack=78, flags="RA"), Whose(0, "reply", tunnelled=False)),
        (TCP(seq=78, ack=6, flags="A"), Whose(0, "ack", tunnelled=False)),
        (TCP(seq=78, ack=6, flags="FA"), Whose(0, "data", tunnelled=False)),
        (TCP(seq=78, ack=6, flags="A") / b"GET", Whose(0, "data", tunnelled=False)),
        (TCP(seq=6, ack=78, flags="PA") / b"hello", Whose(0, "reply-data", tunnelled=False)),
        (TCP(seq=6, ack=78, flags="RA"), Whose(0, "reply-data", tunnelled=False)),
        (TCP(seq=1, ack=2, flags="A"), None),
    ],
)
def test_packets_of_a_tcp_probe_are_told_apart(packet: Any, whose: Whose | None) -> None:
    """By sequence number and acknowledgment; what follows the handshake is data."""
    known = ProbeFilter("tcp", 4, (TAG,), ())
    assert known.whose(bytes(IP(src="10.0.0.1", dst="10.0.0.2") / packet)) == whose


def test_inside_tunnels_and_errors_a_probe_is_recognised() -> None:
    """The SYN in VXLAN, an error about it, and an error in VXLAN."""
    known = ProbeFilter("tcp", 4, (TAG,), ())
    sent = IP(src="10.0.0.1", dst="10.0.0.2") / SYN
    error = IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=1) / bytes(sent)[:28]
    assert known.whose(tunnelled(sent)) == Whose(0, "request", tunnelled=True)
    assert known.whose(bytes(error)) == Whose(0, "error", tunnelled=False)
    assert known.whose(tunnelled(error)) == Whose(0, "error", tunnelled=True)


def test_datagrams_are_known_by_payload_and_answers_by_their_ends() -> None:
    """A UDP answer carries no tag; an echo's answer does."""
    tag = b"abcdefghnettrace"
    answer = Packet(src="10.0.0.2", dst="10.0.0.1", proto="udp", sport=PortRange(53, 53))
    known = ProbeFilter("udp", 4, (tag,), (answer,))
    asked = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=9, dport=53) / tag
    told = IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=53, dport=9) / b"x"
    assert known.whose(bytes(asked)) == Whose(0, "request", tunnelled=False)
    assert known.whose(bytes(told)) == Whose(0, "reply", tunnelled=False)
    echo = ProbeFilter("icmp", 4, (tag,), ())
    for kind, leg in ((8, "request"), (0, "reply")):
        sent = IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=kind) / tag
        assert echo.whose(bytes(sent)) == Whose(0, leg, tunnelled=False)
    six = ProbeFilter("icmpv6", 6, (tag,), ())
    sent_six = IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(data=tag)
    assert six.whose(bytes(sent_six)) == Whose(0, "request", tunnelled=False)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_the_kernel_looks_where_the_tags_stand(proto: str) -> None:
    """In every shape of a packet one of the places holds one of the keys; in somebody else's none."""
    tag = TAG if proto == "tcp" else b"abcdefghnettrace"
    wanted = ProbeFilter(proto, 4, (tag,), ()).filter()
    sent = IP(src="10.0.0.1", dst="10.0.0.2") / (SYN if proto == "tcp" else UDP(sport=9, dport=53) / tag)
    error = IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=1) / bytes(sent)
    other = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=9, dport=53) / (b"z" * 64)

    def taken(data: bytes) -> bool:
        padded = data.ljust(256, b"\0")
        return any(
            place.kind.to_bytes(4, "little")
            + b"".join(padded[at : at + length] for at, length in place.parts).ljust(36, b"\0")
            in wanted.keys
            for place in wanted.places
        )

    for shape in (bytes(sent), tunnelled(sent), bytes(error), tunnelled(error), bytes(IP() / sent)):
        assert taken(shape)
    assert not taken(bytes(other))
