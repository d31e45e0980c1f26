"""Every match: yes, no, or that it cannot be told."""

from typing import Any

import pytest

from nettrace.model.ipset import IpSet
from nettrace.model.packet import Packet, PortRange
from nettrace.parse.iptables import parse_rule
from nettrace.walk.context import Run
from nettrace.walk.limits import Limits
from nettrace.walk.matches import header_matches, match_matches
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint, Unsure
from nettrace.walk.skb import Conn, Skb, Tup
from tests.walk.worlds import flow, router

ANY_PORT = PortRange(32768, 60999)


def port(number: int) -> PortRange:
    """A port that is known."""
    return PortRange(number, number)


def packet(**fields: Any) -> Packet:
    """A SYN from 10.1.0.2 to 10.2.0.2:80."""
    return Packet(
        **{
            "src": "10.1.0.2",
            "dst": "10.2.0.2",
            "proto": "tcp",
            "sport": ANY_PORT,
            "dport": port(80),
            "tcp_flags": frozenset({"SYN"}),
            **fields,
        }
    )


def answer(spec: str, sent: Packet | None = None, *, hook: str = "forward", **skb: Any) -> bool | str:
    """Evaluate a rule in namespace r between its devices c and s: True, False, or why it is open."""
    world = router()
    world["r"].ipsets = [
        IpSet(name="ips", type="hash:ip", members=("10.1.0.2", "10.1.0.3")),
        IpSet(name="nets", type="hash:net", members=("10.0.0.0/8",), exceptions=("10.2.0.0/16",)),
        IpSet(name="pairs", type="hash:ip,port", members=("10.2.0.2,tcp:80", "10.2.0.3,udp:53")),
        IpSet(name="three", type="hash:ip,port,ip", members=("10.1.0.2,tcp:80,10.2.0.2",)),
        IpSet(name="ports", type="bitmap:port", members=("79", "80-90")),
        IpSet(name="both", type="list:set", members=("none", "nets")),
        IpSet(name="none", type="hash:ip"),
        IpSet(name="macs", type="hash:mac", members=("02:00:00:00:00:01",)),
        IpSet(name="six", type="hash:ip", family=6, members=("fd00::1",)),
        IpSet(name="ifaces", type="hash:net,iface", members=("10.1.0.0/24,c",)),
    ]
    run = Run(snapshot=world.snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    point = HookPoint(namespace(run, "r"), hook, "c", "s")
    frame = Skb(sent or packet(), "r", device="c", **skb)
    rule = parse_rule(spec)
    if not header_matches(frame, point, rule):
        return False
    unsure = None
    for match in rule.matches:
        one = match_matches(run, frame, point, match)
        if one is False:
            return False
        if isinstance(one, Unsure):
            unsure = one.reason
    return unsure or True


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-s 10.1.0.2/32", True),
        ("-s 10.1.0.0/24", True),
        ("! -s 10.1.0.0/24", False),
        ("-s 10.2.0.0/24", False),
        ("-d 10.2.0.2", True),
        ("! -d 10.2.0.2", False),
        ("-p tcp", True),
        ("-p 6", True),
        ("-p udp", False),
        ("! -p udp", True),
        ("-p all", True),
        ("-i c", True),
        ("-i s", False),
        ("! -i s", True),
        ("-o s", True),
        ("-o s+", True),
        ("-o ca+", False),
        ("-i +", True),
        ("-f", False),
        ("! -f", True),
        ("-p tcp -m tcp --dport 80", True),
        ("-p tcp -m tcp --dport 79:81", True),
        ("-p tcp -m tcp ! --dport 80", False),
        ("-p tcp -m tcp --dport 81", False),
        ("-p tcp -m tcp --sport 1:1023", False),
        ("-p tcp -m tcp --tcp-option 2", True),
        ("-p tcp -m tcp ! --tcp-option 2", False),
        ("-p tcp -m tcp --tcp-option 200", False),
        ("-p tcp -m tcp --sport 1024:65535", True),
        ("-p tcp -m tcp ! --sport 1:1023", True),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", True),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", False),
        ("-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK", False),
        ("-p udp -m udp --dport 80", False),
        ("-p icmp -m icmp --icmp-type 8", False),
        ("-m mark --mark 0x0/0x4000", True),
        ("-m mark --mark 0x4000/0x4000", False),
        ("-m mark ! --mark 0x4000/0x4000", True),
        ("-p tcp -m multiport --dports 79,80", True),
        ("-p tcp -m multiport --dports 79,81:90", False),
        ("-p tcp -m multiport ! --dports 79,81:90", True),
        ("-p tcp -m multiport --sports 1:100", False),
        ("-p tcp -m multiport --ports 80,443", True),
        ("-m comment --comment x", True),
        ("-m nfacct --nfacct-name  x", True),
        ("-m addrtype --dst-type UNICAST", True),
        ("-m addrtype --dst-type LOCAL", False),
        ("-m addrtype ! --dst-type LOCAL", True),
        ("-m addrtype --src-type LOCAL,UNICAST", True),
        ("-m conntrack --ctstate INVALID", True),
        ("-m conntrack --ctstate NEW", False),
        ("-m conntrack ! --ctstate NEW", True),
        ("-m conntrack --ctdir ORIGINAL", False),
        ("-m connmark --mark 0x0", False),
        ("-m connmark ! --mark 0x1", False),
        ("-m physdev --physdev-is-bridged", False),
        ("-m physdev ! --physdev-is-bridged", True),
        ("-m physdev --physdev-in veth1", False),
        ("-m rpfilter", True),
        ("-m rpfilter --invert", False),
        ("-m set --match-set ips src", True),
        ("-m set --match-set ips dst", False),
        ("-m set ! --match-set ips dst", True),
        ("-m set --match-set nets src", True),
        ("-m set --match-set nets dst", False),
        ("-m set --match-set pairs dst,dst", True),
        ("-m set --match-set pairs src,dst", False),
        ("-m set --match-set three src,dst,dst", True),
        ("-m set --match-set ports dst", True),
        ("-m set --match-set ports src", False),
        ("-m set --match-set both src", True),
        ("-m set --match-set both dst", False),
        ("-m set --match-set six src", False),
        ("-m set --match-set ifaces src,src", True),
        ("-m recent --name x --set", True),
        ("-m recent --name x --rcheck --seconds 60", False),
        ("-m recent --name x ! --rcheck --seconds 60", True),
    ],
)
def test_what_is_certain(spec: str, expected: bool) -> None:
    """A SYN from 10.1.0.2 to 10.2.0.2:80 passing through r."""
    assert answer(spec) is expected


