"""The rule set of the real kube-proxy in nftables mode: walked, tried, and watched rule by rule."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.kubebed import build
from tests.kernel.native import watched
from tests.kernel.walkbed import Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

DUMP = Path(__file__).parents[2] / "fixtures/kube-proxy/nftables-1.36/nft-list-ruleset.txt"


def rules() -> str:
    """The dump as nft 1.0.6 can load it: it leaves out ``addr . port`` where it prints such maps."""
    return re.sub(r"dnat (ip6?) to numgen", r"dnat \1 addr . port to numgen", DUMP.read_text())


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """The network of the dump, with its rules on node-a."""
    bed = Bed()
    net = Net(bed)
    try:
        build(net, rules())
        net["node"].run("nft", "-f", "-", stdin=rules())
        yield net
    finally:
        net.close()
        bed.close()


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
