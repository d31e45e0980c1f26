"""Cases of IPv6 on which the walk and the kernel once differed, as the oracle found and shrank them."""

import os

import pytest
from msgspec.structs import replace

from nettrace.model.walk import Outcome
from tests.oracle.benches import MORE
from tests.oracle.case import Probe, State
from tests.oracle.opened import Benches

_UNTRACKED = """*raw
-A OUTPUT -j CT --notrack
COMMIT
*mangle
-A OUTPUT -p icmpv6 -m conntrack --ctstate INVALID -j DROP
COMMIT
*filter
-A OUTPUT -p tcp -j REJECT --reject-with icmp6-addr-unreachable
COMMIT
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _state(
    label: str,
    *lines: str,
    loader: str = "ip6tables-restore",
    table: str = "filter",
    do: str = "",
    undo: str = "",
    topology: str = "router-6",
) -> State:
    """Rules of one table, and a command, in one namespace."""
    text = "\n".join(lines) if loader == "nft -f -" else "\n".join([f"*{table}", *lines, "COMMIT"])
    return State(
        topology=topology,
        rules=((label, loader, f"{text}\n"),),
        commands=((label, do, undo),) if do else (),
    )


def test_a_cluster_goes_by_the_first_word_of_an_address(benches: Benches) -> None:
    """xt_cluster hashes four bytes of an IPv6 address, which all clients of a network have in common."""
    match = "-m cluster --cluster-total-nodes 2 --cluster-local-node {} --cluster-hash-seed 0xdeadbeef"
    state = _state(
        "r", *(f"-A PREROUTING -p udp {match.format(node)} -j MARK --set-mark {node}" for node in (1, 2)),
        table="mangle",
    )  # fmt: skip
    probes = (
        Probe(source="client", src=f"fd00:1::{n}", dst="fd00:2::2", proto="udp", dport=7) for n in (127, 130)
    )
    benches.agreed(state, *probes)


def test_an_error_comes_from_an_address_that_may_leave(benches: Benches) -> None:
    """An error about a packet to ::1 from outside does not come from ::1 (ipv6_chk_addr with a device)."""
    state = _state("r", "-A PREROUTING -j DNAT --to-destination ::1", table="nat")
    pair = benches.agreed(state, Probe(source="server", dst="fd00:99::1", proto="tcp", dport=80, sport=31584))
    assert pair.seen is not None
    assert pair.seen.outcome is Outcome.UNREACHABLE


def test_a_packet_that_output_sends_elsewhere_is_fragmented_there(benches: Benches) -> None:
    """What fitted lo does not fit the device that a translation leads to: UDP leaves in fragments."""
    state = _state(
        "r", "-A OUTPUT -p udp -j DNAT --to-destination fd00:2::2", table="nat",
        do="ip link set s mtu 1300", undo="ip link set s mtu 1500",
    )  # fmt: skip
    benches.agreed(state, Probe(source="r", dst="fd00:1::1", proto="udp", dport=7, sport=21223, size=1400))


def test_an_error_about_what_is_not_tracked_is_invalid(benches: Benches) -> None:
    """NOTRACK passes it by: it is tied to what it is about, which has no connection."""
    state = State(
        topology="router-6",
        rules=(
            (
                "client",
                "ip6tables-restore",
                _UNTRACKED,
            ),
        ),
    )
    pair = benches.agreed(state, Probe(source="client", dst="fd00:2::2", proto="tcp", dport=80, sport=17564))
    assert pair.seen is not None
    assert pair.seen.outcome is Outcome.TIMEOUT


def test_loopback_from_outside_is_a_header_that_is_wrong(benches: Benches) -> None:
    """A packet of ::1 that is translated leaves, and is dropped where it arrives (ip6_rcv_core)."""
    state = _state("r", "-A OUTPUT -j DNAT --to-destination fd00:2::2", table="nat")
    benches.agreed(state, Probe(source="r", dst="::1", proto="udp", dport=9, sport=6787))


def test_the_class_is_written_beside_the_flow_label(benches: Benches) -> None:
    """Setting dscp writes two bytes, of which the label's bits stay what they are."""
    state = _state(
        "r",
        "add table ip6 t",
        "add chain ip6 t c { type filter hook forward priority -50; policy accept; }",
        "add rule ip6 t c ip6 dscp set cs1",
        "add rule ip6 t c ip6 dscp cs1 counter accept",
        loader="nft -f -",
    )
    probe = Probe(source="client", dst="fd00:2::2", proto="udp", dport=7, sport=4001, tos=0xB8)
    assert benches.agreed(state, probe).seen is not None


