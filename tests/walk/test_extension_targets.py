"""Targets that are kept as text, zones, and the ports that translations choose."""

from typing import Any

import pytest

from nettrace.model.ipset import IpSet
from nettrace.model.packet import PortRange
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Verdict
from nettrace.model.xt_target import NatRange
from nettrace.parse.iptables import parse_rule
from nettrace.walk.context import Run, Undecided
from nettrace.walk.limits import Limits
from nettrace.walk.namespace import namespace
from nettrace.walk.nat import bind
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Conn, DrawnPort, Skb, Tup, Zone, mirrored
from nettrace.walk.targets import Effect, Place, apply_target
from tests.walk.test_matches import connection, packet, port
from tests.walk.worlds import World, flow, one_path, router

PLACE = Place("nft", "mangle", "FORWARD", 1)


def applied(
    spec: str, hook: str = "prerouting", world: World | None = None, **skb: Any
) -> tuple[Skb, Effect]:
    """Apply a rule's target to a SYN from 10.1.0.2 to 10.2.0.2:80 in r."""
    world = world or router()
    run = Run(snapshot=world.snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    frame = Skb(skb.pop("sent", None) or packet(), "r", device="c", **skb)
    effect = apply_target(run, frame, HookPoint(namespace(run, "r"), hook, "c", "s"), PLACE, parse_rule(spec))
    return frame, effect


@pytest.mark.parametrize(
    ("spec", "ttl"),
    [
        ("-j TTL --ttl-set 5", 5),
        ("-j TTL --ttl-dec 3", 61),
        ("-j TTL --ttl-dec 70", 0),
        ("-j TTL --ttl-inc 5", 69),
        ("-j TTL --ttl-inc 250", 255),
        ("-j HL --hl-set 9", 9),
    ],
)
def test_ttl(spec: str, ttl: int) -> None:
    """A TTL stays between 0 and 255."""
    assert applied(spec)[0].packet.ttl == ttl


@pytest.mark.parametrize(
    ("spec", "tos"),
    [
        ("-j TOS --set-tos 0x10/0x3f", 0x90),
        ("-j TOS --set-tos Maximize-Throughput", 0x88),
        ("-j TOS --set-tos 0x10", 0x10),
        ("-j TOS --and-tos 0x0f", 0x01),
        ("-j TOS --or-tos 0x10", 0x91),
        ("-j TOS --xor-tos 0x81", 0x00),
        ("-j DSCP --set-dscp 0x2e", 0xB9),
        ("-j DSCP --set-dscp-class CS1", 0x21),
        ("-j ECN --ecn-ip-ect 2", 0x82),
        ("-j ECN --ecn-tcp-remove", 0x81),
    ],
)
def test_tos(spec: str, tos: int) -> None:
    """What each rule leaves of 0x81."""
    assert applied(spec, sent=packet(tos=0x81))[0].packet.tos == tos


@pytest.mark.parametrize(
    ("spec", "mark", "held"),
    [
        ("-j CONNMARK --set-xmark 0x5/0xff --left-shift-mark 3", 0x5, (0x28, 0x5)),
        ("-j CONNMARK --set-xmark 0x50/0xff --right-shift-mark 4", 0x5, (0x5, 0x5)),
        ("-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff --left-shift-mark 4", 0x5, (0x50, 0x5)),
        ("-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff --right-shift-mark 1", 0x5, (0x10, 0x8)),
    ],
)
def test_shifted_marks(spec: str, mark: int, held: tuple[int, int]) -> None:
    """Set shifts the new mark of the connection; save and restore shift what they copy."""
    conn = connection(mark=0x10)
    skb, _ = applied(spec, sent=packet(mark=mark), conn=conn)
    assert (conn.mark, skb.packet.mark) == held


def test_options_that_are_taken_out() -> None:
    """Without its MSS a SYN offers the least; other protocols have no options."""
    skb, effect = applied("-j TCPOPTSTRIP --strip-options mss,8", mss=1460)
    assert skb.mss == 536
    assert skb.stripped == {2, 8}
    assert "2,8" in effect.note
    assert applied("-j TCPOPTSTRIP --strip-options 8", mss=1460)[0].mss == 1460
    assert applied("-j TCPOPTSTRIP --strip-options 8", sent=packet(proto="udp"))[0].stripped == frozenset()


@pytest.mark.parametrize(
    ("spec", "hook", "ends"),
    [
        ("-j NETMAP --to 10.7.0.0/16", "prerouting", ("10.7.0.2", "10.1.0.2")),
        ("-j NETMAP --to 10.7.0.9", "output", ("10.7.0.9", "10.1.0.2")),
        ("-j NETMAP --to 10.7.0.0/24", "postrouting", ("10.2.0.2", "10.7.0.2")),
    ],
)
def test_networks_are_mapped(spec: str, hook: str, ends: tuple[str, str]) -> None:
    """The network part is the rule's, the host part stays."""
    first = Tup("tcp", "10.1.0.2", "10.2.0.2", PortRange(40000, 40000), port(80))
    conn = Conn(netns="r", original=first, reply=mirrored(first))
    _, effect = applied(spec, hook, conn=conn)
    assert effect.bound
    assert (conn.reply.src, conn.reply.dst) == ends
    assert not applied(spec, hook)[1].bound


@pytest.mark.parametrize(
    "spec",
    [
        "-j NFQUEUE --queue-num 5 --queue-bypass",
        "-j SYNPROXY --mss 1460",
        "-j HMARK --hmark-tuple src --hmark-mod 5",
        "-j CLUSTERIP --new",
        "-j ECN --ecn-tcp-cwr 1",
        "-j TOS --set-tos odd",
        "-j DSCP --set-dscp-class odd",
        "-j SET --add-set nobody src",
        "-j SET --map-set x src --map-mark",
        "-j TPROXY --on-port 80",
        "-j DNPT --src-pfx fd00::/64",
    ],
)
def test_what_is_left_open(spec: str) -> None:
    """What somebody else decides, or what makes no sense, is undecided."""
    world = router()
    world["r"].listen(80)
    with pytest.raises(Undecided):
        applied(spec, world=world)


@pytest.mark.parametrize(
    "name",
    [
        "AUDIT --type drop",
        "CHECKSUM --checksum-fill",
        "CLASSIFY --set-class 1:1",
        "IDLETIMER --timeout 5 --label x",
        "TEE --gateway 1.1.1.1",
        "TRACE",
    ],
)
def test_what_changes_nothing(name: str) -> None:
    """Accounting and copies leave the packet as it is."""
    assert applied(f"-j {name}")[1] == Effect()


def test_synproxy_lets_others_alone() -> None:
    """Only TCP is answered for."""
    assert applied("-j SYNPROXY --mss 5", sent=packet(proto="udp"))[1] == Effect()


def test_a_proxy_that_nobody_runs() -> None:
    """TPROXY drops what no socket takes."""
    world = router()
    world["r"].listen(80)
    for port_text in ("3128", "0"):
        effect = applied(f"-j TPROXY --on-port {port_text}", sent=packet(dport=port(81)), world=world)[1]
        assert effect.ends is Verdict.DROPPED_BY_RULE


def test_sets_that_are_changed() -> None:
    """Adding and deleting say what they did."""
    world = router()
    world["r"].ipsets = [IpSet(name="x", type="hash:ip", members=("10.2.0.2",))]
    assert "added to x" in applied("-j SET --add-set x src --exist", world=world)[1].note
    assert "deleted from x" in applied("-j SET --del-set x dst", world=world)[1].note


# --- CT --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "zone"),
    [
        ("-j CT --zone 5", Zone(5)),
        ("-j CT --zone-orig 5", Zone(5, reply=False)),
        ("-j CT --zone-reply mark", Zone(0, original=False, marked=True)),
        ("-j CT --helper ftp", Zone()),
        ("-j CT", Zone()),
    ],
)
def test_templates(spec: str, zone: Zone) -> None:
    """A CT rule says what conntrack is to do; a second one, and NOTRACK after it, do nothing."""
    skb, _ = applied(spec)
    assert skb.template == zone
    skb, _ = applied("-j NOTRACK", template=zone)
    assert skb.state == ""
    skb, _ = applied("-j CT --zone 9", template=zone)
    assert skb.template == zone
    assert applied("-j CT --zone 9", state="UNTRACKED")[0].template is None


