"""Cases on which the walk and the kernel once differed about what a device takes, refuses or gives."""

import os

import pytest
from msgspec.structs import replace

from tests.oracle.case import Probe, State
from tests.oracle.opened import Benches
from tests.oracle.run import bench

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


_BACK = "ip link set eth0 up\nip route add default via 10.244.1.1"


@pytest.mark.parametrize(
    ("topology", "loader", "proto", "to", "dst"),
    [
        ("vxlan", "iptables-restore", "icmp", "10.244.2.2", "10.244.1.2"),
        ("vxlan-6", "ip6tables-restore", "icmpv6", "fd00:244:2::2", "fd00:244:1::2"),
    ],
)
def test_what_a_bridge_put_together_leaves_whole(
    benches: Benches, topology: str, loader: str, proto: str, to: str, dst: str
) -> None:
    """
    br_netfilter has connections see whole packets, and the host forgets that there were fragments.

    So what fitted the sender's device comes back too large for it.
    """
    rules = f"*nat\n-A PREROUTING -j DNAT --to-destination {to}\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    if topology == "vxlan":  # the tunnel's own packets go their way
        rules = rules.replace("-j", "! -p udp -j")
    state = State(
        topology=topology,
        rules=(("node1", loader, rules),),
        commands=(("pod2", "ip link set eth0 mtu 1300", "ip link set eth0 mtu 1450"),),
    )
    probe = Probe(source="pod2", dst=dst, proto=proto, size=1400, df=False, icmp_id=200)
    assert benches.agreed(state, probe).walk.verdict == "TOO_BIG"


def test_what_a_bridge_put_together_may_be_taken_apart(benches: Benches) -> None:
    """Of a packet that came in fragments nobody is told that it is too big (skb->ignore_df)."""
    state = State(
        topology="vxlan-6",
        commands=(
            ("node2", "ip link set flannel.1 mtu 1300", "ip link set flannel.1 mtu 1450"),
            ("pod2", "ip link set eth0 mtu 1300", "ip link set eth0 mtu 1450"),
        ),
    )
    probe = Probe(source="pod2", dst="fd00:244:1::2", proto="icmpv6", size=1400, df=False, icmp_id=206)
    pair = benches.agreed(state, probe)  # the answer, which is whole, does not fit where the request fitted
    assert [leg.verdict for leg in pair.walk.paths[0].legs] == ["DELIVERED", "TOO_BIG"]


@pytest.mark.parametrize(("proto", "port"), [("udp", 53), ("icmp", None)])
def test_what_a_device_refuses_is_lost(benches: Benches, proto: str, port: int | None) -> None:
    """A known neighbour or not: a sender that waits for an answer waits (ENOBUFS without IP_RECVERR)."""
    rules = (
        "add table netdev dev\n"
        'add chain netdev dev egress { type filter hook egress device "eth0" priority 0; policy accept; }\n'
        "add rule netdev dev egress ether type ip drop\n"
    )
    state = State(
        topology="pods",
        rules=(("pod1", "nft -f -", rules),),
        commands=(
            (
                "pod1",
                "ip neigh replace 10.244.1.3 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
                "ip neigh del 10.244.1.3 dev eth0",
            ),
        ),
    )
    sport = 3001 if port else None
    probe = Probe(source="pod1", dst="10.244.1.3", proto=proto, dport=port, sport=sport, icmp_id=9)
    for dst in ("10.244.1.3", "10.244.1.1"):
        pair = benches.agreed(state, replace(probe, dst=dst))
        assert (pair.walk.verdict, pair.walk.paths[0].errno) == ("DROPPED_BY_RULE", None)


def test_an_error_about_another_s_echo_is_nobody_s(benches: Benches) -> None:
    """Raw sockets hear errors by their address; whose identifier NAT has changed is not told of this one."""
    untracked = "*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n"
    state = State(
        topology="pods",
        rules=(
            (
                "pod1",
                "iptables-restore",
                f"{untracked}*nat\n-A POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n",
            ),
            (
                "node",
                "iptables-restore",
                "*filter\n-A FORWARD -j REJECT --reject-with icmp-net-unreachable\nCOMMIT\n",
            ),
        ),
    )
    probe = Probe(source="pod1", dst="192.168.50.100", proto="icmp", icmp_id=13770)
    pair = benches.agreed(state, probe)
    assert (pair.walk.verdict, pair.walk.outcome) == ("REJECTED", "timeout")


