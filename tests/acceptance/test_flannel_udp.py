"""
flannel's back end udp: the matrix through a program in user space, by real connections, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
"""

import os
import signal
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone, overlay_blocked_is_named
from tests.acceptance.faults import Scene, masquerade_missing
from tests.acceptance.matrix import SAMPLE, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes between which a program carries the packets."""
    with bench("flannel-udp") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE)
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


def test_the_outer_packet_is_walked(scene: Scene) -> None:
    """Between the nodes the packet is inside one from port 8285 to port 8285, seen in OUTPUT and INPUT."""
    near, far = ends_of(scene)
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    tunnel = [step for step in path["request"]["steps"] if step["stage"] == "tunnel"]
    assert [(step["node"], step["verdict"]) for step in tunnel] == [
        (near, "encapsulate"),
        (far, "decapsulate"),
    ]
    outer = tunnel[0]["after"]
    assert (outer["src"], outer["dst"], outer["proto"]) == (scene.node_ip[near], scene.node_ip[far], "udp")
    assert (outer["sport"], outer["dport"]) == (8285, 8285)
    seen = {(s["node"], s["hook"]) for s in path["request"]["steps"] if s["before"] == outer and s["hook"]}
    assert {(near, "output"), (far, "input")} <= seen


def network(scene: Scene) -> str:
    """The network of all pods."""
    return str(IPv4Network(next(iter(scene.pod_cidr.values()))).supernet(new_prefix=16))


def device_down(scene: Scene) -> list[tuple[str, str]]:
    """Take the TUN device down, which takes its route along."""
    return [(ends_of(scene)[0], "ip link set flannel0 down")]


def route_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the route to all pods."""
    return [(ends_of(scene)[0], f"ip route del {network(scene)}")]


def heal(scene: Scene) -> list[tuple[str, str]]:
    """The device up, with its route."""
    command = f"ip link set flannel0 up; ip route replace {network(scene)} dev flannel0 scope global"
    return [(node, command) for node in scene.node_ip]


BREAKS = (
    Break("tunnel-link-down", device_down, "pod-pod-other-node", "timeout"),
    Break("pod-route-missing", route_missing, "pod-pod-other-node", "timeout"),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout"),
)


@pytest.mark.parametrize("fault", BREAKS if SWEEP else BREAKS[:1], ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


def test_a_blocked_port_is_named(scene: Scene) -> None:
    """A rule that drops UDP port 8285 on the far node is overlay-udp-blocked."""
    overlay_blocked_is_named(scene, "-p udp --dport 8285")


def test_without_the_program_nothing_gets_through(scene: Scene) -> None:
    """flanneld ended on the far node, then on both: the walk says where, and flanneld-dead is found first."""
    lab = scene.bench
    near, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    for node, verdict in ((far, "NOT_LISTENING"), (near, "BLACKHOLED")):
        pid = int(Path(lab.record()["root"], f"run/{node}.flanneld.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 5
        while "flannel0" in lab.shell(node, "ip -br link") and time.monotonic() < end:
            time.sleep(0.05)
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert (said["verdict"], said["outcome"]) == (verdict, "timeout")
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
        assert said["findings"][0]["cause"] == "flanneld-dead", said["findings"]
        assert node in said["findings"][0]["message"]
