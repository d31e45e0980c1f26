"""Cases on which the walk and the kernel once differed about a packet that is routed again."""

import os

import pytest
from msgspec.structs import replace

from tests.oracle.case import Probe, State
from tests.oracle.opened import Benches

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_LOCAL = "ip -6 route {} local fd00:99::1/128 dev lo"
_BLACKHOLE = "ip -6 rule {} fwmark 0x1/0x1 prio 100 blackhole"
_TO_A_POD = "*nat\n-A OUTPUT -p tcp -j DNAT --to-destination 10.244.1.2\nCOMMIT\n"
_MSS = (536, 1220, 1300)


def _connected_behind_lo(at: str) -> str:
    """Rules by which an answer over lo meets its connection, which has another zone, only there."""
    return f"*raw\n-A PREROUTING -j CT --zone 5\nCOMMIT\n*nat\n-A INPUT -j SNAT --to-source {at}\nCOMMIT\n"


def test_what_lo_gives_back_is_routed_for_its_new_destination(benches: Benches) -> None:
    """The route it brought along is dropped with the address (nf_nat_ipv6_in): the answer is forwarded."""
    state = State(topology="router-6", rules=(("r", "ip6tables-restore", _connected_behind_lo("fd00:1::1")),))
    probe = Probe(source="client", dst="fd00:2::1", proto="icmpv6", icmp_id=160)
    assert benches.agreed(state, probe).walk.outcome == "connected"


@pytest.mark.parametrize(("proto", "port"), [("tcp", 81), ("udp", 9)])
def test_what_lo_gives_back_may_not_come_from_here(benches: Benches, proto: str, port: int) -> None:
    """IPv4 asks anew too (nf_nat_ipv4_pre_routing), and a source of one's own is no source from outside."""
    state = State(topology="router", rules=(("r", "iptables-restore", _connected_behind_lo("10.2.0.1")),))
    probe = Probe(source="client", dst="10.1.0.1", proto=proto, dport=port, sport=17150)
    pair = benches.agreed(state, probe)
    assert pair.walk.outcome == "timeout"
    assert pair.walk.paths[0].legs[1].verdict == "MARTIAN"


@pytest.mark.parametrize(("proto", "port"), [("tcp", 80), ("tcp", 81), ("icmpv6", None), ("udp", 9)])
def test_a_local_route_answers_for_its_address(benches: Benches, proto: str, port: int | None) -> None:
    """Of IPv6 nobody asks whether the address of an answer is one of a device."""
    state = State(topology="router-6", commands=(("r", _LOCAL.format("add"), _LOCAL.format("del")),))
    sport = 21146 if port else None
    probe = Probe(source="client", dst="fd00:99::1", proto=proto, dport=port, sport=sport, icmp_id=7)
    assert benches.agreed(state, probe).walk.outcome == ("refused" if port in (81, 9) else "connected")


@pytest.mark.parametrize(("speaks", "errno"), [("client", "ECONNREFUSED"), ("r", "EHOSTUNREACH")])
def test_a_mark_leads_an_advertisement_away(benches: Benches, speaks: str, errno: str) -> None:
    """
    A message of ND passes OUTPUT, and is routed by the mark that it gets there.

    A solicitation goes to a group, which the local table has before any rule of ours.
    """
    rules = "*mangle\n-A OUTPUT -p icmpv6 -m icmp6 --icmpv6-type {} -j MARK --set-mark 1\nCOMMIT\n"
    state = State(
        topology="router-6",
        rules=((speaks, "ip6tables-restore", rules.format(135 if speaks == "client" else 136)),),
        commands=(
            (speaks, _BLACKHOLE.format("add"), _BLACKHOLE.format("del")),
            ("client", "ip -6 neigh flush all", "true"),
        ),
    )
    probe = Probe(source="client", dst="fd00:2::2", proto="udp", dport=9, sport=6425)
    assert benches.agreed(state, probe).walk.paths[0].errno == errno


@pytest.mark.parametrize(
    ("ip", "rule_set", "topology", "dst", "via"),
    [
        ("ip", "iptables-restore", "two-ways", "10.2.0.2", "10.3.0.1"),
        ("ip -6", "ip6tables-restore", "two-ways-6", "fd00:2::2", "fd00:3::1"),
    ],
)
def test_rules_of_a_protocol_lead_what_is_routed_again(
    benches: Benches, ip: str, rule_set: str, topology: str, dst: str, via: str
) -> None:
    """ip_route_me_harder reads the ports and the protocol from the packet (fib4_rules_early_flow_dissect)."""
    lines = [f"{ip} route {{}} default via {via} table 64", f"{ip} rule {{}} ipproto tcp prio 103 lookup 64"]
    make, unmake = (" && ".join(line.format(what) for line in lines) for what in ("add", "del"))
    state = State(
        topology=topology,
        rules=(("client", rule_set, "*mangle\n-A OUTPUT -j MARK --set-mark 1\nCOMMIT\n"),),
        commands=(("client", make, unmake),),
    )
    pair = benches.agreed(state, Probe(source="client", dst=dst, proto="tcp", dport=80, sport=6426))
    assert "eth1" in {step.device for step in pair.walk.paths[0].legs[0].steps}


