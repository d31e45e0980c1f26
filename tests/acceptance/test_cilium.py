"""
Cilium's lab: where its programs end the walk, real connections, and what is told of faults behind them.

The lab's programs let everything pass, and the kernel's own stack carries the packets; nettrace knows
that of no program.  So a trace is UNKNOWN with the program's name and id, healthy or not; what is gone of
the agent's own is the first finding all the same, with the command that brings it back, and real
connections say whether it does.
One lab for all of it; each fault is taken back by the shell before the next.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import KINDS, SWEEP, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene

only_sweep = pytest.mark.skipif(not SWEEP, reason="make systems")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of three nodes: with two, the only route to a peer would be the evidence of itself."""
    with bench("cilium", "--nodes", "3") as lab:
        yield kubernetes_scene(lab)


def asked(scene: Scene, kind: str) -> Any:
    """What nettrace says of a flow: never more than that a program decides."""
    source, target, *_ = flow_of(scene, kind)
    said = scene.bench.trace(source, target)
    assert (said["verdict"], said["outcome"]) == ("UNKNOWN", "unknown")
    assert re.search(r"cil_\w+(-\w+)? \(id \d+\)", said["paths"][0]["reason"]), said["paths"][0]
    return said


def seen(scene: Scene, kind: str) -> set[str]:
    """What real connections come to."""
    *_, who, address, port = flow_of(scene, kind)
    return {t["outcome"] for t in scene.bench.connect(who, address, port, times=3)}


@pytest.mark.parametrize("kind", KINDS if SWEEP else ("pod-pod-other-node",))
def test_connected_and_said_to_be_unknown(scene: Scene, kind: str) -> None:
    """The lab carries every kind of flow; the walk ends at a program, which is all that is found."""
    said = asked(scene, kind)
    assert {one["cause"] for one in said["findings"]} == {"bpf-datapath-opaque"}
    assert seen(scene, kind) == {"connected"}


def _pod(scene: Scene) -> str:
    """The pod of the far node that is called."""
    _, far = ends_of(scene)
    return next(pod for pod, node in scene.node_of.items() if node == far)


def device_of(scene: Scene, node: str, pod: str) -> str:
    """The node's end of a pod's veth."""
    inside = json.loads(scene.bench.shell(pod, "ip -j link show eth0"))[0]
    links = json.loads(scene.bench.shell(node, "ip -j link"))
    return str(next(link["ifname"] for link in links if link["ifindex"] == inside["link_index"]))


def no_pod_route(scene: Scene) -> tuple[str, str, str]:
    """The far node has no route to the pod that is called."""
    _, far = ends_of(scene)
    address = scene.endpoints[_pod(scene)]
    back = f"ip route add {address} dev {device_of(scene, far, _pod(scene))} scope link"
    return far, f"ip route del {address}", back


def no_node_route(scene: Scene) -> tuple[str, str, str]:
    """The near node has no route to the far one's pods."""
    near, far = ends_of(scene)
    cidr = scene.pod_cidr[far]
    return near, f"ip route del {cidr}", f"ip route add {cidr} via {scene.node_ip[far]} dev eth0 proto kernel"


def a_stranger(scene: Scene) -> tuple[str, str, str]:
    """Somebody else's filter drops all that comes from the client, before Cilium's program sees it."""
    near, _ = ends_of(scene)
    device = device_of(scene, near, scene.client[near])
    drop = f"tc filter add dev {device} ingress pref 1 bpf da bytecode '1,6 0 0 2,'"
    return near, drop, f"tc filter del dev {device} ingress pref 1"


class Fault(NamedTuple):
    """A cause; node, the shell command that makes it and the one that takes it back; what a client sees."""

    cause: str
    inject: Callable[[Scene], tuple[str, str, str]]
    outcome: str
    kind: str = "pod-pod-other-node"


FAULTS = (
    Fault("cilium-route-missing", no_pod_route, "timeout"),
    Fault("cilium-route-missing", no_node_route, "timeout"),
    Fault("bpf-datapath-opaque", a_stranger, "timeout"),
)


@pytest.mark.parametrize("fault", FAULTS if SWEEP else FAULTS[:1], ids=lambda fault: fault.inject.__name__)
def test_found_first_mended_undone(scene: Scene, fault: Fault) -> None:
    """The cause is the first finding; the command that it gives mends real connections, and is taken back."""
    node, command, back = fault.inject(scene)
    lab = scene.bench
    lab.shell(node, command)
    try:
        first = asked(scene, fault.kind)["findings"][0]
        assert (first["cause"], first["where"]) == (fault.cause, node), first
        assert seen(scene, fault.kind) == {fault.outcome}
        if fault.cause == "cilium-route-missing":
            lab.shell(node, first["repairs"][0]["lasting"].rpartition("until then: ")[2])
            assert seen(scene, fault.kind) == {"connected"}
            lab.shell(node, command)
            assert seen(scene, fault.kind) == {fault.outcome}
    finally:
        lab.shell(node, back)
    assert seen(scene, fault.kind) == {"connected"}
    assert asked(scene, fault.kind)["findings"][0]["where"] == ends_of(scene)[0]


@only_sweep
def test_a_program_that_is_gone_is_named() -> None:
    """
    Cilium's program taken from a pod's device: found first, by the other pods', and left to the agent.

    Real connections go on, as the lab's program let all of them pass; a lab of its own, for nobody
    here could hang it up again.
    """
    with bench("cilium") as lab:
        scene = kubernetes_scene(lab)
        near, _ = ends_of(scene)
        pod = scene.client[near]
        device = device_of(scene, near, pod)
        lab.shell(near, f"tc filter del dev {device} ingress")
        first = asked(scene, "pod-pod-other-node")["findings"][0]
        assert (first["cause"], first["where"], first["subject"]) == (
            "cilium-program-missing",
            near,
            f"pod/{pod}",
        )
        assert f"{device} of {near} has no program cil_from_contai at tc ingress" in first["message"]
        assert [(r["safety"], r["commands"]) for r in first["repairs"]] == [("advice", [])]
        assert "k8s-app=cilium" in first["repairs"][0]["lasting"]
        assert seen(scene, "pod-pod-other-node") == {"connected"}


@only_sweep
def test_a_filter_by_reverse_path_is_told(scene: Scene) -> None:
    """
    rp_filter on a pod's device, as systemd's defaults set it again: `check` finds it on the node.

    In the lab each pod has a route by its own device, so that nothing is lost by it.
    """
    lab = scene.bench
    near, _ = ends_of(scene)
    name = f"net.ipv4.conf.{device_of(scene, near, scene.client[near])}.rp_filter"
    lab.shell(near, f"sysctl -qw {name}=1")
    try:
        said = lab.nettrace("show", "systems", near, "--lab", lab.name, "-o", "json", expect=(1,)).json
        differs = [line for item in said["items"] for line in item["system"]["differs"]]
        assert len(differs) == 1
        assert name in differs[0]
    finally:
        lab.shell(near, f"sysctl -qw {name}=0")
