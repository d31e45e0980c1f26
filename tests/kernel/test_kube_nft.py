"""The rule set of the real kube-proxy in nftables mode: walked, tried, and watched rule by rule."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.native import watched
from tests.kernel.walkbed import Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

DUMP = Path(__file__).parents[2] / "fixtures/kube-proxy/nftables-1.36/nft-list-ruleset.txt"


def rules() -> str:
    """The dump as nft 1.0.6 can load it: it leaves out ``addr . port`` where it prints such maps."""
    return re.sub(r"dnat (ip6?) to numgen", r"dnat \1 addr . port to numgen", DUMP.read_text())


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """
    node-a (192.168.50.11) with the rules and two pods, node-b (.12) with the other endpoints, outside.

    Every endpoint's address belongs to pod ``ep`` or to node-b, and all listen at all ports.
    """
    bed = Bed()
    net = Net(bed)
    try:
        build(net)
        yield net
    finally:
        net.close()
        bed.close()


def build(net: Net) -> None:
    """Make the network and load the rules."""
    net.new("node", node="node-a", role="node")
    net.new("far", node="node-b", role="node")
    net.new("wire", role="wire")
    net.new("outside", role="outside")
    for label, address in (("node", "192.168.50.11"), ("far", "192.168.50.12"), ("outside", "192.168.50.10")):
        net.veth(label, "eth0", "wire", f"to-{label}")
        net[label].address("eth0", f"{address}/24")
    net.bed.bridge(net["wire"], "br0", "to-node", "to-far", "to-outside")
    net["outside"].ip("addr add 192.168.60.10/32 dev lo")
    net["outside"].ip("route add default via 192.168.50.11")
    net["node"].ip("route add default via 192.168.50.10")
    endpoints = sorted(set(re.findall(r"10\.244\.[12]\.\d+", rules())))
    for label, address in (("client", "10.244.1.200"), ("ep", "10.244.1.201")):
        net.new(label, node="node-a", role="pod")
        net.veth("node", f"v-{label}", label, "eth0")
        net[label].address("eth0", f"{address}/24")
        net[label].ip("route add default via 10.244.1.1")
    net.bed.bridge(net["node"], "cni0", "v-client", "v-ep", address="10.244.1.1/24")
    for port in ("v-client", "v-ep"):
        net["node"].run("bridge", "link", "set", "dev", port, "hairpin", "on")
    for address in endpoints:
        if address.startswith("10.244.1."):
            net["ep"].ip(f"addr add {address}/24 dev eth0")
        else:
            net["far"].ip(f"addr add {address}/32 dev lo")
    net["node"].ip("route add 10.244.2.0/24 via 192.168.50.12")
    net["far"].ip("route add 10.244.1.0/24 via 192.168.50.11")
    net["far"].ip("route add 192.168.60.0/24 via 192.168.50.10")
    net["node"].sysctl("net.ipv4.ip_forward", 1)
    for device in ("all", "eth0"):  # a redirect would be taken for the error that is waited for
        net["node"].sysctl(f"net.ipv4.conf.{device}.send_redirects", 0)
    for label in net.spaces:
        net[label].sysctl("net.ipv4.icmp_ratelimit", 0)
    for label in ("ep", "far"):
        for number in (8080, 8081, 8443, 9376, 53):
            net.listen(label, number)
    net.listen("ep", 53, "udp", "10.244.1.2")
    net.listen("far", 53, "udp", "10.244.2.2")
    net["node"].run("nft", "-f", "-", stdin=rules())


CASES = [
    # a Service with three endpoints, by its ClusterIP
    ("client", "10.96.10.1:80", Outcome.CONNECTED),
    ("node", "10.96.10.1:80", Outcome.CONNECTED),
    ("outside", "10.96.10.1:80", Outcome.CONNECTED),
    ("client", "10.96.0.10:53/udp", Outcome.CONNECTED),
    ("client", "10.96.0.10:53", Outcome.CONNECTED),
    # twenty endpoints
    ("client", "10.96.31.1:80", Outcome.CONNECTED),
    # the only endpoint asks itself
    ("ep 10.244.1.150", "10.96.32.1:80", Outcome.CONNECTED),
    # a port that the Service has not, an address that no Service has
    ("client", "10.96.10.1:81", Outcome.REFUSED),
    ("node", "10.96.10.1:81", Outcome.REFUSED),
    ("client", "10.96.99.9:80", Outcome.TIMEOUT),
    # no endpoints; none here with internalTrafficPolicy Local
    ("client", "10.96.24.1:80", Outcome.REFUSED),
    ("node", "10.96.24.1:80", Outcome.REFUSED),
    ("client", "10.96.24.3:514/udp", Outcome.REFUSED),
    ("client", "10.96.25.2:80", Outcome.TIMEOUT),
    # affinity, first call
    ("client", "10.96.23.1:80", Outcome.CONNECTED),
    # NodePorts: policy Cluster, Local, Local without an endpoint here, without any
    ("outside", "192.168.50.11:30080", Outcome.CONNECTED),
    ("client", "192.168.50.11:30080", Outcome.CONNECTED),
    ("node", "192.168.50.11:30080", Outcome.CONNECTED),
    ("outside", "192.168.50.11:30081", Outcome.CONNECTED),
    ("outside", "192.168.50.11:30082", Outcome.TIMEOUT),
    ("client", "192.168.50.11:30082", Outcome.CONNECTED),
    ("outside", "192.168.50.11:30087", Outcome.REFUSED),
    ("outside", "192.168.50.11:30086", Outcome.CONNECTED),
    # external IPs and balancers' addresses, with and without source ranges
    ("outside", "198.51.100.200:8888", Outcome.CONNECTED),
    ("outside", "198.51.100.201:8889", Outcome.REFUSED),
    ("client", "198.51.100.200:8888", Outcome.CONNECTED),
    ("outside", "203.0.113.10:443", Outcome.CONNECTED),
    ("outside 192.168.60.10", "203.0.113.10:443", Outcome.TIMEOUT),
    ("outside", "203.0.113.12:80", Outcome.CONNECTED),
    ("outside", "203.0.113.18:80", Outcome.TIMEOUT),
]


@pytest.mark.parametrize(("source", "target", "outcome"), CASES)
def test_a_service(net: Net, source: str, target: str, outcome: Outcome) -> None:
    """Each kind of Service, from pod, node and outside: as the walk says, rule by rule."""
    net["node"].run("conntrack", "-F", check=False)
    label, _, src = source.partition(" ")
    target, _, proto = target.partition("/")
    dst, _, port = target.partition(":")
    answer = watched(net, net.flow(label, dst, int(port), proto or "tcp", src=src))
    assert {path.outcome for path in answer.paths} == {outcome}
    assert abs(sum(path.probability for path in answer.paths) - 1) < 1e-9


def test_affinity_holds(net: Net) -> None:
    """Who called before is in the set of an endpoint, and the walk sends the next call there."""
    net["node"].run("conntrack", "-F", check=False)
    flow = net.flow("client", "10.96.23.1", 80, "tcp")
    net.tried(flow, timeout=2)
    answer = watched(net, flow)
    assert len(answer.paths) == 1
    assert answer.verdict is Verdict.DELIVERED
