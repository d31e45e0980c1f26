"""Policies of IPsec that were left behind, or that one end alone has: found, named, and gone with them."""

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import Bench, bench
from tests.acceptance.matrix import SWEEP, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene

pytestmark = pytest.mark.skipif(
    not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1; the cause is tested on a model too"
)

#: A kind of flow, the direction and rest of the policy, and what the client sees.
FAULTS = (
    ("pod-pod-other-node", "fwd", "tmpl proto esp mode tunnel", "timeout"),
    ("pod-pod-other-node", "in", "action block", "timeout"),
    ("node-service", "out", "action block", "denied"),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Bench]:
    """One cluster for all."""
    with bench("flannel-vxlan") as made:
        yield made


@pytest.mark.parametrize(("kind", "direction", "rest", "outcome"), FAULTS)
def test_found_first_and_named(lab: Bench, kind: str, direction: str, rest: str, outcome: str) -> None:
    """The policy is the first finding, as advice that names it; without it, connected and nothing found."""
    scene = kubernetes_scene(lab)
    near, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, kind)
    node, about = far, f"src {scene.pod_cidr[near]} dst {scene.pod_cidr[far]}"
    if direction == "out":
        node, about = near, f"src {scene.node_ip[near]} dst {scene.cluster_ip}"
    if direction == "in":  # the tunnel's outer packets
        about = f"src {scene.node_ip[near]} dst {scene.node_ip[far]} proto udp"
    lab.shell(node, f"ip xfrm policy add {about} dir {direction} priority 7 {rest}")
    try:
        said = lab.trace(source, target)
        first = said["findings"][0]
        assert (first["cause"], first["where"], said["outcome"]) == ("xfrm-policy-drop", node, outcome), said
        assert f"dir {direction}" in first["message"]
        assert all(not repair["changes"] for repair in first["repairs"])
        assert {one["outcome"] for one in lab.connect(who, address, port, times=2)} == {outcome}
    finally:
        lab.shell(node, "ip xfrm policy flush")
    assert lab.trace(source, target)["findings"] == []
    assert {one["outcome"] for one in lab.connect(who, address, port, times=2)} == {"connected"}
