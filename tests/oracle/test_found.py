"""Cases on which the walk and the kernel once differed, as the oracle found and shrank them."""

import os

import pytest

from tests.oracle.case import Probe, State
from tests.oracle.opened import Benches

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_ISOLATED = "bridge link set dev veth1 isolated on\nbridge link set dev veth2 isolated on"
_JOINED = "bridge link set dev veth1 isolated off\nbridge link set dev veth2 isolated off"
_PREROUTING = """add table ip t
add chain ip t c { type filter hook prerouting priority -50; policy accept; }
"""
_BRIDGED = """add table bridge t
add chain bridge t c {{ type filter hook forward priority {}; policy accept; }}
add rule bridge t c meta protocol ip counter meta mark set 7
"""
_TO_POD1 = "*nat\n-A PREROUTING -d 10.244.1.3 -j DNAT --to-destination 10.244.1.2\nCOMMIT\n"


def test_hairpin_of_an_isolated_port(benches: Benches) -> None:
    """An isolated port does not get back what came by it, hairpin or not."""
    udp = Probe(source="pod1", dst="10.244.1.3", proto="udp", dport=53, sport=2001)
    benches.agreed(State(topology="pods"), udp)  # so that pod1 knows its neighbour
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", _TO_POD1),),
        commands=(("node", _ISOLATED, _JOINED),),
    )
    assert benches.agreed(state, udp).walk.verdict == "BRIDGE_DROPPED"


def test_a_route_out_by_lo(benches: Benches) -> None:
    """What is sent by lo is delivered, also where no address of the namespace is meant."""
    state = State(
        topology="router",
        commands=(
            (
                "r",
                "ip addr add 10.2.0.2/32 dev lo\nip route add 10.99.0.0/24 via 10.2.0.2",
                "ip route del 10.99.0.0/24 via 10.2.0.2\nip addr del 10.2.0.2/32 dev lo",
            ),
        ),
    )
    for proto, port in (("udp", 9), ("tcp", 80), ("tcp", 81), ("icmp", None)):
        sport = 2100 if port else None
        probe = Probe(source="r", dst="10.99.0.1", proto=proto, dport=port, sport=sport, icmp_id=7)
        assert benches.agreed(state, probe).walk.outcome == "timeout"


@pytest.mark.parametrize(
    ("df", "size", "verdict"), [(True, 700, "TOO_BIG"), (False, 700, "DELIVERED"), (True, 640, "DELIVERED")]
)
def test_the_size_of_a_bridge_port(benches: Benches, df: bool, size: int, verdict: str) -> None:
    """The MTU of a port counts after all hooks; with br_netfilter the bridge fragments."""
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", "*mangle\n-A POSTROUTING -j MARK --set-mark 1\nCOMMIT\n"),),
        commands=(("node", "ip link set veth2 mtu 640", "ip link set veth2 mtu 1500"),),
    )
    probe = Probe(source="pod1", dst="10.244.1.3", proto="udp", dport=53, sport=2200 + size, size=size, df=df)
    assert benches.agreed(state, probe).walk.verdict == verdict


def test_a_blackhole_where_forwarding_is_off(benches: Benches) -> None:
    """The kernel calls a blackhole route an address that is not here where it does not forward."""
    state = State(
        topology="router",
        sysctls=(("r", "net.ipv4.conf.c.forwarding", "0"),),
        commands=(("r", "ip route add blackhole 10.2.0.2/32", "ip route del blackhole 10.2.0.2/32"),),
    )
    pair = benches.agreed(state, Probe(source="client", dst="10.2.0.2", proto="udp", dport=7, sport=2300))
    assert pair.walk.verdict == "BLACKHOLED"
    assert [lost.reason for lost in pair.sighting.lost or ()] == ["IP_INADDRERRORS"]


def test_bytes_of_an_echo_with_a_drawn_identifier(benches: Benches) -> None:
    """Where NAT draws an echo's identifier, tests of bytes go on without it."""
    masquerade = "*nat\n-A POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n"
    bytes_of = (
        "*filter\n-A INPUT -m u32 --u32 0>>28=4 -m u32 --u32 20=1:2 -j DROP\n-A INPUT -j ACCEPT\nCOMMIT\n"
    )
    state = State(
        topology="router",
        rules=(("r", "iptables-restore", masquerade), ("server", "iptables-legacy-restore", bytes_of)),
    )
    pair = benches.agreed(state, Probe(source="client", dst="10.2.0.2", proto="icmp", icmp_id=77))
    assert pair.walk.outcome == "connected"


