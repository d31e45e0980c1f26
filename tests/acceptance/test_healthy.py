"""
A healthy cluster: the walk says what real connections do, and finds nothing wrong.
"""

from collections.abc import Iterator
from fractions import Fraction

import pytest

from tests.acceptance.bench import Bench, bench
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import KINDS, agrees, ends_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One healthy two-node lab for the tests that only look."""
    with bench("flannel-vxlan") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


def test_containers_of_one_pod_share_localhost(scene: Scene) -> None:
    """A container reaches the other container of its pod over 127.0.0.1."""
    lab = scene.bench
    pod = next(c for c in scene.client.values() if "127.0.0.1" in lab.shell(c, "ss -Hltn"))
    listening = next(
        line.split()[3] for line in lab.shell(pod, "ss -Hltn").splitlines() if "127.0.0.1:" in line
    )
    port = int(listening.rsplit(":", 1)[1])
    said = lab.trace(f"pod/{pod}", f"127.0.0.1:{port}")
    assert said["outcome"] == "connected"
    assert said["findings"] == []
    assert lab.connect(pod, "127.0.0.1", port)[0]["outcome"] == "connected"


def test_the_shares_are_the_kernels(scene: Scene) -> None:
    """Three endpoints have the shares of the kernel's 31-bit draws, and 90 connections reach just them."""
    near, _ = ends_of(scene)
    said = scene.bench.trace(f"pod/{scene.client[near]}", f"svc/{scene.service}:{scene.port}")
    shares = {p["endpoint"]["address"]: p["probability"] for p in said["paths"]}
    third = Fraction(715827883, 1 << 31)  # what 0.3333333333 is in 1/2^31
    half = (1 - third) * Fraction(1 << 30, 1 << 31)
    wanted = sorted([third, half, 1 - third - half])
    assert len(shares) == 3
    for got, exact in zip(sorted(shares.values()), wanted, strict=True):
        assert got == pytest.approx(float(exact), abs=1e-15)
    tries = scene.bench.connect(scene.client[near], scene.cluster_ip, scene.port, times=90)
    names = {p["endpoint"]["netns"] for p in said["paths"]}
    assert {t["answer"] for t in tries} == names


def test_dns_over_udp_and_tcp(scene: Scene) -> None:
    """The cluster's DNS Service is walked and answers, by UDP and by TCP."""
    lab = scene.bench
    near, _ = ends_of(scene)
    for proto in ("udp", "tcp"):
        said = lab.trace(f"pod/{scene.client[near]}", f"svc/kube-system/kube-dns:53/{proto}")
        assert said["outcome"] == "connected", said["paths"]
        assert said["findings"] == []


def test_a_probe_stands_beside_the_walk(scene: Scene) -> None:
    """`trace --probe` makes real connections and says that they agree."""
    near, _ = ends_of(scene)
    said = scene.bench.trace("internet", f"node/{near}:{scene.node_port}", "--probe", "--count", "30")
    assert said["agreement"]["agrees"] is True
    assert len(said["observed"]["attempts"]) == 30
    assert {a["answered_by"] for a in said["observed"]["attempts"]} == {
        p["endpoint"]["netns"] for p in said["paths"]
    }


def test_a_foreign_network_is_traced_like_a_lab(scene: Scene) -> None:
    """Without --lab the same namespaces are found by name, and the walk through them is the same."""
    lab = scene.bench
    near, far = ends_of(scene)
    there = next(p for p, n in scene.node_of.items() if n == far)
    source = f"netns/{lab.netns(scene.client[near])}"
    said = lab.nettrace("trace", source, f"{scene.endpoints[there]}:{scene.target_port}", "-o", "json").json
    assert said["outcome"] == "connected"
    assert said["findings"] == []


def test_a_snapshot_answers_like_the_node(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A snapshot file of the lab gives the same walk without the lab."""
    lab: Bench = scene.bench
    near, _ = ends_of(scene)
    path = tmp_path_factory.mktemp("snapshot") / "lab.json.gz"
    lab.nettrace("snapshot", "--lab", lab.name, "-o", str(path), expect=(0,))
    source, target = f"pod/{scene.client[near]}", f"svc/{scene.service}:{scene.port}"
    live = lab.trace(source, target)
    saved = lab.nettrace("trace", source, target, "--from", str(path), "-o", "json", expect=(0,)).json
    assert [(p["probability"], p["endpoint"]) for p in saved["paths"]] == [
        (p["probability"], p["endpoint"]) for p in live["paths"]
    ]
