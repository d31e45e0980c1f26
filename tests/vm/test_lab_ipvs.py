"""A cluster whose kube-proxy uses IPVS: prediction and real connections, and what breaks it."""

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import KINDS, SWEEP, agrees, ends_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes, with kube-proxy in mode ipvs."""
    with bench("flannel-vxlan", "--proxy", "ipvs") as lab:
        yield kubernetes_scene(lab)


@pytest.mark.parametrize("kind", KINDS if SWEEP else ("outside-nodeport-near",))
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """The walk's outcome and endpoints are those of real connections, and nothing is found wrong."""
    agrees(scene, kind)


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")
def test_all_that_is_owed_is_there(scene: Scene) -> None:
    """Virtual servers, sets, addresses, rules, sysctls are as kube-proxy owes them; a missing one is told."""
    lab = scene.bench
    near, _ = ends_of(scene)
    asked = ("expect", "--diff", "--node", near, "--lab", lab.name)
    assert lab.nettrace(*asked, "-o", "json", expect=(0,)).json["equal"] is True
    first = next(iter(scene.endpoints.values()))
    server = f"-t {scene.cluster_ip}:{scene.port} -r {first}:{scene.target_port}"
    lab.shell(near, f"ipvsadm -d {server}")
    try:
        (differs,) = lab.nettrace(*asked, "-o", "json", expect=(1,)).json["differences"]
        assert first in differs["meaning"]
        assert differs["table"] == "ipvs"
    finally:
        lab.shell(near, f"ipvsadm -a {server} -m -w 1")
