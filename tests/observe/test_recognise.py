"""Packets of a probe are recognised from their bytes."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.observe.recognise import Recogniser, read_packet

TAG = b"\x01\x02\x03\x04"
NEXT = b"\x01\x02\x03\x05"
COOKIE = b"abcdefgh" + b"nettrace"


def ip4(
    protocol: int, behind: bytes, src: str = "10.0.0.1", dst: str = "10.0.0.2", options: int = 0
) -> bytes:
    """An IPv4 packet."""
    ends = b"".join(bytes(map(int, one.split("."))) for one in (src, dst))
    length = 20 + options + len(behind)
    head = struct.pack(">BBHHHBBH", 0x45 + options // 4, 0, length, 7, 0x4000, 63, protocol, 0) + ends
    return head + bytes(options) + behind


def ip6(protocol: int, behind: bytes) -> bytes:
    """An IPv6 packet from fd00::1 to fd00::2."""
    ends = b"".join(bytes.fromhex("fd" + "00" * 14) + bytes((n,)) for n in (1, 2))
    return struct.pack(">IHBB", 6 << 28, len(behind), protocol, 64) + ends + behind


def tcp(sequence: bytes, acknowledged: bytes = bytes(4), flags: int = 2) -> bytes:
    """A TCP header from port 1000 to port 80."""
    return struct.pack(">HH", 1000, 80) + sequence + acknowledged + bytes((0x50, flags)) + bytes(6)


def udp(payload: bytes, sport: int = 1000, dport: int = 53) -> bytes:
    """A UDP datagram."""
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def vxlan(inner: bytes) -> bytes:
    """What a VXLAN carries: its header, an Ethernet header, the packet."""
    return udp(bytes(8) + bytes(14) + inner, 40000, 8472)


@pytest.mark.parametrize("wrap", [lambda b: ip4(6, b), lambda b: ip4(6, b, options=8), lambda b: ip6(6, b)])
@pytest.mark.parametrize(
    ("segment", "kind"),
    [
        (tcp(TAG), "request"),
        (tcp(NEXT, flags=16), "ack"),
        (tcp(bytes(4), NEXT, flags=18), "reply"),
        (tcp(bytes(4), NEXT, flags=20), "reply"),
        (tcp(bytes(4), NEXT, flags=2), None),
        (tcp(bytes(4)), None),
    ],
)
def test_segments_are_known_by_their_numbers(
    wrap: Callable[[bytes], bytes], segment: bytes, kind: str | None
) -> None:
    """The SYN by its number, what follows and what acknowledges it by the next one."""
    found = Recogniser("tcp", [bytes(4)[:3] + b"\x09", TAG]).whose(wrap(segment))
    assert (found and (found.attempt, found.kind, found.tunnelled)) == (kind and (1, kind, False))


@pytest.mark.parametrize(
    "carrier", [lambda b: ip4(17, vxlan(b)), lambda b: ip4(17, udp(b)), lambda b: ip4(4, b)]
)
def test_what_carries_the_probe_is_known(carrier: Callable[[bytes], bytes]) -> None:
    """VXLAN, UDP and IPIP; the packet that is told is the outer one with the inner in it."""
    found = Recogniser("tcp", [TAG]).whose(carrier(ip4(6, tcp(TAG), "10.244.1.2", "10.244.2.2")))
    assert found is not None
    assert (found.kind, found.tunnelled, found.packet.src) == ("request", True, "10.0.0.1")
    assert found.packet.inner is not None
    assert found.packet.inner.dst == "10.244.2.2"
    assert found.packet.inner.dport == PortRange(80, 80)


def test_errors_are_known_by_what_they_quote() -> None:
    """An ICMP error about the probe, with the offending packet as its inner; also inside a tunnel."""
    error = ip4(1, bytes((3, 1)) + bytes(6) + ip4(6, tcp(TAG)), "10.0.0.9", "10.0.0.1")
    recogniser = Recogniser("tcp", [TAG])
    found = recogniser.whose(error)
    assert found is not None
    assert (found.kind, found.tunnelled, found.packet.icmp_type) == ("error", False, 3)
    assert found.packet.inner is not None
    assert found.packet.inner.sport == PortRange(1000, 1000)
    carried = recogniser.whose(ip4(4, error))
    assert carried is not None
    assert (carried.kind, carried.tunnelled) == ("error", True)
    about_another = ip4(1, bytes((3, 1)) + bytes(6) + ip4(17, udp(TAG)), "10.0.0.9", "10.0.0.1")
    assert recogniser.whose(about_another) is None


def test_datagrams_are_known_by_their_beginning() -> None:
    """A tag behind UDP's header; an answer by what was predicted of it, also if it repeats the tag."""
    port = PortRange(53, 53)
    answer = Packet(src="10.0.0.2", dst="10.0.0.1", proto="udp", sport=port, dport=EPHEMERAL)
    recogniser = Recogniser("udp", [COOKIE], [answer])
    request = recogniser.whose(ip4(17, udp(COOKIE + b"\n")))
    reply = recogniser.whose(ip4(17, udp(COOKIE, 53, 40000), "10.0.0.2", "10.0.0.1"))
    assert request is not None
    assert reply is not None
    assert (request.kind, reply.kind) == ("request", "reply")
    assert recogniser.whose(ip4(17, udp(b"abcdefgi" + COOKIE))) is None
    quoted = ip4(1, bytes((3, 3)) + bytes(6) + ip4(17, udp(COOKIE[:8])), "10.0.0.2", "10.0.0.1")
    error = recogniser.whose(quoted)
    assert error is not None
    assert error.kind == "error"


def test_echoes_are_known_by_their_payload() -> None:
    """Request and answer, by ICMP and ICMPv6."""
    recogniser = Recogniser("icmp", [COOKIE])
    for wrap, protocol, kinds in ((ip4, 1, (8, 0)), (ip6, 58, (128, 129))):
        for number, kind in zip(kinds, ("request", "reply"), strict=True):
            found = recogniser.whose(wrap(protocol, bytes((number,)) + bytes(7) + COOKIE))
            assert found is not None
            assert found.kind == kind
        assert recogniser.whose(wrap(protocol, bytes((13,)) + bytes(7) + COOKIE)) is None


def test_an_association_is_known_by_its_tag() -> None:
    """The tag that an INIT brings is in front of what answers it (RFC 9260)."""
    recogniser = Recogniser("sctp", [TAG])
    ports = struct.pack(">HH", 1000, 80)
    init = recogniser.whose(ip4(132, ports + bytes(8) + bytes((1, 0, 0, 20)) + TAG + bytes(12)))
    answer = recogniser.whose(ip4(132, ports + TAG + bytes(4) + bytes((2, 0, 0, 20)) + bytes(16)))
    assert init is not None
    assert answer is not None
    assert (init.kind, answer.kind) == ("request", "reply")


@given(st.binary(max_size=120))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    """Whatever a network brings is read or is nobody's."""
    for proto, tag in (("tcp", TAG), ("udp", COOKIE), ("icmp", COOKIE), ("sctp", TAG)):
        assert Recogniser(proto, [tag]).whose(data) is None
    for start in (b"\x45", b"\x60", b"\x4f"):
        packet = read_packet(start + data)
        assert packet is None or packet.size >= 0
        Recogniser("tcp", [TAG]).whose(start + data)
