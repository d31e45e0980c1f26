"""
Weave: the matrix by real connections, its peers, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
Not here: its policies (test_weave_policies).
"""

import time
from collections.abc import Iterator

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import SAMPLE, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene

only_sweep = pytest.mark.skipif(not SWEEP, reason="make systems")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes whose pods are on one network of frames."""
    with bench("weave") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE if SWEEP else ())
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


@only_sweep
def test_its_systems_are_named(scene: Scene) -> None:
    """Weave with its datapath on both nodes, and all that it owes is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("weave  fastdp\n") == 2
    assert shown.count("10-weave.conflist") == 4  # Weave is told by it, and the CNI plugins in it are
    assert shown.count("port vethwe-bridge (in 10.32.0.0/12)") == 2
    assert shown.count(": all there\n") == 4


@only_sweep
def test_the_kernel_goes_the_walked_way(scene: Scene) -> None:
    """A probe through bridge, datapath and tunnel agrees with the walk rule by rule."""
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    said = scene.bench.trace(source, target, "--probe")
    assert said["agreement"]["agrees"] is True


def masquerade_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the rule that masquerades what pods send out of the cluster."""
    near, _ = ends_of(scene)
    rules = scene.bench.shell(near, "iptables -t nat -S WEAVE").splitlines()
    rule = next(one for one in rules if one.startswith("-A WEAVE -s") and "MASQUERADE" in one)
    return [(near, f"iptables -t nat {rule.replace('-A', '-D', 1)}")]


def tunnel_down(scene: Scene) -> list[tuple[str, str]]:
    """Take the tunnel of the near node down."""
    return [(ends_of(scene)[0], "ip link set vxlan-6784 down; ip link set weave mtu 1376")]


BREAKS = (Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout", "weave"),)


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Nothing beside the rules, which are put back."""
    return []


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


@only_sweep
def test_a_tunnel_that_is_down_is_named(scene: Scene) -> None:
    """Nothing leaves by it; the finding brings it up, undo takes it down."""
    lab = scene.bench
    near, _ = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    lab.shell(near, "ip link set vxlan-6784 down")
    try:
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["findings"][0]["cause"] == "tunnel-link-down", said["findings"]
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
        lab.nettrace("repair", "apply", "tunnel-link-down", "--lab", lab.name, "--yes", expect=(0,))
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert "state DOWN" in lab.shell(near, "ip link show vxlan-6784")
    finally:
        lab.shell(near, "ip link set vxlan-6784 up")


@only_sweep
def test_a_way_past_the_policies_that_is_gone(scene: Scene) -> None:
    """Without the jump to weave-npc's chain all that comes to pods is dropped: it goes back to its place."""
    lab = scene.bench
    _, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    before = lab.shell(far, "iptables -S FORWARD")
    lab.shell(far, "iptables -D FORWARD 2")
    try:
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["outcome"] == "timeout"
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
        first = said["findings"][0]
        lab.nettrace("repair", "apply", first["cause"], "--lab", lab.name, "--yes", expect=(0,))
        assert lab.shell(far, "iptables -S FORWARD") == before
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert lab.shell(far, "iptables -S FORWARD") != before
    finally:
        if lab.shell(far, "iptables -S FORWARD") != before:
            lab.shell(far, f"iptables {before.splitlines()[2].replace('-A FORWARD', '-I FORWARD 2')}")


def _ways(scene: Scene) -> list[int]:
    """How many default ways the tunnel of each node has."""
    command = "bridge fdb show dev vxlan-6784 | grep -c ^00:00:00:00:00:00 || true"
    return [int(scene.bench.shell(node, command)) for node in sorted(scene.node_ip)]


def _until(scene: Scene, ways: int) -> None:
    end = time.monotonic() + 20
    while _ways(scene) != [ways, ways] and time.monotonic() < end:
        time.sleep(0.2)
    assert _ways(scene) == [ways, ways]


def test_a_peer_that_is_not_connected_is_named(scene: Scene) -> None:
    """TCP 6783 is dropped on the far node: the routers part, the finding names the rule, ways mend it."""
    lab = scene.bench
    _, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    lab.shell(far, "iptables -I INPUT -p tcp --dport 6783 -j DROP")
    try:
        _until(scene, 0)
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
        first = said["findings"][0]
        assert first["cause"] == "weave-peers-disconnected"
        assert "a rule drops TCP port 6783" in first["message"]
        assert "let TCP port 6783" in first["repairs"][0]["lasting"]
        lab.nettrace("repair", "apply", "weave-peers-disconnected", "--lab", lab.name, "--yes", expect=(0,))
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert _ways(scene) == [0, 0]
    finally:
        lab.shell(far, "iptables -D INPUT 1")
    _until(scene, 1)
    agrees(scene, "pod-pod-other-node")
