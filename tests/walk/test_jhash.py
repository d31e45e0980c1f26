"""The kernel's hash, on numbers that this kernel gave."""

import pytest

from nettrace.model.xt_target import NatRange
from nettrace.walk.context import Run
from nettrace.walk.jhash import address_words, jhash, jhash2, reciprocal_scale
from nettrace.walk.limits import Limits
from nettrace.walk.nat import bind
from nettrace.walk.skb import Conn, Tup, mirrored
from tests.walk.worlds import flow, router


@pytest.mark.parametrize(
    ("manip", "dst", "low", "high", "persistent", "chosen"),
    [
        ("dst", "10.5.0.5", "10.2.0.2", "10.2.0.9", False, "10.2.0.9"),
        ("dst", "10.5.0.6", "10.2.0.2", "10.2.0.9", False, "10.2.0.6"),
        ("dst", "10.5.0.8", "10.2.0.2", "10.2.0.9", True, "10.2.0.3"),
        ("src", "10.2.0.2", "10.8.0.1", "10.8.0.9", False, "10.8.0.4"),
        ("src", "10.2.0.4", "10.8.0.2", "10.8.0.7", True, "10.8.0.2"),
    ],
)
def test_the_address_that_a_kernel_chose(
    manip: str, dst: str, low: str, high: str, persistent: bool, chosen: str
) -> None:
    """Of a range of addresses the one that kernel 6.18 took in tests/kernel/test_walk_targets.py."""
    run = Run(snapshot=router().snapshot(), flow=flow("r", dst, None, proto="icmp"), limits=Limits())
    first = Tup("icmp", "10.1.0.2", dst, icmp_type=8)
    conn = Conn(netns="r", original=first, reply=mirrored(first))
    bind(run, conn, manip, NatRange(lo=low, hi=high), persistent=persistent)
    assert (conn.reply.src if manip == "dst" else conn.reply.dst) == chosen


def test_addresses_of_ipv6_stay_in_their_range() -> None:
    """A range that ends in the last word, and one that differs in an earlier one."""
    run = Run(snapshot=router().snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    first = Tup("udp", "fd00::1", "fd01::2")
    for low, high in (("fd02::2", "fd02::9"), ("fd02::2", "fd03::9")):
        conn = Conn(netns="r", original=first, reply=mirrored(first))
        bind(run, conn, "dst", NatRange(lo=low, hi=high))
        assert address_words(conn.reply.src)[0] & 0xFFFF in (0x02FD, 0x03FD)
        assert conn.dst_nat


@pytest.mark.parametrize("count", range(8))
def test_every_length_is_hashed(count: int) -> None:
    """Any number of words gives a number of 32 bits that depends on the seed, if there is a word."""
    words = tuple(range(1, count + 1))
    one, other = jhash2(words, 1), jhash2(words, 2)
    assert 0 <= one <= 0xFFFFFFFF
    assert one != other


def test_scaling_reaches_both_ends() -> None:
    """The smallest and the largest number are the first and the last of the range."""
    assert reciprocal_scale(0, 8) == 0
    assert reciprocal_scale(0xFFFFFFFF, 8) == 7


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("count", range(1, 10))
def test_bytes_are_hashed_as_the_words_they_are(byteorder: str, count: int) -> None:
    """Words before the last three are read in the machine's order, the last ones little-endian."""
    words = tuple(0x01020304 * number & 0xFFFFFFFF for number in range(1, count + 1))
    last = (count - 1) // 3 * 3
    data = b"".join(
        word.to_bytes(4, "big" if byteorder == "big" and at < last else "little")
        for at, word in enumerate(words)
    )
    assert jhash(data, 7, byteorder) == jhash2(words, 7)
    assert jhash(data + b"\1", 7, byteorder) != jhash2((*words, 1), 7)


def test_nothing_is_hashed_to_the_seed() -> None:
    """Without a byte the initial value comes back."""
    assert jhash(b"", 3, "little") == 0xDEADBEEF + 3
