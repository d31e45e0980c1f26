"""
flannel's back end vxlan: what breaks it.  The same lab's matrix is in test_healthy.

One lab for all of it; each fault is taken back by the shell before the next.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone, overlay_blocked_is_named
from tests.acceptance.faults import Scene, flannel_fdb_missing, masquerade_missing
from tests.acceptance.leaves_network import no_neighbour, old_address, other_vtep_mac
from tests.acceptance.matrix import SWEEP
from tests.acceptance.scenes import kubernetes_scene

only_sweep = pytest.mark.skipif(not SWEEP, reason="make systems")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes that a VXLAN joins."""
    with bench("flannel-vxlan") as lab:
        yield kubernetes_scene(lab)


def published(scene: Scene) -> dict[str, str]:
    """The MAC address of each node's VXLAN device, as its Node object says."""
    text = Path(scene.bench.record()["manifests"], "nodes.yaml").read_text()
    nodes = [item for one in yaml.safe_load_all(text) if one for item in one.get("items", [one])]
    data = "flannel.alpha.coreos.com/backend-data"
    return {n["metadata"]["name"]: json.loads(n["metadata"]["annotations"][data])["VtepMAC"] for n in nodes}


BREAKS = (
    Break("flannel-fdb-missing", flannel_fdb_missing, "pod-pod-other-node", "timeout"),
    Break("flannel-arp-missing", no_neighbour, "pod-pod-other-node", "unreachable"),
    # with the address of a device its neighbours go, permanent ones too (neigh_changeaddr)
    Break("vtep-mac-mismatch", other_vtep_mac, "pod-pod-other-node", "timeout", differs=2),
    Break("fdb-stale-remote", old_address, "pod-pod-other-node", "timeout"),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout"),
)


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Every node's device, and its entries for the other, as the Nodes say."""
    macs = published(scene)
    commands = []
    for node in scene.node_ip:
        (peer,) = {*scene.node_ip} - {node}
        vtep = scene.pod_cidr[peer].partition("/")[0]
        commands += [
            (node, f"ip link set flannel.1 address {macs[node]}"),
            (node, f"ip neigh replace {vtep} lladdr {macs[peer]} dev flannel.1 nud permanent"),
            (node, f"bridge fdb replace {macs[peer]} dev flannel.1 self permanent dst {scene.node_ip[peer]}"),
        ]
    return commands


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


@only_sweep
def test_a_blocked_port_is_named(scene: Scene) -> None:
    """A rule that drops UDP port 8472 on the far node is overlay-udp-blocked."""
    overlay_blocked_is_named(scene, "-p udp --dport 8472")
