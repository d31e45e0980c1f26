"""
The kernel's drop reasons, one real packet for each kind of drop.

The walk is held against the drop too: the step that stops it is the one.
"""

import os
from typing import NamedTuple

import pytest

from nettrace.align.drops import accepts
from nettrace.align.outcome import compare
from nettrace.model.observation import Drop, Observed
from nettrace.model.step import Verdict
from nettrace.model.walk import Walk
from nettrace.observe.connect import connect
from nettrace.observe.drops import DropWatch
from nettrace.observe.probe_drops import ProbeDrops
from nettrace.observe.shape import Shape
from nettrace.observe.tag import fresh_tags
from tests.kernel.bed import Bed
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Case(NamedTuple):
    """A network, what is done to it, a probe, and the drop that has to be seen."""

    name: str
    topology: str
    commands: tuple[str, ...]
    probe: str
    seen: str  # NETNS REASON FUNCTION
    verdict: Verdict
    ttl: int = 64
    size: int | None = None


NFT = "nft 'add table {0} t; add chain {0} t f {{ type filter hook {1} priority 0; }}; add rule {0} t f {2} drop'"
PERMANENT = "client: ip neigh replace 10.1.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent"
SERVER = "client 10.2.0.2:80"

CASES = (
    Case(
        "nft",
        "router",
        ("r: " + NFT.format("inet", "forward", "tcp dport 80"),),
        SERVER,
        "r NETFILTER_DROP nft_do_chain",
        Verdict.DROPPED_BY_RULE,
    ),
    Case(
        "nft-netdev",
        "router",
        (
            "r: nft 'add table netdev t; add chain netdev t f { type filter hook ingress device c priority 0; }'",
            "r: nft add rule netdev t f tcp dport 80 drop",
        ),
        SERVER,
        "r NETFILTER_DROP nft_do_chain",
        Verdict.DROPPED_BY_RULE,
    ),
    Case(
        "nft-bridge",
        "pods",
        ("node: " + NFT.format("bridge", "forward", "tcp dport 9376"),),
        "pod1 10.244.1.3:9376",
        "node NETFILTER_DROP nft_do_chain",
        Verdict.DROPPED_BY_RULE,
    ),
    Case(
        "iptables",
        "router",
        ("r: iptables -A FORWARD -p tcp --dport 80 -j DROP",),
        SERVER,
        "r NETFILTER_DROP nft_do_chain",
        Verdict.DROPPED_BY_RULE,
    ),
    Case(
        "policy",
        "router",
        ("r: iptables -P FORWARD DROP",),
        SERVER,
        "r NETFILTER_DROP nft_do_chain",
        Verdict.DROPPED_BY_RULE,
    ),
    Case(
        "legacy",
        "router",
        ("r: iptables-legacy -A FORWARD -p tcp --dport 80 -j DROP",),
        SERVER,
        "r NETFILTER_DROP nf_hook_slow",
        Verdict.DROPPED_BY_RULE,
    ),
    Case(
        "reject",
        "router",
        ("r: iptables -A FORWARD -p tcp -j REJECT",),
        SERVER,
        "r NETFILTER_DROP nft_do_chain",
        Verdict.REJECTED,
    ),
    Case(
        "output",
        "router",
        ("client: iptables -A OUTPUT -p udp -j DROP",),
        "client 10.2.0.2:7/udp",
        "client NETFILTER_DROP nft_do_chain",
        Verdict.DENIED,
    ),
    Case(
        "rp-filter",
        "two-ways",
        (
            "server: ip route replace default via 10.4.0.1",
            "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
            "server: sysctl -qw net.ipv4.conf.all.rp_filter=1",
        ),
        SERVER,
        "server IP_RPFILTER ip_rcv_finish_core",
        Verdict.REVERSE_PATH_FILTERED,
    ),
    Case(
        "no-route",
        "router",
        (),
        "client 9.9.9.9:80",
        "r IP_INNOROUTES ip_error",
        Verdict.NO_ROUTE,
    ),
    Case(
        "blackhole",
        "router",
        ("r: ip route add blackhole 10.2.0.2/32",),
        SERVER,
        "r NOT_SPECIFIED ip_error",
        Verdict.BLACKHOLED,
    ),
    Case(
        "prohibit",
        "router",
        ("r: ip route add prohibit 10.2.0.2/32",),
        SERVER,
        "r NOT_SPECIFIED ip_error",
        Verdict.NO_ROUTE,
    ),
    Case(
        "forwarding-off",
        "router",
        ("r: sysctl -qw net.ipv4.ip_forward=0",),
        SERVER,
        "r IP_INADDRERRORS ip_error",
        Verdict.NOT_FORWARDED,
    ),
    Case(
        "ttl",
        "router",
        (),
        SERVER,
        "r IP_INHDR ip_forward",
        Verdict.TTL_EXCEEDED,
        ttl=1,
    ),
    Case(
        "too-big",
        "router",
        ("r: ip link set s mtu 600",),
        "client 10.2.0.2:7/udp",
        "r PKT_TOO_BIG ip_forward",
        Verdict.TOO_BIG,
        size=1200,
    ),
    Case(
        "dead-neighbour",
        "router",
        (),
        "client 10.2.0.77:80",
        "r NEIGH_FAILED neigh_invalidate",
        Verdict.NEIGHBOUR_FAILED,
    ),
    Case(
        "fdb-missing",
        "vxlan",
        ("node1: bridge fdb flush dev flannel.1",),
        "pod1 10.244.2.2:9376",
        "node1 NO_TX_TARGET vxlan_xmit",
        Verdict.NO_TUNNEL_DESTINATION,
    ),
    Case(
        "vni-differs",
        "vxlan",
        ("node2: ip link del flannel.1",
         "node2: ip link add flannel.1 type vxlan id 2 local 192.168.50.12 dev eth0 dstport 8472 nolearning",
         "node2: ip link set flannel.1 up"),
        "pod1 10.244.2.2:9376",
        "node2 VXLAN_VNI_NOT_FOUND vxlan_rcv",
        Verdict.NO_TUNNEL_DESTINATION,
    ),
    Case(
        "closed-tcp",
        "router",
        (),
        "client 10.2.0.2:81",
        "server NO_SOCKET tcp_v4_rcv",
        Verdict.NOT_LISTENING,
    ),
    Case(
        "closed-udp",
        "router",
        (),
        "client 10.2.0.2:8/udp",
        "server NO_SOCKET __udp4_lib_rcv",
        Verdict.NOT_LISTENING,
    ),
    Case(
        "isolated",
        "pods",
        ("node: bridge link set dev veth1 isolated on", "node: bridge link set dev veth2 isolated on",
         "pod1: ip neigh replace 10.244.1.3 lladdr {pod2} dev eth0 nud permanent",
         "node: bridge fdb replace {pod2} dev veth2 master static"),
        "pod1 10.244.1.3:9376",
        "node NOT_SPECIFIED br_handle_frame_finish",
        Verdict.BRIDGE_DROPPED,
    ),
    Case(
        "martian",
        "router",
        ("server: ip addr add 10.1.0.2/32 dev lo",),
        SERVER,
        "server IP_LOCAL_SOURCE ip_rcv_finish_core",
        Verdict.MARTIAN,
    ),
    Case(
        "wrong-mac",
        "router",
        (PERMANENT,),
        SERVER,
        "r OTHERHOST ip_rcv_core",
        Verdict.OTHERHOST,
    ),
)  # fmt: skip