def test_what_mss_a_client_outside_announces_is_not_known() -> None:
    """A frame that comes in may have any: the MTU of the device that takes it says nothing."""
    rules = (
        "add table inet one\n"
        "add chain inet one pre { type filter hook prerouting priority 0; policy accept; }\n"
        "add rule inet one pre tcp option maxseg size > 1000 drop\n"
    )
    change = ("node", "ip link set eth0 mtu 640", "ip link set eth0 mtu 1500")
    state = State(topology="pods", rules=(("node", "nft -f -", rules),), commands=(change,))
    probe = Probe(
        source="node", device="eth0", src="10.244.1.3", dst="10.244.1.1", proto="tcp", dport=80, sport=3101
    )
    with bench("pods") as one:
        one.enter(state)
        pair = one.pair(probe)
        one.leave()
    assert pair.judgement.agrees is None
    assert "the MSS that a client outside" in pair.walk.paths[0].reason


def test_a_finished_checksum_and_a_changed_header_are_not_followed() -> None:
    """CHECKSUM_COMPLETE goes stale with an IPv6 header that a rule changes: honest, not connected."""
    dscp = "*mangle\n-A PREROUTING -j DSCP --set-dscp 0x08\nCOMMIT\n"
    state = State(
        topology="router-6",
        rules=(
            ("client", "ip6tables-restore", "*mangle\n-A POSTROUTING -j CHECKSUM --checksum-fill\nCOMMIT\n"),
            ("r", "ip6tables-restore", dscp),
        ),
    )
    probe = Probe(source="client", dst="fd00:2::1", proto="udp", dport=7, sport=3102)
    with bench("router-6") as one:
        one.enter(state)
        pairs = [one.pair(replace(probe, dst=dst)) for dst in ("fd00:2::1", "fd00:2::2")]
        one.leave()
    assert [pair.judgement.agrees for pair in pairs] == [None, True]
    assert "checksum" in pairs[0].walk.paths[0].reason


@pytest.mark.parametrize("state", ["stale", "reachable"])
def test_what_a_bridge_translates_may_pass_its_own_egress(state: str) -> None:
    """
    By a neighbour that is to be confirmed it goes out of the bridge's device, and back into the bridge.

    By one that is connected it does only where the host has never sent to it, which is not told.
    """
    rules = (
        "add table netdev dev\nadd chain netdev dev out { type filter hook egress device cni0 priority 0; }\n"
        "add rule netdev dev out ip daddr 10.244.1.2 tcp dport 9376 drop\n"
    )
    dnat = "*nat\n-A PREROUTING -d 192.168.50.100 -j DNAT --to-destination 10.244.1.2\nCOMMIT\n"
    change = "ip neigh change 10.244.1.2 dev cni0 nud"
    one = State(
        topology="pods",
        rules=(("node", "nft -f -", rules), ("node", "iptables-restore", dnat)),
        commands=(("node", f"{change} {state}", f"{change} reachable"),),
    )
    probe = Probe(source="pod2", dst="192.168.50.100", proto="tcp", dport=9376, sport=18112)
    with bench("pods") as own:
        pairs = []
        first = replace(probe, source="node", dst="10.244.1.2")
        for what, sent in ((State(topology="pods"), first), (one, probe)):
            own.enter(what)
            pairs.append(own.pair(sent))
            own.leave()
    known, pair = pairs
    assert known.judgement.agrees
    if state == "stale":
        assert pair.judgement.agrees
        assert pair.walk.verdict == "DROPPED_BY_RULE"
        return
    assert pair.judgement.agrees is None
    assert "whether cni0 of node has sent to 10.244.1.2 before" in pair.walk.paths[0].reason


@pytest.mark.parametrize(("rule", "agrees"), [("-j REJECT", None), ("-j DROP", True)])
def test_a_rule_answers_the_copies_of_a_flooded_frame(rule: str, agrees: bool | None) -> None:
    """Of a frame for who is not there the sender hears, where a rule rejects what is flooded: unknown."""
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", f"*filter\n-A FORWARD -d 10.244.1.3 {rule}\nCOMMIT\n"),),
        commands=(
            ("pod2", "ip link set eth0 down", "ip link set eth0 up\nip route add default via 10.244.1.1"),
        ),
    )
    probe = Probe(source="pod1", dst="10.244.1.3", proto="tcp", dport=80, sport=18113)
    with bench("pods") as one:
        one.enter(State(topology="pods"))
        known = one.pair(probe)
        one.leave()
        one.enter(state)
        pair = one.pair(probe)
        one.leave()
    assert known.judgement.agrees
    assert pair.judgement.agrees is agrees
    if agrees is None:
        assert "a rule answers the copy for" in pair.walk.paths[0].reason