@pytest.mark.parametrize(
    ("spec", "about"),
    [
        ("-p tcp -m tcp --sport 40000:50000", "source port"),
        ("-p tcp -m multiport --sports 40000", "source port"),
        ("-m limit --limit 5/min", "limit"),
        ("-m string --algo bm --string x", "string"),
        ("-m set --match-set macs src", "MAC"),
        ("-m set --match-set nobody src", "nobody"),
        ("-m limit --limit 1/sec", "limit"),
    ],
)
def test_what_cannot_be_told(spec: str, about: str) -> None:
    """What the snapshot does not hold is open, with words that say what."""
    found = answer(spec)
    assert isinstance(found, str)
    assert about in found


@pytest.mark.parametrize(
    ("spec", "sent", "expected"),
    [
        ("-p icmp -m icmp --icmp-type 8", packet(proto="icmp", icmp_type=8, icmp_code=0), True),
        ("-p icmp -m icmp --icmp-type 8/0", packet(proto="icmp", icmp_type=8, icmp_code=0), True),
        ("-p icmp -m icmp --icmp-type 3/4", packet(proto="icmp", icmp_type=3, icmp_code=4), True),
        ("-p icmp -m icmp --icmp-type 3/4", packet(proto="icmp", icmp_type=3, icmp_code=1), False),
        ("-p icmp -m icmp --icmp-type 3", packet(proto="icmp", icmp_type=3, icmp_code=1), True),
        ("-p icmp -m icmp ! --icmp-type 8", packet(proto="icmp", icmp_type=8, icmp_code=0), False),
        ("-p icmp -m icmp --icmp-type any", packet(proto="icmp", icmp_type=0, icmp_code=0), True),
        ("-p udp -m udp --dport 53", packet(proto="udp", dport=port(53)), True),
        ("-p udp -m udp --sport 53", packet(proto="udp", sport=port(53)), True),
        ("-m set --match-set pairs dst,dst", packet(proto="udp"), False),
        ("-m mark --mark 0x4000/0x4000", packet(mark=0x4001), True),
        ("-m addrtype --dst-type LOCAL", packet(dst="10.2.0.1"), True),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", packet(dst="10.2.0.1"), False),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", packet(dst="10.1.0.1"), True),
        ("-m addrtype --dst-type BROADCAST", packet(dst="10.2.0.255"), True),
        ("-m addrtype --dst-type MULTICAST", packet(dst="224.0.0.1"), True),
        ("-m rpfilter", packet(src="10.2.0.9"), False),
        ("-m rpfilter --loose", packet(src="10.2.0.9"), True),
        ("-m rpfilter --loose", packet(src="9.9.9.9"), False),
        ("-m rpfilter", packet(src="10.1.0.1"), False),
        ("-m rpfilter --loose --accept-local", packet(src="10.1.0.1"), True),
    ],
)
def test_other_packets(spec: str, sent: Packet, expected: bool) -> None:
    """Matches on packets of other protocols, marks and addresses."""
    assert answer(spec, sent) is expected


