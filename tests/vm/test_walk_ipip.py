"""IPIP walked, and tried: tunl0 between two nodes, as Calico uses it, and what breaks it."""

import os
from collections.abc import Iterator

import pytest

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Walk
from tests.kernel.bed import Bed
from tests.kernel.walkbed import Net

pytestmark = pytest.mark.skipif(
    not os.environ.get("NETTRACE_TEST_SWEEP"), reason="only with NETTRACE_TEST_SWEEP=1; a lab is the sample"
)


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """Two nodes with a pod each, whose routes to each other's pods lead into tunl0."""
    bed = Bed()
    try:
        made = Net(bed)
        made.new("wire", role="wire")
        for number in (1, 2):
            node, pod = f"node{number}", f"pod{number}"
            made.new(node, node=node, role="node")
            made.new(pod, node=node, role="pod")
            made.veth(node, "eth0", "wire", f"port{number}")
            made[node].address("eth0", f"192.168.50.1{number}/24")
            made.veth(node, "cali0", pod, "eth0")
            made[pod].address("eth0", f"10.244.{number}.2/32")
            made.sh(pod, "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1")
            made.sh(node, f"ip route add 10.244.{number}.2 dev cali0")
            made.sh(node, "sysctl -qw net.ipv4.conf.cali0.proxy_arp=1 net.ipv4.neigh.cali0.proxy_delay=0")
            made.sh(node, f"ip link set tunl0 up mtu 1480; ip addr add 10.244.{number}.0/32 dev tunl0")
            made[node].sysctl("net.ipv4.ip_forward", 1)
            # proxy ARP answers only for what it could forward elsewhere
            made.sh(node, "ip route add default via 192.168.50.1 dev eth0")
            made.listen(pod, 9376)
            made.listen(pod, 53, "udp")
        made.bed.bridge(made["wire"], "br0", "port1", "port2")
        for number, other in ((1, 2), (2, 1)):
            way = f"via 192.168.50.1{other} dev tunl0 onlink"
            made.sh(f"node{number}", f"ip route add 10.244.{other}.0/24 {way}")
        yield made
        made.close()
    finally:
        bed.close()


def asked(net: Net, source: str = "pod1", *, proto: str = "tcp", size: int | None = None) -> Walk:
    """Pod 2 asked from somewhere: the walk and the connection agree."""
    port = {"tcp": 9376, "udp": 53}.get(proto)
    return net.agree(net.flow(source, "10.244.2.2", port, proto, size=size))


@pytest.mark.parametrize(("source", "proto"), [("pod1", "tcp"), ("pod1", "udp"), ("node1", "tcp")])
def test_through_the_tunnel(net: Net, source: str, proto: str) -> None:
    """The outer packet is of protocol 4, from node to node, and passes OUTPUT and INPUT."""
    said = asked(net, source, proto=proto)
    assert said.outcome is Outcome.CONNECTED
    steps = said.paths[0].legs[0].steps
    outer = next(step.after for step in steps if step.verdict == "encapsulate")
    assert outer is not None
    assert (outer.src, outer.dst, outer.proto) == ("192.168.50.11", "192.168.50.12", "4")
    assert [step.netns for step in steps if step.verdict == "decapsulate"] == ["node2"]


BACK = "ip link set tunl0 up; ip route add 10.244.1.0/24 via 192.168.50.11 dev tunl0 onlink"
#: What is done where, how it is taken back, the verdict.
BROKEN = (
    ("node2", "iptables -I INPUT -p 4 -j DROP", "iptables -D INPUT 1", Verdict.DROPPED_BY_RULE),
    ("node1", "iptables -I OUTPUT -p 4 -j DROP", "iptables -D OUTPUT 1", Verdict.DROPPED_BY_RULE),
    ("node2", "ip link set tunl0 down", BACK, Verdict.NO_TUNNEL_DESTINATION),
    ("node1", "ip route add 192.168.50.12 via 192.168.50.12 dev tunl0 onlink", "ip route del 192.168.50.12",
     Verdict.LOOP),
    ("node1", "ip route add unreachable 192.168.50.12", "ip route del unreachable 192.168.50.12",
     Verdict.NO_ROUTE),
)  # fmt: skip


@pytest.mark.parametrize(("where", "make", "back", "verdict"), BROKEN)
def test_broken(net: Net, where: str, make: str, back: str, verdict: Verdict) -> None:
    """A tunnel that loses its packets is silent to the sender inside."""
    net.sh(where, make)
    try:
        said = asked(net)
    finally:
        net.sh(where, back)
    assert (said.outcome, said.paths[0].verdict) == (Outcome.TIMEOUT, verdict)
    assert asked(net).outcome is Outcome.CONNECTED


def test_a_device_of_the_two_ends_takes_it_first(net: Net) -> None:
    """Its own far end and address go before tunl0; the packet comes in by it."""
    net.sh("node2", "ip link add t1 type ipip remote 192.168.50.11 local 192.168.50.12; ip link set t1 up")
    try:
        said = asked(net)
    finally:
        net.sh("node2", "ip link del t1")
    assert said.outcome is Outcome.CONNECTED
    taken = [step.device for step in said.paths[0].legs[0].steps if step.verdict == "decapsulate"]
    assert taken == ["t1"]
