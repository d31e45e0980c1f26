"""
Calico with VXLAN: the matrix by real connections.

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
    """A cluster of two nodes that a VXLAN of Calico joins."""
    with bench("calico-vxlan") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE)
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


def test_the_outer_packet_is_walked(scene: Scene) -> None:
    """Between the nodes the packet is inside one to UDP port 4789, which the far node's INPUT takes."""
    near, far = ends_of(scene)
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    steps = path["request"]["steps"]
    outer = next(step["after"] for step in steps if step["verdict"] == "encapsulate")
    assert (outer["src"], outer["dst"], outer["dport"]) == (scene.node_ip[near], scene.node_ip[far], 4789)
    taken = [step for step in steps if step["node"] == far and step["chain"] == "cali-INPUT"]
    assert [step["verdict"] for step in taken] == ["ACCEPT"]