_OLD = "-p tcp -s 10.1.0.130 -d 10.2.0.2 --sport {sport} --dport 80 -t 100"


@pytest.mark.parametrize("tcp", ["SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"])
@pytest.mark.parametrize("nat", ["--dst-nat 10.2.0.2", "--dst-nat 10.1.0.1", "--src-nat 10.2.0.1"])
def test_a_syn_meets_an_old_entry(benches: Benches, tcp: str, nat: str) -> None:
    """An old connection's entry decides on a SYN that it does not fit, and its NAT holds."""
    state = State(topology="router", rules=(("r", "iptables-restore", "*nat\n:PREROUTING ACCEPT\nCOMMIT\n"),))
    stale = (("r", f"{_OLD} --state {tcp} -u SEEN_REPLY {nat}"),)
    sport = 3000 + 10 * len(tcp) + len(nat)
    probe = Probe(
        source="client", src="10.1.0.130", dst="10.2.0.2", proto="tcp", dport=80, sport=sport, stale=stale
    )
    benches.agreed(state, probe)


def test_an_old_entry_where_nobody_translates(benches: Benches) -> None:
    """Without a nat chain in the namespace an entry's NAT is not done."""
    stale = (
        ("client", "-p udp -s 10.1.0.130 -d 10.2.0.2 --sport {sport} --dport 7 -t 100 --dst-nat 10.1.0.1"),
    )
    probe = Probe(
        source="client", src="10.1.0.130", dst="10.2.0.2", proto="udp", dport=7, sport=3300, stale=stale
    )
    assert benches.agreed(State(topology="router"), probe).walk.outcome == "timeout"


def test_an_old_entry_that_nat_has_not_decided(benches: Benches) -> None:
    """Rules of nat see packets of a connection that is older than they are, and bind nothing."""
    rules = "*nat\n-A PREROUTING -j DNAT --to-destination 10.1.0.1\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    state = State(topology="router", rules=(("r", "iptables-restore", rules),))
    stale = (("r", "-p udp -s 10.1.0.130 -d 10.2.0.2 --sport {sport} --dport 7 -t 100"),)
    probe = Probe(
        source="client", src="10.1.0.130", dst="10.2.0.2", proto="udp", dport=7, sport=3400, stale=stale
    )
    assert benches.agreed(state, probe).walk.outcome == "connected"


@pytest.mark.parametrize(("mtu", "hole", "outcome"), [(1500, 640, "stalls"), (640, 640, "connected")])
def test_full_size_segments(benches: Benches, mtu: int, hole: int, outcome: str) -> None:
    """A bridge port that is too narrow stops what the ends agreed on, and tells nobody."""
    state = State(
        topology="pods",
        commands=(
            ("pod2", f"ip link set eth0 mtu {mtu}", "ip link set eth0 mtu 1500"),
            ("node", f"ip link set veth2 mtu {hole}", "ip link set veth2 mtu 1500"),
        ),
    )
    probe = Probe(source="pod1", dst="10.244.1.3", proto="tcp", dport=9376, sport=3500 + mtu, talk=True)
    assert benches.agreed(state, probe).walk.outcome == outcome


@pytest.mark.parametrize(("proto", "port", "outcome"), [("udp", 7, "denied"), ("tcp", 80, "timeout")])
def test_answers_that_an_old_entry_would_take(benches: Benches, proto: str, port: int, outcome: str) -> None:
    """Where nobody translates, a connection whose answers fit an old entry is not begun."""
    old = f"-p {proto} -s 10.2.0.2 -d 10.1.0.130 --sport {port} --dport {{sport}} -t 100 --dst-nat 10.2.0.1"
    state = " --state ESTABLISHED" if proto == "tcp" else ""
    stale = (("client", f"{old}{state} -u SEEN_REPLY"),)
    probe = Probe(
        source="client",
        src="10.1.0.130",
        dst="10.2.0.2",
        proto=proto,
        dport=port,
        sport=3600 + port,
        stale=stale,
    )
    assert benches.agreed(State(topology="router"), probe).walk.outcome == outcome


@pytest.mark.parametrize(("df", "errno"), [(True, "EMSGSIZE"), (False, "ECONNREFUSED")])
def test_a_second_route_that_is_too_narrow(benches: Benches, df: bool, errno: str) -> None:
    """After OUTPUT has changed the destination the packet has to fit the route that it has then."""
    rules = "*nat\n-A OUTPUT -p udp -j DNAT --to-destination 10.2.0.2:81\nCOMMIT\n"
    state = State(
        topology="router",
        rules=(("r", "iptables-restore", rules),),
        commands=(("r", "ip link set s mtu 640", "ip link set s mtu 1500"),),
    )
    probe = Probe(source="r", dst="10.1.0.2", proto="udp", dport=7, sport=3700 + df, size=700, df=df)
    assert benches.agreed(state, probe).walk.paths[0].errno == errno