def states(world: World) -> list[str]:
    """States of the packets in r's FORWARD, by the rules they meet."""
    names = ("NEW", "ESTABLISHED", "INVALID", "UNTRACKED")
    world["r"].filter(*(f"-A FORWARD -m conntrack --ctstate {name}" for name in names))
    path = one_path(world, flow("client", "10.2.0.2", 7, proto="udp"))
    return [
        names[(step.rule or 1) - 1]
        for leg in path.legs
        for step in leg.steps
        if step.chain == "FORWARD" and step.rule
    ]


@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        (["-A PREROUTING -j CT --zone 5"], ["NEW", "ESTABLISHED"]),
        (["-A PREROUTING -i c -j CT --zone 5"], ["NEW", "NEW"]),
        (["-A PREROUTING -i c -j CT --zone-orig 5"], ["NEW", "ESTABLISHED"]),
        (["-A PREROUTING -i c -j CT --zone-reply 5"], ["NEW", "NEW"]),
        (["-A PREROUTING -i c -j MARK --set-mark 9", "-A PREROUTING -j CT --zone mark"], ["NEW", "NEW"]),
        (["-A PREROUTING -j MARK --set-mark 9", "-A PREROUTING -j CT --zone mark"], ["NEW", "ESTABLISHED"]),
    ],
)
def test_zones_keep_connections_apart(rules: list[str], seen: list[str]) -> None:
    """An answer belongs to its request only where both are in one zone."""
    world = router()
    world["server"].listen(7, "udp", "10.2.0.2")
    world["r"].filter(*rules, table="raw")
    assert states(world) == seen


