"""
kube-router: the matrix by real connections, its BGP, its policies, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone
from tests.acceptance.faults import Scene, hairpin_off, pod_route_missing, veth_of
from tests.acceptance.matrix import SAMPLE, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.network_checks import policies_are_enforced
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes with a BGP session between them."""
    with bench("kube-router") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE if SWEEP else ())
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_its_systems_are_named(scene: Scene) -> None:
    """kube-router with BGP on both nodes, by its routes and all, and all that it owes is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("kube-router  bgp\n") == 2
    assert shown.count(" dev eth0 proto 17 ") == 2
    assert shown.count("10-kuberouter.conflist") == 4  # kube-router is told by it, and the plugins in it are
    assert shown.count(": all there\n") == 4
    assert "proto 17" in scene.bench.shell(ends_of(scene)[0], "ip route")


def masquerade_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the rule that masquerades what pods send out of the cluster."""
    near, _ = ends_of(scene)
    rules = scene.bench.shell(near, "iptables -t nat -S POSTROUTING").splitlines()
    rule = next(one for one in rules if "kube-router-pod-subnets" in one)
    return [(near, f"iptables -t nat {rule.replace('-A', '-D', 1)}")]


BREAKS = (
    Break("pod-route-missing", pod_route_missing, "pod-pod-other-node", "timeout", "kube-router"),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout", "kube-router"),
)


def heal(scene: Scene) -> list[tuple[str, str]]:
    """The routes as kube-router writes them."""
    return [
        (node, f"ip route replace {scene.pod_cidr[peer]} via {scene.node_ip[peer]} dev eth0 proto 17")
        for node in scene.node_ip
        for peer in {*scene.node_ip} - {node}
    ]


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


def _routes(scene: Scene) -> list[str]:
    return [scene.bench.shell(node, "ip route show proto 17").strip() for node in sorted(scene.node_ip)]


def _until(scene: Scene, *, there: bool) -> None:
    """Wait for both nodes' routes to each other, or for both to be gone."""
    end = time.monotonic() + 15
    while [bool(one) for one in _routes(scene)] != [there, there] and time.monotonic() < end:
        time.sleep(0.1)
    assert [bool(one) for one in _routes(scene)] == [there, there]


def test_a_session_that_is_down_is_named(scene: Scene) -> None:
    """BGP stopped on the far node: the routes of both go; the session is the finding, routes mend it."""
    lab = scene.bench
    _, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    healthy = _routes(scene)
    bird = f"birdc -s {Path(lab.record()['root'], f'run/{far}.bird.ctl')}"
    lab.shell(far, f"{bird} disable all")
    try:
        _until(scene, there=False)
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["outcome"] == "timeout"
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
        first = said["findings"][0]
        assert first["cause"] == "kube-router-bgp-down"
        assert f"nobody listens for it on {far}" in first["message"]
        assert "start kube-router" in first["repairs"][0]["lasting"]
        lab.nettrace("repair", "apply", "kube-router-bgp-down", "--lab", lab.name, "--yes", expect=(0,))
        assert _routes(scene) == healthy
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert _routes(scene) == ["", ""]
    finally:
        lab.shell(far, f"{bird} enable all")
    _until(scene, there=True)
    assert _routes(scene) == healthy


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_a_pod_that_calls_itself_needs_hairpin(scene: Scene) -> None:
    """Hairpin off on its port: found first, with the CNI configuration as evidence, repaired, undone."""
    lab = scene.bench
    source, target, who, address, port = flow_of(scene, "pod-own-service")
    for member, command in hairpin_off(scene):
        lab.shell(member, command)
    said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
    assert said["findings"][0]["cause"] == "hairpin-off"
    assert "10-kuberouter.conflist" in str(said["findings"][0]["evidence"])
    lab.nettrace("repair", "apply", "hairpin-off", "--lab", lab.name, "--yes", expect=(0,))
    assert {t["outcome"] for t in lab.connect(who, address, port, times=12)} == {"connected"}
    lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
    near, _ = ends_of(scene)
    pod = next(pod for pod, node in scene.node_of.items() if node == near)
    lab.shell(near, f"bridge link set dev {veth_of(scene, near, pod)} hairpin on")


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_its_policies_are_enforced(scene: Scene, tmp_path: Path) -> None:
    """A policy added to the cluster: refused as it says, the others go on; taken back, all as before."""
    policies_are_enforced(scene, tmp_path, "refused")