def test_nobody_is_told_of_a_frame_for_another(benches: Benches) -> None:
    """A bridged packet whose new destination has no neighbour is gone without an error."""
    rules = "*nat\n-A PREROUTING -d 10.244.1.3 -j DNAT --to-destination 10.244.1.77\nCOMMIT\n"
    udp = Probe(source="pod1", dst="10.244.1.3", proto="udp", dport=53, sport=3801)
    benches.agreed(State(topology="pods"), udp)
    state = State(topology="pods", rules=(("node", "iptables-restore", rules),))
    assert benches.agreed(state, udp).walk.outcome == "timeout"


def test_a_server_has_a_tos_of_its_own(benches: Benches) -> None:
    """The segments of a server do not have the client's TOS."""
    state = State(
        topology="router",
        commands=(("r", "ip rule add tos 0x10 prio 104 blackhole", "ip rule del tos 0x10 prio 104"),),
    )
    probe = Probe(source="client", dst="10.1.0.1", proto="tcp", dport=80, sport=3900, tos=0x10, talk=True)
    assert benches.agreed(state, probe).walk.outcome == "connected"


@pytest.mark.parametrize(("source", "sport"), [("node1", 3950), ("pod1", 3951)])
def test_whose_socket_an_outer_packet_has(benches: Benches, source: str, sport: int) -> None:
    """What a socket of the node sends keeps it in the tunnel; what the node forwards has none."""
    rules = "*mangle\n-A POSTROUTING -p udp -m owner ! --socket-exists -j NFLOG --nflog-group 9\nCOMMIT\n"
    state = State(topology="vxlan", rules=(("node1", "iptables-restore", rules),))
    probe = Probe(source=source, dst="10.244.2.2", proto="tcp", dport=9376, sport=sport, talk=True)
    assert benches.agreed(state, probe).walk.outcome == "connected"


def test_bridged_and_translated_without_a_route(benches: Benches) -> None:
    """A packet that br_netfilter finds no way for goes up to the host, by the bridge's own ingress hook."""
    rules = """add table ip one
add chain ip one nat { type nat hook prerouting priority -110; policy accept; }
add rule ip one nat dnat to 10.244.1.3
add table inet dev
add chain inet dev up { type filter hook ingress device cni0 priority 74; }
add rule inet dev up counter
"""
    state = State(
        topology="pods",
        rules=(("node", "nft -f -", rules),),
        commands=(("node", "ip rule add to 10.244.1.3 prio 9 blackhole", "ip rule del prio 9"),),
    )
    probe = Probe(source="pod1", dst="192.168.50.100", proto="udp", dport=53, sport=3970)
    assert benches.agreed(state, probe).walk.verdict == "BLACKHOLED"


def test_the_hooks_of_a_bridge_behind_br_netfilter(benches: Benches) -> None:
    """A frame that br_netfilter translated passes the bridge's later chains before its neighbour is asked."""
    rules = """add table ip one
add chain ip one nat { type nat hook prerouting priority -110; }
add rule ip one nat dnat to 10.244.1.77
add table bridge br
add chain bridge br pre { type filter hook prerouting priority 9; }
add rule bridge br pre ip daddr 10.244.1.77 counter
"""
    state = State(topology="pods", rules=(("node", "nft -f -", rules),))
    probe = Probe(source="pod1", dst="192.168.50.100", proto="udp", dport=53, sport=3990)
    assert benches.agreed(state, probe).walk.verdict == "NEIGHBOUR_FAILED"


def test_the_type_of_the_device_that_is_left_by(benches: Benches) -> None:
    """Meta iiftype, and with it ``ether type``, is told of skb->dev: behind routing what is left by."""
    rules = """add table netdev dev
add chain netdev dev out { type filter hook egress device eth0 priority 0; }
add rule netdev dev out ether type ip counter
add table inet one
add chain inet one out { type filter hook output priority 0; }
add rule inet one out meta iiftype ether counter
add chain inet one post { type filter hook postrouting priority 0; }
add rule inet one post meta iiftype ether counter
"""
    state = State(topology="router", rules=(("server", "nft -f -", rules),))
    probe = Probe(source="server", dst="10.1.0.2", proto="udp", dport=80, sport=3980)
    assert benches.agreed(state, probe).judgement.agrees


