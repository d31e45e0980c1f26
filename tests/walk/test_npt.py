"""Prefixes of IPv6 that are translated without state."""

from hypothesis import given
from hypothesis import strategies as st

from nettrace.model.addr import address_text, address_value, in_prefix
from nettrace.model.packet import Packet
from nettrace.model.step import Verdict
from nettrace.walk.npt import mapped
from tests.walk.test_extension_targets import applied
from tests.walk.worlds import router

RULE = "-j {} --src-pfx fd00:1::/64 --dst-pfx fd00:9::/64"


def checksum(address: str) -> int:
    """What an address adds to a checksum: 0 and 0xffff are the same (RFC 1071)."""
    value = address_value(address)
    return sum(value >> shift & 0xFFFF for shift in range(0, 128, 16)) % 0xFFFF


def prefixes() -> st.SearchStrategy[str]:
    """Networks of up to 64 bits."""
    numbers = st.integers(0, (1 << 64) - 1)
    return st.builds(
        lambda number, length: f"{address_text(number >> (64 - length) << (128 - length), 6)}/{length}",
        numbers,
        st.integers(1, 64),
    )


def test_the_example_of_the_standard() -> None:
    """RFC 6296 section 2.4."""
    there = mapped("fd01:203:405:1::1234", "fd01:203:405::/48", "2001:db8:1::/48")
    assert there == ("2001:db8:1:d550::1234", True)
    assert mapped(there.address, "2001:db8:1::/48", "fd01:203:405::/48") == ("fd01:203:405:1::1234", True)


@given(prefixes(), prefixes(), st.integers(0, (1 << 128) - 1))
def test_no_checksum_becomes_wrong(src_pfx: str, dst_pfx: str, number: int) -> None:
    """The new address is of the new network, and adds to a checksum what the old one did."""
    length = int(src_pfx.partition("/")[2])
    base = address_value(src_pfx.partition("/")[0])
    host = (1 << (128 - max(length, int(dst_pfx.partition("/")[2])))) - 1
    address = address_text(base | number & host, 6)
    new = mapped(address, src_pfx, dst_pfx)
    assert in_prefix(new.address, dst_pfx)
    if new.neutral:
        assert checksum(new.address) == checksum(address)
    else:
        assert number & 0xFFFFFFFFFFFFFFFF == 0xFFFFFFFFFFFFFFFF


def test_an_address_that_can_make_up_for_nothing() -> None:
    """Where all words behind the prefix are 0xffff the packet is dropped, with its new prefix."""
    sent = Packet(src="fd00:1::ffff:ffff:ffff:ffff", dst="fd00:2::2", proto="udp")
    skb, effect = applied(RULE.format("SNPT"), "postrouting", sent=sent)
    assert effect.ends is Verdict.DROPPED_BY_RULE
    assert skb.packet.src == "fd00:9::ffff:ffff:ffff:ffff"


def test_what_an_error_quotes_is_translated() -> None:
    """An error's own address and the other one of what it quotes, if that is of the network."""
    offender = Packet(src="fd00:1::7", dst="fd00:5::1", proto="udp")
    error = Packet(src="fd00:2::2", dst="fd00:1::7", proto="icmpv6", icmp_type=1, icmp_code=4, inner=offender)
    skb, _ = applied(RULE.format("DNPT"), world=router(), sent=error)
    assert skb.packet.dst == mapped("fd00:1::7", "fd00:1::/64", "fd00:9::/64").address
    assert skb.packet.inner is not None
    assert skb.packet.inner.src == skb.packet.dst
    other = Packet(src="fd00:1::7", dst="fd00:2::2", proto="icmpv6", icmp_type=1, icmp_code=4, inner=offender)
    skb, _ = applied(RULE.format("SNPT"), "postrouting", sent=other)
    assert skb.packet.inner == offender