def test_an_answered_entry_is_assured_by_the_next_datagram(benches: Benches) -> None:
    """Also by one of the first direction (nf_conntrack_udp_packet)."""
    state = _state(
        "client",
        "add table ip6 t",
        "add chain ip6 t c { type filter hook output priority -50; policy accept; }",
        "add rule ip6 t c ct status assured counter drop",
        loader="nft -f -",
    )
    ends = "-p udp -s fd00:1::144 -d fd00:2::2 --sport {sport} --dport 7"
    words = f"{ends} -t 100 -u SEEN_REPLY --dst-nat fd00:2::2"
    probe = Probe(
        source="client", src="fd00:1::144", dst="fd00:2::2", proto="udp", dport=7, sport=4002,
        stale=(("client", words),),
    )  # fmt: skip
    pair = benches.agreed(state, probe)
    assert pair.seen is not None
    assert pair.seen.errno == "EPERM"


def test_headers_that_no_packet_has(benches: Benches) -> None:
    """``ipv6header`` is listed with the names of /etc/protocols."""
    state = _state(
        "r",
        "-A FORWARD -m ipv6header --header prot -j MARK --set-mark 1",
        "-A FORWARD -m ipv6header --header frag,prot --soft -j MARK --set-mark 2",
        table="mangle",
    )
    benches.agreed(state, Probe(source="client", dst="fd00:2::2", proto="udp", dport=7, sport=4003))


def test_a_route_that_a_bridge_asks_for_and_does_not_get(benches: Benches) -> None:
    """A bridged packet that is translated and then prohibited ends in br_netfilter."""
    state = _state(
        "node", "-A PREROUTING -p tcp -j DNAT --to-destination fd00:50::100", table="nat",
        do="ip -6 rule add iif cni0 prio 101 prohibit", undo="ip -6 rule del iif cni0 prio 101 prohibit",
        topology="pods-6",
    )  # fmt: skip
    benches.agreed(state, Probe(source="pod1", dst="fd00:96::1", proto="tcp", dport=80, sport=31091))


def test_type_255_of_icmpv6_is_that_type(benches: Benches) -> None:
    """Unlike ICMP's it does not stand for all (icmp6_type_code_match)."""
    state = _state("client", "-A OUTPUT -p icmpv6 -m icmp6 --icmpv6-type 255 -j DROP")
    pair = benches.agreed(state, Probe(source="client", dst="fd00:2::2", proto="icmpv6", icmp_id=151))
    assert pair.walk.outcome is Outcome.CONNECTED


_LOOP = "ip -6 route add fd00:99::/64 via fd00:1::2", "ip -6 route del fd00:99::/64 via fd00:1::2"
_FORWARDS = (
    "client", "sysctl -qw net.ipv6.conf.all.forwarding=1", "sysctl -qw net.ipv6.conf.all.forwarding=0",
)  # fmt: skip


def _circle(*nat: str) -> State:
    """What r sends to fd00:99::/64 comes back from the client, and is translated each time."""
    return State(
        topology="router-6",
        rules=(("r", "ip6tables-restore", "\n".join(["*nat", *nat, "COMMIT\n"])),),
        commands=(_FORWARDS, ("r", *_LOOP)),
    )


def test_each_round_of_a_circle_is_a_connection_of_its_own(benches: Benches) -> None:
    """The error about the last round is translated as that was, and ends in the router."""
    state = _circle("-A POSTROUTING -j SNAT --to-source fd00:2::1")
    probes = (
        Probe(source="client", src="fd00:1::140", dst="fd00:99::1", proto="tcp", dport=81),
        Probe(source="client", dst="fd00:99::1", proto="icmpv6", icmp_id=297),
    )
    assert benches.agreed(state, *probes).walk.outcome == "timeout"


def test_an_identifier_that_is_taken_is_changed_at_the_first_hook(benches: Benches) -> None:
    """Unlike a port it may be, as destination NAT, which an error about the packet then shows."""
    state = _circle("-A POSTROUTING -j MASQUERADE")
    probe = Probe(source="client", src="fd00:1::135", dst="fd00:99::1", proto="icmpv6", icmp_id=298, ttl=3)
    steps = [step for leg in benches.agreed(state, probe).walk.paths[0].legs for step in leg.steps]
    assert steps[-1].before is not None
    assert (steps[-1].netns, steps[-1].before.src) == ("r", "fd00:99::1")


