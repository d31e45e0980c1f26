"""The same fault is the same to every flow that it hurts: UDP, echo, the reply's way, other senders."""

import pytest

from nettrace.model.change import SysctlSet
from tests.diagnose.asking import diagnosed
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import cluster

NEAR, FAR, DNS, SERVICE = "pod/client-near", "pod/client-far", "svc/kube-dns", "svc/hostnames"


@pytest.mark.parametrize(
    ("fault", "source", "target"),
    [
        ("ip-forward-off", NEAR, "client-far/icmp"),
        ("ip-forward-off", "internet", "node/node-a:30080"),
        ("flannel-fdb-missing", NEAR, "client-far/icmp"),
        ("flannel-fdb-missing", "node/node-a", "pod/hostnames-1"),
        ("pod-route-missing", NEAR, "client-far/icmp"),
        ("pod-route-missing", FAR, DNS),
        ("forward-policy-drop", NEAR, "client-far/icmp"),
        ("bridge-nf-off", NEAR, DNS),
        ("service-jump-missing", NEAR, DNS),
        ("masquerade-missing, its rule", NEAR, "internet/icmp"),
        ("stale-endpoint-rule", "internet", "node/node-a:30080"),
        ("svc-wrong-targetport, every endpoint", "internet", "node/node-a:30080"),
        ("svc-wrong-targetport, every endpoint", "node/node-a", SERVICE),
        ("rp-filter-strict", NEAR, SERVICE),
        ("rp-filter-strict", FAR, "pod/hostnames-0"),
    ],
)
def test_whoever_asks(fault: str, source: str, target: str) -> None:
    """The fault is the first finding for every flow that it hurts."""
    world = cluster()
    found = diagnosed(world.edited(*FAULTS[fault].breaks(world)), source, target)
    assert found.findings[0].cause == FAULTS[fault].cause


@pytest.mark.parametrize(("source", "target"), [("internet", "node/node-a:30080"), ("node/node-a", SERVICE)])
def test_what_a_fault_does_not_hurt_is_met(source: str, target: str) -> None:
    """A policy DROP of FORWARD leaves alone what kube-proxy marked: no finding."""
    world = cluster()
    found = diagnosed(world.edited(*FAULTS["forward-policy-drop"].breaks(world)), source, target)
    assert (found.met, found.findings) == (True, ())


def test_the_far_nodes_switch() -> None:
    """A fault of the other node is found there."""
    off = SysctlSet(netns="node-b", name="net.ipv4.ip_forward", value="0")
    (finding,) = diagnosed(cluster().edited(off), FAR, DNS).findings
    assert (finding.cause, finding.where) == ("ip-forward-off", "node-b")