def entry(sport: int, dport: int, reply: Tuple, **more: Any) -> ConntrackEntry:
    """An entry of 10.1.0.2 to 10.2.0.2 in r's table."""
    original = Tuple(src="10.1.0.2", dst="10.2.0.2", sport=sport, dport=dport)
    return ConntrackEntry(
        proto="udp", original=original, reply=reply, status=frozenset({"confirmed"}), **more
    )


@pytest.mark.parametrize(
    ("zone", "side", "rules", "known"),
    [
        (0, None, [], True),
        (5, None, [], False),
        (5, None, ["-A PREROUTING -j CT --zone 5"], True),
        (5, "reply", [], True),
        (5, "original", [], False),
        (5, "original", ["-A PREROUTING -j CT --zone-orig 5"], True),
    ],
)
def test_entries_of_zones(zone: int, side: str | None, rules: list[str], known: bool) -> None:
    """An entry of the table is met by packets of its zone, in the directions that the zone holds for."""
    world = router()
    world["server"].listen(7, "udp", "10.2.0.2")
    back = Tuple(src="10.2.0.2", dst="10.1.0.2", sport=7, dport=4000)
    world["r"].conntrack = [entry(4000, 7, back, mark=7, zone=zone, zone_side=side)]
    world["r"].filter(*rules, table="raw")
    world["r"].filter("-A FORWARD -i c -m connmark --mark 7 -j DROP")
    path = one_path(world, flow("client", "10.2.0.2", 7, proto="udp", sport=4000))
    assert (path.verdict is Verdict.DROPPED_BY_RULE) is known


# --- ports -----------------------------------------------------------------------------------