@pytest.mark.parametrize("kind", ["anycast", "unicast"])
def test_a_route_by_the_loopback_throws_away_behind_output(benches: Benches, kind: str) -> None:
    """Its lookup reports no error: OUTPUT sees the packet, an ICMPv6 error answers (ip6_pkt_discard_out)."""
    route = f"route {{}} {kind} fd00:99::1/128 dev lo"
    state = _state(
        "r", "-A OUTPUT -d fd00:99::1 -p udp -j REJECT --reject-with icmp6-adm-prohibited",
        do=f"ip -6 {route.format('add')}", undo=f"ip -6 {route.format('del')}",
    )  # fmt: skip
    tcp = Probe(source="r", dst="fd00:99::1", proto="tcp", dport=80, sport=23172)
    assert benches.agreed(state, tcp).walk.paths[0].errno == "ENETUNREACH"
    udp = Probe(source="r", dst="fd00:99::1", proto="udp", dport=7, sport=23173)
    assert benches.agreed(state, udp).walk.paths[0].errno == "EPERM"


def test_nobody_is_told_at_an_anycast_address(benches: Benches) -> None:
    """The address of flannel's device is also the first of cni0's network (icmpv6_route_lookup)."""
    state = _state("node1", "-A OUTPUT -j REJECT", topology="vxlan-6")
    probe = Probe(source="node1", dst="fd00:244:2::2", proto="tcp", dport=9376, sport=30051)
    assert benches.agreed(state, probe).walk.outcome == "timeout"


@pytest.mark.parametrize("kind", ["unicast", "unreachable"])
def test_the_type_of_an_address_without_a_route(benches: Benches, kind: str) -> None:
    """IPv6 asks for a route: no route is unreachable (__nft_fib6_eval_type)."""
    state = _state(
        "r",
        "add table ip6 t",
        "add chain ip6 t c { type filter hook prerouting priority -50; policy accept; }",
        f"add rule ip6 t c ip6 daddr 2001:db8::9 fib daddr type {kind} counter drop",
        loader="nft -f -",
    )
    probe = Probe(source="client", dst="2001:db8::9", proto="udp", dport=7, sport=4005)
    errno = None if kind == "unreachable" else "ENETUNREACH"
    assert benches.agreed(state, probe).walk.paths[0].errno == errno


def test_the_first_address_of_a_network_is_anycast(benches: Benches) -> None:
    """Also where this host has no such address (ipv6_anycast_destination)."""
    state = _state(
        "client",
        "add table ip6 t",
        "add chain ip6 t c { type filter hook output priority -50; policy accept; }",
        "add rule ip6 t c ip6 daddr fd00:1:: fib daddr type anycast counter drop",
        loader="nft -f -",
    )
    probe = Probe(source="client", dst="fd00:1::", proto="udp", dport=7, sport=4006)
    assert benches.agreed(state, probe).walk.outcome == "denied"


@pytest.mark.parametrize("rule", ["-j HL --hl-dec 3", "-p icmpv6 --icmpv6-type 136 -j HL --hl-set 64"])
def test_an_advertisement_with_another_hop_limit_is_not_heard(benches: Benches, rule: str) -> None:
    """ndisc_rcv takes 255 alone."""
    forget = "ip -6 neigh flush all"
    state = _state("node2", f"-A PREROUTING {rule}", table="mangle", topology="vxlan-6", do=forget, undo=":")
    probe = Probe(source="node1", dst="fd00:244:2::2", proto="udp", dport=53, sport=4007)
    assert benches.agreed(state, probe).walk.verdict == "NEIGHBOUR_FAILED"


def test_a_circle_that_a_rule_ends(benches: Benches) -> None:
    """All that is passed before is told."""
    state = State(
        topology="router-6",
        rules=(
            (
                "r",
                "ip6tables-restore",
                "*filter\n-A FORWARD -j NFLOG\n-A FORWARD -m hl --hl-lt 60 -j DROP\nCOMMIT\n",
            ),
        ),
        commands=(_FORWARDS, ("r", *_LOOP)),
    )
    probe = Probe(source="client", dst="fd00:99::1", proto="udp", dport=9, sport=4008)
    pair = benches.agreed(state, probe)
    assert pair.walk.verdict == "DROPPED_BY_RULE"
    assert sum(step.chain == "FORWARD" and step.rule == 1 for step in pair.walk.paths[0].legs[0].steps) == 3


