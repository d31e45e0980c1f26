"""
Calico with BGP: the matrix by real connections, over routes that real BIRD daemons exchange.

One lab for all of it; each fault is taken back by the shell before the next.
"""

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import SAMPLE, agrees, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes that are BGP peers."""
    with bench("calico-bgp") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE)
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


def test_routes_are_birds(scene: Scene) -> None:
    """Each node has learnt the other's block, a packet to a pod there leaves by eth0 as it is."""
    near, far = ends_of(scene)
    learnt = scene.bench.shell(near, "ip route show proto bird")
    assert f"via {scene.node_ip[far]} dev eth0" in learnt
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    packets = [step["after"] or step["before"] for step in path["request"]["steps"]]
    assert not any(packet and packet.get("inner") for packet in packets)
    assert "eth0" in {step["device"] for step in path["request"]["steps"] if step["node"] == near}