@pytest.mark.parametrize(
    ("topology", "loader", "dst"),
    [("router", "iptables-restore", "10.2.0.2"), ("router-6", "ip6tables-restore", "fd00:2::2")],
)
def test_a_segment_without_an_mss_is_given_one(
    benches: Benches, topology: str, loader: str, dst: str
) -> None:
    """xt_TCPMSS, of which iptables-nft does not ask for SYN: at most 536 or 1220, and in none with data."""
    rules = "\n".join(
        (
            "*mangle",
            "-A FORWARD -p tcp -j TCPMSS --set-mss 1300",
            *(
                f"-A POSTROUTING -p tcp -m tcpmss --mss {mss} -j MARK --set-mark 1"
                for mss in (536, 1220, 1300)
            ),
            "-A POSTROUTING -p tcp -m tcp --tcp-option 2 -j MARK --set-mark 2",
            "COMMIT\n",
        )
    )
    state = State(topology=topology, rules=(("r", loader, rules),))
    call = Probe(source="client", dst=dst, proto="tcp", dport=80, sport=6427)
    benches.agreed(state, call, replace(call, talk=True, sport=6428), replace(call, dport=81, sport=6429))


def test_a_connection_that_only_a_reset_answered_is_forgotten(benches: Benches) -> None:
    """The RST that comes round once more is of no connection (nf_conntrack_tcp_packet kills it)."""
    rules = "*mangle\n-A PREROUTING -m conntrack --ctdir REPLY -j MARK --set-mark 1\nCOMMIT\n"
    state = State(topology="two-ways", rules=(("server", "iptables-restore", rules),))
    probe = Probe(
        source="server", device="eth1", src="10.99.0.1", dst="10.4.0.2", proto="tcp", dport=81, sport=21847
    )
    pair = benches.agreed(state, probe)
    assert not any(step.verdict == "MARK" for leg in pair.walk.paths[0].legs for step in leg.steps)


def test_an_answer_to_what_was_untracked_is_untracked_behind_lo(benches: Benches) -> None:
    """OUTPUT's tracking takes the RST for INVALID, and with that it is nobody's: NOTRACK takes it then."""
    rules = (
        "*raw\n-A PREROUTING -j CT --notrack\n-A OUTPUT -j CT --notrack\nCOMMIT\n"
        "*mangle\n-A INPUT -p tcp -m state --state INVALID -j MARK --set-mark 1\nCOMMIT\n"
        "*filter\n-A INPUT -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n"
    )
    state = State(topology="pods", rules=(("node", "iptables-restore", rules),))
    benches.agreed(state, Probe(source="node", dst="192.168.50.11", proto="tcp", dport=9376, sport=6431))


@pytest.mark.parametrize(
    ("asks", "hook", "device", "topology"),
    [
        ("client", "ingress", "eth0", "router-6"),
        ("r", "egress", "c", "router-6"),
        ("node", "ingress", "veth1", "pods-6"),
        ("node", "egress", "veth1", "pods-6"),
    ],
)
def test_discovery_passes_the_chains_of_devices(
    benches: Benches, asks: str, hook: str, device: str, topology: str
) -> None:
    """Unlike its answer, which is lost there, a solicitation is not what the rule is about."""
    kind = "nd-neighbor-advert" if asks != "node" or hook == "egress" else "nd-neighbor-solicit"
    rules = (
        "add table netdev dev\n"
        f'add chain netdev dev at {{ type filter hook {hook} device "{device}" priority 0; }}\n'
        f"add rule netdev dev at icmpv6 type {kind} drop\n"
    )
    source, dst = ("client", "fd00:2::2") if topology == "router-6" else ("pod1", "fd00:244:1::1")
    state = State(
        topology=topology,
        rules=((asks, "nft -f -", rules),),
        commands=((source, "ip -6 neigh flush all", "true"),),
    )
    probe = Probe(source=source, dst=dst, proto="udp", dport=9, sport=6432)
    assert benches.agreed(state, probe).walk.paths[0].errno == "EHOSTUNREACH"


@pytest.mark.parametrize(("device", "outcome"), [("cni0", "stalls"), ("lo", "connected")])
def test_a_route_to_an_own_address_takes_no_smaller_mtu(benches: Benches, device: str, outcome: str) -> None:
    """IPv4 has no exceptions where the address is of another device than lo (__mkroute_output)."""
    own = "192.0.2.5/32"
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", _TO_A_POD),),
        commands=(
            ("node", "ip link set veth2 mtu 640", "ip link set veth2 mtu 1500"),
            ("node", f"ip addr add {own} dev {device}", f"ip addr del {own} dev {device}"),
        ),
    )
    probe = Probe(source="node", dst="192.0.2.5", proto="tcp", dport=9376, sport=18111, talk=True)
    pair = benches.agreed(state, probe)
    assert pair.walk.outcome == outcome
    if outcome == "stalls":
        assert pair.walk.paths[0].reason.endswith("the sender takes no smaller MTU")