def test_a_route_that_throws_stands_by_the_loopback(benches: Benches) -> None:
    """The next table is asked all the same."""
    change = "ip -6 route {} throw fd00:2::2/128", "ip -6 rule {} prio 100 lookup 61"
    make, unmake = (" && ".join(f"{line.format(what)}" for line in change) for what in ("add", "del"))
    state = State(
        topology="router-6",
        commands=(("r", make.replace("/128", "/128 table 61"), unmake.replace("/128", "/128 table 61")),),
    )
    probe = Probe(source="client", dst="fd00:2::2", proto="udp", dport=7, sport=4009)
    assert benches.agreed(state, probe).walk.outcome == "connected"


@pytest.mark.parametrize(("proto", "size"), [("icmpv6", 1400), ("udp", 1400), ("icmpv6", 1300)])
def test_a_bridge_says_that_a_packet_is_too_big(benches: Benches, proto: str, size: int) -> None:
    """With br_netfilter ip6_fragment is asked, which tells the sender; IPv4's is not told."""
    change = "ip link set veth2 mtu 1300", "ip link set veth2 mtu 1500"
    state = _state("node", "-A OUTPUT -j NFLOG", do=change[0], undo=change[1], topology="pods-6")
    probe = Probe(source="pod1", dst="fd00:244:1::3", proto=proto, size=size, icmp_id=155)
    if proto == "udp":
        probe = replace(probe, dport=53, sport=4010)
    errno = None if size == 1300 else "EMSGSIZE"
    assert benches.agreed(state, probe).walk.paths[0].errno == errno


def test_an_advertisement_goes_where_the_neighbour_says(benches: Benches) -> None:
    """A solicitation teaches nothing of somebody who is known for good."""
    state = State(
        topology="router-6",
        rules=(("r", "ip6tables-restore", "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"),),
        commands=(
            (
                "client",
                "ip neigh replace fd00:1::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
                "ip neigh del fd00:1::1 dev eth0",
            ),
            ("r", "ip -6 neigh flush all", "true"),
        ),
    )
    benches.agreed(state, Probe(source="server", dst="fd00:1::2", proto="icmpv6", icmp_id=132))


def test_an_error_about_a_bridged_packet_with_a_route(benches: Benches) -> None:
    """Its source is what the route's device would use, where the bridge had asked for the route."""
    rules = (
        "*mangle\n-A POSTROUTING -s fd00:244:1:: -j NFLOG\nCOMMIT\n"
        "*nat\n-A PREROUTING -d fd00::/16 -p icmpv6 -j DNAT --to-destination fd00:244:2::2\nCOMMIT\n"
        "*filter\n-A FORWARD -j REJECT --reject-with icmp6-policy-fail\nCOMMIT\n"
    )
    state = State(topology="vxlan-6", rules=(("node1", "ip6tables-restore", rules),))
    pair = benches.agreed(state, Probe(source="pod1", dst="fd00:244:2::1", proto="icmpv6", icmp_id=37))
    assert pair.walk.paths[0].errno == "EACCES"


def test_who_sent_to_another_host_hears_nothing_of_a_lost_neighbour(benches: Benches) -> None:
    """A bridged frame is not this host's, whatever a rule made of its destination (icmp6_send: pkt_type)."""
    rules = "*nat\n-A PREROUTING -j DNAT --to-destination fd00:244:1::77\nCOMMIT\n"
    state = State(topology="pods-6", rules=(("node", "ip6tables-restore", rules),))
    for dst in ("fd00:244:1::3", "fd00:50::100"):  # by a neighbour, by the node
        pair = benches.agreed(state, Probe(source="pod1", dst=dst, proto="udp", dport=53, sport=4401))
        assert pair.walk.verdict == "NEIGHBOUR_FAILED"
        assert pair.walk.outcome == ("timeout" if dst == "fd00:244:1::3" else "unreachable")


def test_a_marked_packet_draws_its_way_anew(benches: Benches) -> None:
    """Behind OUTPUT IPv6's route is asked for without a protocol, and hashed so (rt6_multipath_hash)."""
    route = "ip -6 route {} fd00:4::/64 nexthop via fd00:1::1 nexthop via fd00:3::1"
    rules = "*mangle\n-A OUTPUT -j MARK --set-xmark 0x1/0x1\nCOMMIT\n"
    state = State(
        topology="two-ways-6",
        rules=(("client", "ip6tables-restore", rules),),
        commands=(("client", route.format("add"), route.format("del")),),
    )
    probes = [
        Probe(source="client", src=src, dst="fd00:4::2", proto="tcp", dport=81, sport=4500 + number)
        for number, src in enumerate(("", *(f"fd00:1::{last}" for last in MORE[:8])))
    ]
    assert len(benches.agreed(state, *probes).walk.paths) == 4
