"""
Calico with BGP: the matrix by real connections, over routes that real BIRD daemons exchange; what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone
from tests.acceptance.calico import block_of, heal, no_masquerade, no_proxy_arp, no_workload_route
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import SAMPLE, SWEEP, agrees, ends_of, flow_of
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


def test_its_systems_are_named(scene: Scene) -> None:
    """Calico with its mode and version on both nodes, and all that it owes is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("calico  bgp, v3.26.4\n") == 2
    assert shown.count(": all there\n") == 4


def test_routes_are_birds(scene: Scene) -> None:
    """Each node has learnt the other's block, a packet to a pod there leaves by eth0 as it is."""
    near, far = ends_of(scene)
    learnt = scene.bench.shell(near, "ip route show proto bird")
    assert f"{block_of(scene, far)} via {scene.node_ip[far]} dev eth0" in learnt
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    packets = [step["after"] or step["before"] for step in path["request"]["steps"]]
    assert not any(packet and packet.get("inner") for packet in packets)
    assert "eth0" in {step["device"] for step in path["request"]["steps"] if step["node"] == near}


BREAKS = (
    Break("calico-workload-route-missing", no_workload_route, "pod-pod-other-node", "timeout", "calico"),
    Break("calico-proxy-arp-off", no_proxy_arp, "pod-pod-other-node", "unreachable", "calico"),
    Break("masquerade-missing", no_masquerade, "pod-outside", "timeout", "calico"),
)


@pytest.mark.parametrize("fault", BREAKS if SWEEP else BREAKS[:1], ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


def _blocks(scene: Scene) -> list[str]:
    """The routes of each node to the other's block."""
    near, far = ends_of(scene)
    return [
        scene.bench.shell(here, f"ip route show exact {block_of(scene, there)}").strip()
        for here, there in ((near, far), (far, near))
    ]


def _until(scene: Scene, *, there: bool) -> None:
    end = time.monotonic() + 20
    while [bool(one) for one in _blocks(scene)] != [there, there] and time.monotonic() < end:
        time.sleep(0.1)
    assert [bool(one) for one in _blocks(scene)] == [there, there]


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_a_session_that_is_down_is_named(scene: Scene) -> None:
    """BGP stopped on the far node: the routes of both go; the session is the finding, routes mend it."""
    lab = scene.bench
    _, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    healthy = _blocks(scene)
    socket = Path(lab.record()["root"], f"nodes/{far}/var/run/calico/bird.ctl")
    name = "Mesh_" + scene.node_ip[ends_of(scene)[0]].replace(".", "_")
    lab.shell(far, f"birdc -s {socket} disable {name}")
    try:
        _until(scene, there=False)
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["outcome"] == "timeout"
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
        first = said["findings"][0]
        assert first["cause"] == "calico-bgp-down"
        assert "calicoctl node status" in first["repairs"][0]["lasting"]
        lab.nettrace("repair", "apply", "calico-bgp-down", "--lab", lab.name, "--yes", expect=(0,))
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert _blocks(scene) == ["", ""]
    finally:
        lab.shell(far, f"birdc -s {socket} enable {name}")
    _until(scene, there=True)
    assert _blocks(scene) == healthy


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_a_wrong_interface_is_named(scene: Scene) -> None:
    """Calico took an address of the far node that is not its InternalIP: advice, no repair on the node."""
    lab = scene.bench
    near, far = ends_of(scene)
    nodes = Path(lab.record()["manifests"], "nodes.yaml")
    before = nodes.read_text()
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    socket = Path(lab.record()["root"], f"nodes/{near}/var/run/calico/bird.ctl")
    name = "Mesh_" + scene.node_ip[far].replace(".", "_")
    try:
        nodes.write_text(before.replace(f"{scene.node_ip[far]}/24", "192.168.122.1/24"))
        lab.shell(near, f"birdc -s {socket} disable {name}")
        _until(scene, there=False)
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"] == [said["outcome"]]
        first = said["findings"][0]
        assert first["cause"] == "calico-wrong-autodetect"
        assert "192.168.122.1" in first["message"]
        assert [(r["safety"], r["commands"]) for r in first["repairs"]] == [("advice", [])]
    finally:
        nodes.write_text(before)
        lab.shell(near, f"birdc -s {socket} enable {name}")
        _until(scene, there=True)