def bound_to(
    manip: str,
    to: NatRange,
    sport: int,
    dport: int,
    entries: list[ConntrackEntry] | None = None,
    **more: bool,
) -> Tup:
    """What a new connection of 10.1.0.2 to 10.2.0.2 is bound to in r."""
    world = router()
    world["r"].conntrack = entries or []
    run = Run(snapshot=world.snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    first = Tup("udp", "10.1.0.2", "10.2.0.2", port(sport), port(dport))
    conn = Conn(netns="r", original=first, reply=mirrored(first))
    bind(run, conn, manip, to, **more)
    return mirrored(conn.reply)


@pytest.mark.parametrize(
    ("to", "dport", "chosen"),
    [
        (NatRange(ports=PortRange(5, 9)), 7, PortRange(7, 7)),
        (NatRange(ports=PortRange(5, 9)), 80, PortRange(5, 5)),
        (NatRange(ports=PortRange(5, 5)), 80, PortRange(5, 5)),
        (NatRange(ports=PortRange(5, 9), base=80), 82, PortRange(7, 7)),
        (NatRange(ports=PortRange(5, 9), base=80), 87, PortRange(7, 7)),
        (NatRange(ports=PortRange(5, 9), base=80), 79, PortRange(5, 5)),
    ],
)
def test_ports_of_a_destination(to: NatRange, dport: int, chosen: PortRange) -> None:
    """The old port where it fits, else the first, or as far from it as the base says."""
    assert bound_to("dst", to, 4000, dport).dport == chosen


def test_a_destination_s_port_that_is_taken() -> None:
    """The next port is tried where answers from this one belong to somebody else."""
    taken = entry(4000, 5, Tuple(src="10.2.0.2", dst="10.1.0.2", sport=5, dport=4000))
    assert bound_to("dst", NatRange(ports=PortRange(5, 9)), 4000, 80, [taken]).dport == port(6)
    assert bound_to("dst", NatRange(ports=PortRange(5, 9)), 4000, 80, random=True).dport == DrawnPort(5, 9, 1)


def test_a_source_keeps_what_fits() -> None:
    """A port in the range is kept unless it is taken; one outside is drawn."""
    to = NatRange(lo="10.1.0.2", ports=PortRange(4000, 4010))
    assert bound_to("src", to, 4000, 7).sport == port(4000)
    assert bound_to("src", to, 5000, 7).sport == DrawnPort(4000, 4010, 1)
    taken = entry(9, 7, Tuple(src="10.2.0.2", dst="10.1.0.2", sport=7, dport=4000))
    assert bound_to("src", to, 4000, 7, [taken]).sport == DrawnPort(4000, 4010, 1)
    assert bound_to("src", NatRange(), 4000, 7, [taken]).sport == DrawnPort(1024, 65535, 1)


def test_the_same_source_gets_the_same_translation() -> None:
    """An earlier connection of the same address and port says what it becomes, where that fits."""
    to = NatRange(lo="10.2.0.1", hi="10.2.0.9")
    earlier = ConntrackEntry(
        proto="udp",
        original=Tuple(src="10.1.0.2", dst="9.9.9.9", sport=4000, dport=7),
        reply=Tuple(src="9.9.9.9", dst="10.2.0.7", sport=7, dport=1234),
    )
    found = bound_to("src", to, 4000, 7, [earlier])
    assert (found.src, found.sport) == ("10.2.0.7", port(1234))
    assert bound_to("src", NatRange(lo="10.3.0.1", hi="10.3.0.1"), 4000, 7, [earlier]).src == "10.3.0.1"
    assert bound_to("src", to, 4001, 7, [earlier]).sport == port(4001)


def test_connections_of_this_walk_count_too() -> None:
    """What an earlier packet of the walk was bound to is taken, in its zone."""
    run = Run(snapshot=router().snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    first = Tup("udp", "10.1.0.2", "10.2.0.2", port(4000), port(7))
    other = Conn(netns="r", original=first, reply=mirrored(first)._replace(dst="10.2.0.1"))
    run.conns["r"] = [other]
    for zone, expected in ((Zone(), "10.2.0.1"), (Zone(5), "10.2.0.3")):
        conn = Conn(
            netns="r",
            original=first._replace(dst="10.2.0.5"),
            reply=mirrored(first._replace(dst="10.2.0.5")),
            zone=zone,
        )
        bind(run, conn, "src", NatRange(lo="10.2.0.1" if zone == Zone() else "10.2.0.3", hi="10.2.0.3"))
        assert conn.reply.dst == expected
