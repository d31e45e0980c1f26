"""What iptables-legacy tells of a traced packet, read."""

import struct

import pytest

from nettrace.collect.wire import attribute
from nettrace.observe.legacy_log import LegacyChain, LegacyEvent, decode_log, verdict

CHAINS = {
    ("filter", "FORWARD"): LegacyChain("DROP", ("OURS", "DROP", "", "goto OURS")),
    ("filter", "OURS"): LegacyChain("-", ("RETURN", "TTL")),
    ("nat", "PREROUTING"): LegacyChain("ACCEPT", ("DNAT",)),
}


def event(table: str, chain: str, kind: str, number: int) -> LegacyEvent:
    """An event of no packet."""
    return LegacyEvent(table, chain, kind, number, "forward", 1, 2, 0, b"")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (event("filter", "FORWARD", "rule", 1), (1, "jump OURS")),
        (event("filter", "FORWARD", "policy", 2), (2, "drop")),
        (event("filter", "FORWARD", "rule", 3), (3, "continue")),
        (event("filter", "FORWARD", "rule", 4), (4, "goto OURS")),
        (event("filter", "FORWARD", "policy", 5), (0, "policy drop")),
        (event("filter", "OURS", "return", 1), (1, "return")),
        (event("filter", "OURS", "rule", 2), (2, "met")),
        (event("filter", "OURS", "return", 3), (0, "")),
        (event("nat", "PREROUTING", "rule", 1), (1, "accept")),
        (event("nat", "GONE", "rule", 1), (1, "met")),
        (event("nat", "GONE", "policy", 1), (None, "met")),
    ],
)
def test_verdicts_are_read_from_the_rules(seen: LegacyEvent, said: tuple[int | None, str]) -> None:
    """A rule that tests nothing at the end of a chain is told from the chain's end by its number."""
    assert verdict(seen, CHAINS) == said


def message(prefix: bytes) -> bytes:
    """What the kernel sends for a logged packet."""
    body = struct.pack(">BBH", 2, 0, 0)
    body += attribute(1, struct.pack(">HBx", 0x800, 2)) + attribute(10, prefix + b"\0")
    body += attribute(2, struct.pack(">I", 5)) + attribute(4, struct.pack(">I", 3)) + attribute(9, b"E...")
    return struct.pack("=IHHII", 16 + len(body), 4 << 8, 0, 0, 0) + body


def test_a_log_is_decoded() -> None:
    """Table, chain, kind and number from the prefix; others' logs are left out."""
    data = message(b"TRACE: filter:KUBE:X:rule:12 ") + message(b"somebody's own prefix")
    [found] = decode_log(data)
    assert found == LegacyEvent("filter", "KUBE:X", "rule", 12, "forward", 3, 0, 5, b"E...")
    assert list(decode_log(data[:30])) == []
