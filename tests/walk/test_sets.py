"""ipsets: every type, what nomatch, masks and wildcards do, and what SET rules change."""

from typing import Any

import pytest

from nettrace.model.ipset import IpSet
from nettrace.model.packet import Packet
from nettrace.model.walk import Outcome
from nettrace.parse.iptables import parse_rule
from nettrace.walk.context import Run, Undecided
from nettrace.walk.limits import Limits
from nettrace.walk.matches import match_matches
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint, Unsure
from nettrace.walk.sets import change_set
from nettrace.walk.skb import Skb
from tests.walk.test_matches import packet, port
from tests.walk.worlds import flow, one_path, router

MAC = "02:00:00:00:00:05"


def asked(one: IpSet, sides: str, sent: Packet | None = None, **skb: Any) -> bool | str:
    """Is a SYN from 10.1.0.2 to 10.2.0.2:80 that passes from c to s in the set?"""
    world = router()
    world["r"].ipsets = [one]
    run = Run(snapshot=world.snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    frame = Skb(sent or packet(), "r", device="c", **skb)
    rule = parse_rule(f"-m set --match-set x {sides}")
    found = match_matches(run, frame, HookPoint(namespace(run, "r"), "forward", "c", "s"), rule.matches[0])
    return found.reason if isinstance(found, Unsure) else found


def held(kind: str, *members: str, **more: Any) -> IpSet:
    """A set called x."""
    return IpSet(name="x", type=kind, members=members, **more)


@pytest.mark.parametrize(
    ("one", "sides", "expected"),
    [
        (held("hash:ip,mark", "10.1.0.2,0x5", markmask=0xF), "src,src", True),
        (held("hash:ip,mark", "10.1.0.2,0x15", markmask=0xFF), "src,src", True),
        (held("hash:ip,mark", "10.1.0.2,0x5"), "src,src", False),
        (held("hash:ip,mac", f"10.1.0.2,{MAC}"), "src,src", True),
        (held("hash:ip,mac", "10.1.0.2,02:00:00:00:00:06"), "src,src", False),
        (held("hash:mac", MAC.upper()), "src", True),
        (held("hash:net,net", "10.1.0.0/24,10.0.0.0/8"), "src,dst", True),
        (
            held("hash:net,net", "10.0.0.0/8,10.0.0.0/8", exceptions=("10.1.0.0/24,10.0.0.0/8",)),
            "src,dst",
            False,
        ),
        # the first dimension's length comes first
        (
            held("hash:net,net", "10.1.0.0/24,10.0.0.0/8", exceptions=("10.0.0.0/8,10.2.0.2",)),
            "src,dst",
            True,
        ),
        (held("hash:net,port,net", "10.1.0.0/24,tcp:80,10.2.0.0/24"), "src,dst,dst", True),
        (held("hash:net,port,net", "10.1.0.0/24,tcp:81,10.2.0.0/24"), "src,dst,dst", False),
        (held("hash:ip", "10.1.0.0", mask="24"), "src", True),
        (held("hash:ip", "10.0.0.2", mask="255.0.0.255"), "src", True),
        (held("hash:ip", "10.0.0.3", mask="255.0.0.255"), "src", False),
        (held("bitmap:ip", "10.1.0.1-10.1.0.9"), "src", True),
        (held("bitmap:ip", "10.1.0.3-10.1.0.9"), "src", False),
        (held("bitmap:ip,mac", "10.1.0.2"), "src,src", True),
        (held("bitmap:ip,mac", "10.1.0.3"), "src,src", False),
        (held("hash:net,iface", "10.0.0.0/8,c"), "src,src", True),
        (held("hash:net,iface", "10.0.0.0/8,s"), "src,dst", True),
        (held("hash:net,iface", "10.0.0.0/8,physdev:c"), "src,src", False),
        (held("hash:net,iface", "10.0.0.0/8,c", "10.1.0.0/24,other"), "src,src", False),
        (held("hash:net,iface", "11.0.0.0/8,c"), "src,src", False),
        (held("hash:net", "10.0.0.0/8"), "src", True),
        (held("hash:net,port", "10.0.0.0/8,tcp:80"), "src", False),
        (held("hash:ip", "fd00::1", family=6), "src", False),
    ],
)
def test_entries(one: IpSet, sides: str, expected: bool) -> None:
    """Each type finds, and does not find, what its entries say."""
    assert asked(one, sides, packet(mark=0x15), source_mac=MAC) is expected


@pytest.mark.parametrize(
    ("entry", "sent", "expected"),
    [
        ("10.2.0.2,icmp:8/0", packet(proto="icmp", icmp_type=8, icmp_code=0, sport=None, dport=None), True),
        ("10.2.0.2,icmp:echo-request", packet(proto="icmp", icmp_type=8, sport=None, dport=None), True),
        ("10.2.0.2,icmp:echo-reply", packet(proto="icmp", icmp_type=8, sport=None, dport=None), False),
        ("10.2.0.2,icmp:odd", packet(proto="icmp", icmp_type=8, sport=None, dport=None), None),
        ("10.2.0.2,47:0", packet(proto="47", sport=None, dport=None), True),
        ("10.2.0.2,sctp:80", packet(proto="sctp"), True),
        ("10.2.0.2,tcp:www", packet(), None),
    ],
)
def test_ports_of_other_protocols(entry: str, sent: Packet, expected: bool | None) -> None:
    """Types and codes stand in for the ports of ICMP; a protocol without ports has port 0."""
    found = asked(held("hash:ip,port", entry), "dst,dst", sent)
    assert isinstance(found, str) if expected is None else found is expected


def test_ipv6_sets() -> None:
    """A set of IPv6 is asked by IPv6's packets only, a bitmap of ports by both."""
    sent = packet(src="fd00::2", dst="fd01::2")
    assert asked(held("hash:ip", "fd00::2", family=6), "src", sent) is True
    assert asked(held("hash:net", "fd00::/64", family=6), "dst", sent) is False
    assert asked(held("hash:ip", "fd00::", family=6, mask="64"), "src", sent) is True
    assert asked(held("hash:ip", "10.1.0.2"), "src", sent) is False
    assert asked(held("bitmap:port", "80"), "dst", sent) is True
    assert asked(held("bitmap:port", "80"), "dst", packet(proto="sctp")) is False
    echo = packet(
        src="fd00::2", dst="fd01::2", proto="icmpv6", icmp_type=128, icmp_code=0, sport=None, dport=None
    )
    assert asked(held("hash:ip,port", "fd01::2,ipv6-icmp:echo-request", family=6), "dst,dst", echo) is True


def test_what_nomatch_turns_around() -> None:
    """With --return-nomatch only what an exception holds is a match."""
    one = held("hash:net", "10.0.0.0/8", exceptions=("10.1.0.0/24",))
    assert asked(one, "src") is False
    assert asked(one, "src --return-nomatch") is True
    assert asked(one, "dst --return-nomatch") is False


def test_counters_and_broken_entries_are_open() -> None:
    """Tests of an entry's counters matter only where there is an entry."""
    one = held("hash:ip", "10.1.0.2")
    assert isinstance(asked(one, "src --packets-gt 5"), str)
    assert asked(one, "dst --packets-gt 5") is False
    assert asked(one, "src ! --update-counters ! --update-subcounters") is True
    assert isinstance(asked(held("hash:ip,port", "10.1.0.2"), "src,src"), str)
    assert isinstance(asked(held("hash:odd", "10.1.0.2"), "src,src"), str)
    assert isinstance(asked(held("hash:mac", MAC), "src"), str)


def changed(one: IpSet, sides: str, *, adds: bool, sent: Packet | None = None) -> tuple[str, ...]:
    """Members after a SET rule."""
    world = router()
    world["r"].ipsets = [one]
    run = Run(snapshot=world.snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    point = HookPoint(namespace(run, "r"), "forward", "c", "s")
    change_set(run, Skb(sent or packet(), "r"), point, "x", tuple(sides.split(",")), adds=adds)
    found = run.ipsets.get(("r", "x"), one)
    return tuple(found.members)


def test_what_set_rules_change() -> None:
    """The packet's own entry is added once and deleted; a network has the set's longest length."""
    assert changed(held("hash:ip"), "src", adds=True) == ("10.1.0.2",)
    assert changed(held("hash:ip", "10.1.0.2", "1.1.1.1"), "src", adds=True) == ("1.1.1.1", "10.1.0.2")
    assert changed(held("hash:ip", "10.1.0.2", "1.1.1.1"), "src", adds=False) == ("1.1.1.1",)
    assert changed(held("hash:ip", mask="24"), "src", adds=True) == ("10.1.0.0",)
    assert changed(held("hash:ip,port"), "dst,dst", adds=True) == ("10.2.0.2,tcp:80",)
    assert changed(held("hash:net", "10.0.0.0/16"), "src", adds=True) == ("10.0.0.0/16", "10.1.0.0/16")
    assert changed(held("hash:net"), "src", adds=True) == ("10.1.0.2",)
    assert changed(held("bitmap:port"), "dst", adds=True) == ("80",)
    assert changed(held("hash:ip,port"), "dst", adds=True) == ()
    assert changed(held("hash:ip", family=6), "dst", adds=True) == ()
    echo = packet(proto="icmp", icmp_type=8, sport=None, dport=port(1))
    assert changed(held("hash:ip,port"), "dst,dst", adds=True, sent=echo) == ("10.2.0.2,icmp:8/0",)


@pytest.mark.parametrize("one", [held("list:set", "y"), held("hash:mac"), IpSet(name="y", type="hash:ip")])
def test_what_set_rules_do_to_other_sets(one: IpSet) -> None:
    """What a packet adds to a list, or by its frame, is not walked; nor is a set that is not there."""
    with pytest.raises(Undecided):
        changed(one, "src", adds=True)


def test_a_rule_sees_what_an_earlier_one_added() -> None:
    """A port knock: the sender is put into a set, and let through because it is in it."""
    world = router()
    world["r"].ipsets = [IpSet(name="x", type="hash:ip")]
    rule = "-A FORWARD -i c -m set ! --match-set x src -j DROP"
    world["r"].filter(rule)
    asks = flow("client", "10.2.0.2", 80)
    assert one_path(world, asks).outcome is Outcome.TIMEOUT
    world["r"].filter("-A FORWARD -i c -j SET --add-set x src", rule)
    assert one_path(world, asks).outcome is Outcome.CONNECTED