def test_the_next_hop_of_what_is_bridged(benches: Benches) -> None:
    """A bridged packet has a route of the bridge's own, whose next hop is where it goes (rt ip nexthop)."""
    rules = """add table inet one
add chain inet one pass { type filter hook forward priority 76; }
add rule inet one pass rt ip nexthop 10.244.1.2 accept
"""
    state = State(topology="pods", rules=(("node", "nft -f -", rules),))
    probe = Probe(source="pod1", dst="10.244.1.3", proto="tcp", dport=9376, sport=3981)
    assert benches.agreed(state, probe).walk.outcome == "connected"


def test_nobody_here_sent_what_came_in(benches: Benches) -> None:
    """An answer to an address of this host that somebody outside called from finds no socket here."""
    rules = "*mangle\n-A INPUT -p tcp -m socket -j NFLOG --nflog-group 9\nCOMMIT\n"
    state = State(
        topology="router",
        rules=(("r", "iptables-restore", rules),),
        sysctls=(("r", "net.ipv4.conf.all.accept_local", "1"),),
    )
    probe = Probe(source="r", device="c", src="10.2.0.1", dst="10.2.0.2", proto="tcp", dport=81, sport=3982)
    assert benches.agreed(state, probe).judgement.agrees


@pytest.mark.parametrize("priority", [-1, 1])
def test_br_netfilter_stands_at_priority_0_of_forward(benches: Benches, priority: int) -> None:
    """A chain of the bridge at -1 comes before iptables' FORWARD, one at 1 behind it."""
    state = State(
        topology="pods",
        rules=(
            (
                "node",
                "nft -f -",
                _BRIDGED.format(priority),
            ),
            ("node", "iptables-restore", "*filter\n-A FORWARD -m mark --mark 7 -j DROP\nCOMMIT\n"),
        ),
    )
    probe = Probe(source="pod1", dst="10.244.1.3", proto="udp", dport=53, sport=4001)
    assert benches.agreed(state, probe).walk.outcome == ("timeout" if priority < 0 else "connected")


def test_a_flooded_frame_passes_the_hooks_once_for_each_port(benches: Benches) -> None:
    """The walk follows the copy that arrives."""
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", "*filter\n-A FORWARD -j NFLOG\nCOMMIT\n"),),
        commands=(
            (
                "node",
                "ip link set veth2 type bridge_slave learning off fdb_flush",
                "bridge link set dev veth2 learning on",
            ),
        ),
    )
    probe = Probe(source="pod1", dst="10.244.1.3", proto="tcp", dport=80, sport=4002)
    found = benches.agreed(state, probe)
    assert any(step.verdict == "flood" for leg in found.walk.paths[0].legs for step in leg.steps)


def test_what_goes_round_for_ever_is_not_seen_beside_others(benches: Benches) -> None:
    """A rule that sets the TTL keeps a packet in its circle until the state is taken back."""
    state = State(
        topology="router",
        rules=(("r", "iptables-restore", "*mangle\n-A PREROUTING -j TTL --ttl-set 64\nCOMMIT\n"),),
        commands=(
            (
                "client",
                "sysctl -qw net.ipv4.conf.eth0.forwarding=1",
                "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
            ),
            ("r", "ip route add 10.99.0.0/24 via 10.1.0.2", "ip route del 10.99.0.0/24 via 10.1.0.2"),
        ),
    )
    circle = Probe(source="server", dst="10.99.0.1", proto="udp", dport=9, sport=5000)
    other = Probe(source="client", dst="10.2.0.2", proto="udp", dport=7, sport=5001)
    pair = benches.agreed(state, circle, other)
    assert not pair.sighting.endless
    assert pair.walk.outcome == "connected"


def test_a_zone_is_asked_for_once(benches: Benches) -> None:
    """An error that OUTPUT looked for in a zone is looked for again behind lo, where no rule names one."""
    rules = "*raw\n-A OUTPUT -p icmp -j CT --zone 5\nCOMMIT\n"
    rules += "*nat\n-A OUTPUT -j DNAT --to-destination 10.1.0.2\nCOMMIT\n"
    state = State(topology="router", rules=(("client", "iptables-legacy-restore", rules),))
    probe = Probe(source="client", dst="127.0.0.1", proto="udp", dport=7, sport=25352)
    assert benches.agreed(state, probe).walk.paths[0].errno == "ECONNREFUSED"
