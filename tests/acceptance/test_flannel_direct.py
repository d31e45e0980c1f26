"""
flannel's VXLAN with DirectRouting: the matrix by real connections, past the tunnel, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
"""

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone, lead_to_peers
from tests.acceptance.faults import Scene, masquerade_missing, pod_route_missing
from tests.acceptance.matrix import KINDS, SWEEP, agrees, ends_of
from tests.acceptance.network_checks import leaves_by_the_wire
from tests.acceptance.scenes import kubernetes_scene

only_sweep = pytest.mark.skipif(not SWEEP, reason="make systems")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes of one network, which need no tunnel."""
    with bench("flannel-vxlan-direct") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", KINDS if SWEEP else ("pod-pod-other-node",))
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


@only_sweep
def test_its_systems_are_named(scene: Scene) -> None:
    """flannel with DirectRouting on both nodes, and all that it owes is there: routes, and no entries."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("flannel  vxlan with DirectRouting\n") == 2, shown
    assert shown.count(": all there\n") == 4
    near, _ = ends_of(scene)
    assert "dst" not in scene.bench.shell(near, "bridge fdb show dev flannel.1")


@only_sweep
def test_the_tunnel_is_passed_by(scene: Scene) -> None:
    """A packet to the other node's pod leaves by eth0 as it is, although there is flannel.1."""
    leaves_by_the_wire(scene, 1450)


def into_the_tunnel(scene: Scene) -> list[tuple[str, str]]:
    """The route of before DirectRouting: into the tunnel, where nobody is known any more."""
    near, far = ends_of(scene)
    vtep = scene.pod_cidr[far].partition("/")[0]
    return [(near, f"ip route replace {scene.pod_cidr[far]} via {vtep} dev flannel.1 onlink")]


BREAKS = (
    Break("wrong-next-hop", into_the_tunnel, "pod-pod-other-node", "unreachable"),
    Break("pod-route-missing", pod_route_missing, "pod-pod-other-node", "timeout"),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout"),
)


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, lead_to_peers)
