"""Calico with IPIP: prediction and real connections through tunl0, and what breaks it."""

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone, overlay_blocked_is_named
from tests.acceptance.calico import block_of, no_proxy_arp, no_workload_route
from tests.acceptance.calico import heal as heal_all
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import KINDS, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes that put the pods' packets into packets of their own."""
    with bench("calico-ipip") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", KINDS if SWEEP else ("pod-pod-other-node",))
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")
def test_its_systems_are_named(scene: Scene) -> None:
    """Calico with its mode and version on both nodes, and all that it owes is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("calico  ipip, v3.31.0\n") == 2
    assert shown.count(": all there\n") == 4


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")
def test_the_outer_packet_is_walked(scene: Scene) -> None:
    """Between the nodes the packet is inside one of protocol 4, which Felix' INPUT takes."""
    near, far = ends_of(scene)
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    steps = path["request"]["steps"]
    outer = next(step["after"] for step in steps if step["verdict"] == "encapsulate")
    assert (outer["src"], outer["dst"], outer["proto"]) == (scene.node_ip[near], scene.node_ip[far], "4")
    taken = [step for step in steps if step["node"] == far and step["chain"] == "cali-INPUT"]
    assert [step["verdict"] for step in taken] == ["ACCEPT"]


def tunnel_down(scene: Scene) -> list[tuple[str, str]]:
    """Take tunl0 of the near node down, which takes its routes along."""
    return [(ends_of(scene)[0], "ip link set tunl0 down")]


def no_route(scene: Scene) -> list[tuple[str, str]]:
    """Delete the route to the far node's block."""
    near, far = ends_of(scene)
    return [(near, f"ip route del {block_of(scene, far)}")]


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Take back all of them."""
    near, far = ends_of(scene)
    way = f"via {scene.node_ip[far]} dev tunl0 onlink proto 80"
    return [
        *heal_all(scene),
        (near, f"ip link set tunl0 up; ip route replace {block_of(scene, far)} {way}"),
    ]


BREAKS = (
    Break("pod-route-missing", no_route, "pod-pod-other-node", "timeout", "calico"),
    Break("tunnel-link-down", tunnel_down, "pod-pod-other-node", "timeout", "calico"),
    Break("calico-workload-route-missing", no_workload_route, "pod-pod-other-node", "timeout", "calico"),
    Break("calico-proxy-arp-off", no_proxy_arp, "pod-pod-other-node", "unreachable", "calico"),
)


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")
@pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")
def test_a_blocked_protocol_is_named(scene: Scene) -> None:
    """A rule before Felix' own that drops protocol 4 on the far node is overlay-udp-blocked."""
    overlay_blocked_is_named(scene, "-p 4")
