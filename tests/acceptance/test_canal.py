"""
Canal: the matrix by real connections, its two halves, its policies, and what breaks either half.

One lab for all of it; each fault is taken back by the shell before the next.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone
from tests.acceptance.calico import heal as heal_calico
from tests.acceptance.calico import no_proxy_arp, no_workload_route
from tests.acceptance.faults import Scene, flannel_fdb_missing, masquerade_missing
from tests.acceptance.matrix import SAMPLE, SWEEP, agrees, ends_of
from tests.acceptance.network_checks import policies_are_enforced
from tests.acceptance.scenes import kubernetes_scene

only_sweep = pytest.mark.skipif(not SWEEP, reason="make systems")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes of flannel and Calico."""
    with bench("canal") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE if SWEEP else SAMPLE[1:2])
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


@only_sweep
def test_its_systems_are_named(scene: Scene) -> None:
    """Canal and its halves on both nodes, and all that they owe is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    for line in ("canal  flannel's network, Calico's policies\n", "flannel  vxlan\n", "  calico\n"):
        assert shown.count(line) == 2, shown
    assert shown.count(": all there\n") == 6


def no_fdb(scene: Scene) -> list[tuple[str, str]]:
    """Delete where the far node's MAC leads."""
    return flannel_fdb_missing(scene)


BREAKS = (
    Break("calico-workload-route-missing", no_workload_route, "pod-pod-other-node", "timeout", "calico"),
    Break("calico-proxy-arp-off", no_proxy_arp, "pod-outside", "unreachable", "calico"),
    Break("flannel-fdb-missing", no_fdb, "pod-pod-other-node", "timeout"),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout"),
)


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Take back all of them that are not in table nat."""
    near, far = ends_of(scene)
    vtep = scene.pod_cidr[far].partition("/")[0]
    mac = scene.bench.shell(near, f"ip neigh show {vtep}").split()[4]
    fdb = f"bridge fdb replace {mac} dev flannel.1 self permanent dst {scene.node_ip[far]}"
    return [*heal_calico(scene), (near, fdb)]


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


@only_sweep
def test_its_policies_are_enforced(scene: Scene, tmp_path: Path) -> None:
    """A policy added to the cluster: dropped as it says, the others go on; taken back, all as before."""
    policies_are_enforced(scene, tmp_path, "timeout")
