"""
Calico with VXLAN: the matrix by real connections, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone, overlay_blocked_is_named
from tests.acceptance.calico import block_of
from tests.acceptance.calico import heal as heal_all
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import KINDS, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes that a VXLAN of Calico joins."""
    with bench("calico-vxlan") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", KINDS if SWEEP else ("pod-pod-other-node",))
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


def test_its_systems_are_named(scene: Scene) -> None:
    """Calico with its mode and version on both nodes, and all that it owes is there."""
    shown = scene.bench.nettrace("show", "systems", "--lab", scene.bench.name, expect=(0,)).out
    assert shown.count("calico  vxlan, v3.26.4\n") == 2
    assert shown.count(": all there\n") == 4


def test_the_outer_packet_is_walked(scene: Scene) -> None:
    """Between the nodes the packet is inside one to UDP port 4789, which the far node's INPUT takes."""
    near, far = ends_of(scene)
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    steps = path["request"]["steps"]
    outer = next(step["after"] for step in steps if step["verdict"] == "encapsulate")
    assert (outer["src"], outer["dst"], outer["dport"]) == (scene.node_ip[near], scene.node_ip[far], 4789)
    taken = [step for step in steps if step["node"] == far and step["chain"] == "cali-INPUT"]
    assert [step["verdict"] for step in taken] == ["ACCEPT"]


def _vtep(scene: Scene, node: str) -> str:
    return str(IPv4Network(scene.pod_cidr[node]).network_address)


def no_fdb(scene: Scene) -> list[tuple[str, str]]:
    """Delete where the far node's MAC leads."""
    near, far = ends_of(scene)
    mac = scene.bench.shell(near, f"ip neigh show {_vtep(scene, far)}").split()[4]
    return [(near, f"bridge fdb del {mac} dev vxlan.calico dst {scene.node_ip[far]}")]


def stale_blackhole(scene: Scene) -> list[tuple[str, str]]:
    """The far node's block was this node's, and its blackhole stayed."""
    near, far = ends_of(scene)
    block = block_of(scene, far)
    return [(near, f"ip route del {block}; ip route add blackhole {block} proto 80")]


def empty_set(scene: Scene) -> list[tuple[str, str]]:
    """Take the pool out of the set of those that are masqueraded."""
    near, _ = ends_of(scene)
    return [(near, "ipset flush cali40masq-ipam-pools")]


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Take back all of them."""
    near, far = ends_of(scene)
    mac = scene.bench.shell(near, f"ip neigh show {_vtep(scene, far)}").split()[4]
    pool = IPv4Network(scene.pod_cidr[near]).supernet(new_prefix=16)
    return [
        *heal_all(scene),
        (near, f"bridge fdb replace {mac} dev vxlan.calico self permanent dst {scene.node_ip[far]}"),
        (
            near,
            f"ip route replace {block_of(scene, far)} via {_vtep(scene, far)} dev vxlan.calico onlink",
        ),
        (near, f"ipset -exist add cali40masq-ipam-pools {pool}"),
    ]


BREAKS = (
    Break("calico-block-blackhole", stale_blackhole, "pod-pod-other-node", "timeout", "calico"),
    Break("calico-vtep-missing", no_fdb, "pod-pod-other-node", "timeout", "calico"),
    Break("calico-nat-outgoing-off", empty_set, "pod-outside", "timeout", "calico"),
)


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_a_blocked_port_is_named(scene: Scene) -> None:
    """A rule before Felix' own that drops UDP port 4789 on the far node is overlay-udp-blocked."""
    overlay_blocked_is_named(scene, "-p udp --dport 4789")


@pytest.mark.skipif(not SWEEP, reason="make systems")
def test_a_pool_without_nat_outgoing_is_advice(scene: Scene) -> None:
    """The IPPool itself says so: proven on the model, and left to calicoctl."""
    lab = scene.bench
    near, _ = ends_of(scene)
    objects = Path(lab.record()["manifests"], "network.yaml")
    before = objects.read_text()
    source, target, who, address, port = flow_of(scene, "pod-outside")
    pool = IPv4Network(scene.pod_cidr[near]).supernet(new_prefix=16)
    try:
        objects.write_text(before.replace("natOutgoing: true", "natOutgoing: false"))
        lab.shell(near, "ipset flush cali40masq-ipam-pools")
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"] == [said["outcome"]]
        first = said["findings"][0]
        assert first["cause"] == "calico-nat-outgoing-off"
        assert [(r["safety"], r["commands"]) for r in first["repairs"]] == [("advice", [])]
        assert "calicoctl patch ippool default-ipv4-ippool" in first["repairs"][0]["lasting"]
    finally:
        objects.write_text(before)
        lab.shell(near, f"ipset -exist add cali40masq-ipam-pools {pool}")