def connection(**fields: Any) -> Conn:
    """A connection to 10.96.0.1:80, translated to 10.2.0.2:80 and from 10.2.0.1."""
    return Conn(
        **{
            "netns": "r",
            "original": Tup("tcp", "10.1.0.2", "10.96.0.1", ANY_PORT, port(80)),
            "reply": Tup("tcp", "10.2.0.2", "10.2.0.1", port(8080), ANY_PORT),
            "dst_nat": True,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-m conntrack --ctstate NEW", True),
        ("-m conntrack --ctstate ESTABLISHED,RELATED", False),
        ("-m conntrack --ctstate DNAT", True),
        ("-m conntrack --ctstate SNAT", False),
        ("-m conntrack ! --ctstate DNAT", False),
        ("-m conntrack --ctdir ORIGINAL", True),
        ("-m conntrack --ctdir REPLY", False),
        ("-m conntrack --ctorigdst 10.96.0.1", True),
        ("-m conntrack ! --ctorigdst 10.96.0.0/12", False),
        ("-m conntrack --ctorigsrc 10.1.0.0/24", True),
        ("-m conntrack --ctreplsrc 10.2.0.2", True),
        ("-m conntrack --ctrepldst 10.2.0.2", False),
        ("-m conntrack --ctproto 6 --ctorigdstport 80", True),
        ("-m conntrack --ctproto 6 --ctreplsrcport 80", False),
        ("-m conntrack --ctproto 17", False),
        ("-m conntrack --ctstatus CONFIRMED", False),
        ("-m conntrack --ctstatus NONE", False),
        ("-m conntrack ! --ctstatus NONE", True),
        ("-m conntrack ! --ctstatus SEEN_REPLY", True),
        ("-m connmark --mark 0x5/0xf", True),
        ("-m connmark ! --mark 0x5/0xf", False),
        ("-m state --state NEW", True),
        ("-m state --state INVALID,UNTRACKED", False),
    ],
)
def test_what_conntrack_knows(spec: str, expected: bool) -> None:
    """The first packet of a connection whose destination was translated."""
    assert answer(spec, conn=connection(mark=0x15), state="NEW") is expected


def test_expiry_is_not_in_a_snapshot() -> None:
    """How long a connection lives on cannot be told."""
    found = answer("-m conntrack --ctexpire 10:20", conn=connection(), state="NEW")
    assert isinstance(found, str)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-m physdev --physdev-is-bridged", True),
        ("-m physdev ! --physdev-is-bridged", False),
        ("-m physdev --physdev-in veth1", True),
        ("-m physdev --physdev-in veth+", True),
        ("-m physdev ! --physdev-in veth1", False),
        ("-m physdev --physdev-out veth1", False),
        ("-m physdev --physdev-in veth1 --physdev-out veth2", True),
        ("-m physdev --physdev-is-in --physdev-is-out", True),
    ],
)
def test_ports_of_a_bridge(spec: str, expected: bool) -> None:
    """A frame that br_netfilter passes from port veth1 to veth2."""
    assert answer(spec, physin="veth1", physout="veth2") is expected


def test_untracked_is_a_state() -> None:
    """An untracked packet is UNTRACKED, not INVALID."""
    assert answer("-m conntrack --ctstate UNTRACKED", state="UNTRACKED") is True
    assert answer("-m conntrack --ctstate INVALID", state="UNTRACKED") is False


@pytest.mark.parametrize(("name", "number"), [("ipencap", "4"), ("4", "4"), ("esp", "50"), ("ipip", "94")])
def test_protocols_by_name(name: str, number: str) -> None:
    """`iptables -S` writes protocols by the names of /etc/protocols, in which IPIP is ipencap."""
    sent = packet(proto=number, sport=None, dport=None, tcp_flags=frozenset())
    assert answer(f"-p {name} -j DROP", sent) is True
    assert answer(f"! -p {name} -j DROP", sent) is False
    assert answer(f"-p {name} -j DROP") is False