def built(bed: Bed, topology: str) -> Net:
    """Build a network."""
    net = Net(bed)
    TOPOLOGIES[topology](net)
    return net


def probed(net: Net, case: Case) -> tuple[Walk, Observed]:
    """Walk, probe and watch."""
    source, target = case.probe.split()
    target, _, proto = target.partition("/")
    dst, _, port = target.partition(":")
    flow = net.flow(source, dst, int(port), proto or "tcp", ttl=case.ttl, size=case.size)
    tags = fresh_tags(flow.packet.proto, int(port), 1)
    spaces = {label: space.path for label, space in net.spaces.items()}
    answer = net.walked(flow)
    shape = Shape(ttl=case.ttl, size=case.size, df=True if case.size else None)
    slow = case.verdict is Verdict.NEIGHBOUR_FAILED
    with ProbeDrops(flow.packet.proto, 4, tags, (), spaces) as drops:
        observed = connect(
            net[source].path,
            None,
            dst,
            int(port),
            flow.packet.proto,
            timeout=4.0 if slow else 0.7,
            shape=shape,
            tags=tags,
        )
        return answer, drops.added_to(observed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_kind_of_drop_is_seen_with_its_reason(netns: Bed, case: Case) -> None:
    """Namespace, reason and function are the kernel's, the verdict's table accepts them, the walk agrees."""
    net = built(netns, case.topology)
    try:
        for command in case.commands:
            label, _, words = command.partition(": ")
            macs = {"pod2": net.mac("pod2", "eth0")} if "{pod2}" in words else {}
            net.sh(label, words.replace("{pod2}", macs.get("pod2", "")))
        answer, observed = probed(net, case)
    finally:
        net.close()
    space, reason, function = case.seen.split()
    drops = observed.attempts[0].drops
    [drop] = [one for one in drops if one.leg == "request"]
    assert (drop.netns, drop.reason, drop.function.split(".")[0]) == (space, reason, function), observed
    assert drop.packet is not None
    assert accepts(case.verdict, drop.reason, drop.function)
    assert observed.drops_watched
    assert answer.verdict is case.verdict
    agreement = compare(answer, observed)
    assert agreement.differences == ()
    [comparison] = agreement.comparisons
    [path] = answer.paths
    stop = next(index for index, step in enumerate(path.request.steps) if step.stops)
    assert comparison.checked["request"][stop] is True


def test_a_drop_that_the_walk_did_not_know_of_parts(netns: Bed) -> None:
    """A rule that came after the walk: where it dropped the packet is said, and why."""
    net = built(netns, "router")
    try:
        case = Case("", "router", (), SERVER, "", Verdict.DROPPED_BY_RULE)
        answer = net.walked(net.flow("client", "10.2.0.2", 80, "tcp"))
        net.sh("r", "iptables -A FORWARD -p tcp -j DROP")
        _, observed = probed(net, case)
    finally:
        net.close()
    agreement = compare(answer, observed)
    assert agreement.agrees is False
    [comparison] = agreement.comparisons
    assert comparison.parted is not None
    assert comparison.parted.netns == "r"
    assert "NETFILTER_DROP (nft_do_chain)" in comparison.parted.observed


def test_what_does_not_fit_is_counted(netns: Bed) -> None:
    """A full ring buffer loses drops, and tells how many; what was taken is whole."""
    space = netns.new()
    flood = (
        "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "[s.sendto(b'x', ('127.0.0.1', 9)) for _ in range(30000)]"
    )
    with DropWatch(inodes=(space.inode,)) as watching:
        space.run("python3", "-c", flood)
        found = [one for one in watching.read() if one.reason == "NO_SOCKET"]
        lost = watching.lost()
        assert watching.lost() == 0
    assert lost > 0
    assert len(found) > 1000
    assert {one.inodes[0] for one in found} == {space.inode}


def test_drops_of_the_same_kind_are_one_with_a_count(netns: Bed) -> None:
    """A SYN that is sent again is dropped again."""
    net = built(netns, "router")
    try:
        net.sh("r", "iptables -A FORWARD -p tcp -j DROP")
        flow = net.flow("client", "10.2.0.2", 80, "tcp")
        observed = net.tried(flow, timeout=1.5)
    finally:
        net.close()
    drops: tuple[Drop, ...] = observed.attempts[0].drops
    assert [(one.leg, one.count) for one in drops] == [("request", 2)]
    assert drops[0].time < 1.0
