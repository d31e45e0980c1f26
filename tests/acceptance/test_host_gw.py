"""
flannel's host-gw back end: the matrix by real connections, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone, lead_to_peers
from tests.acceptance.faults import Scene, masquerade_missing, pod_route_missing
from tests.acceptance.matrix import SAMPLE, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.network_checks import leaves_by_the_wire
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes that are each other's next hop."""
    with bench("flannel-host-gw") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", SAMPLE)
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


def test_its_systems_are_named(scene: Scene) -> None:
    """flannel with its back end and kube-proxy, on both nodes, and all that they owe is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("flannel  host-gw\n") == shown.count("kube-proxy  iptables") == 2
    assert shown.count(": all there\n") == 4


def test_no_tunnel_is_in_the_way(scene: Scene) -> None:
    """A packet to the other node's pod leaves by eth0 as it is, with the MTU of the wire."""
    leaves_by_the_wire(scene, 1500)


def wrong_next_hop(scene: Scene) -> list[tuple[str, str]]:
    """Lead the peer's pods to a host that passes nothing on."""
    near, far = ends_of(scene)
    return [(near, f"ip route replace {scene.pod_cidr[far]} via {scene.outside_ip} dev eth0")]


BREAKS = (
    Break("wrong-next-hop", wrong_next_hop, "pod-pod-other-node", "timeout"),
    Break("pod-route-missing", pod_route_missing, "pod-pod-other-node", "timeout"),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout"),
)


@pytest.mark.parametrize("fault", BREAKS if SWEEP else BREAKS[:1], ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, lead_to_peers)


def test_a_peer_behind_a_router_cannot_be_a_next_hop(scene: Scene) -> None:
    """The peer's address in no network of the node: hostgw-no-l2 first, with no repair on the node."""
    lab = scene.bench
    near, far = ends_of(scene)
    nodes = Path(lab.record()["manifests"], "nodes.yaml")
    before = nodes.read_text()
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    away = "192.168.60.12"
    try:
        nodes.write_text(before.replace(scene.node_ip[far], away))
        lab.shell(near, f"ip route replace {scene.pod_cidr[far]} via {away} dev eth0 onlink")
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["outcome"] == "unreachable"
        seen = lab.connect(who, address, port, seconds=4.5)
        assert [(t["outcome"], t["errno"]) for t in seen] == [("unreachable", "EHOSTUNREACH")]
        first = said["findings"][0]
        assert first["cause"] == "hostgw-no-l2"
        assert [(r["safety"], r["commands"]) for r in first["repairs"]] == [("advice", [])]
        assert {away, f"{scene.node_ip[near]}/24"} <= set(
            re.findall(r"[\d.]+(?:/\d+)?", " ".join(piece["text"] for piece in first["evidence"]))
        )
    finally:
        nodes.write_text(before)
        lab.shell(near, f"ip route replace {scene.pod_cidr[far]} via {scene.node_ip[far]} dev eth0")
