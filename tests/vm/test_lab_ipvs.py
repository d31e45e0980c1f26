"""A cluster whose kube-proxy uses IPVS: prediction and real connections, and what breaks it."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.faults import Scene
from tests.acceptance.matrix import KINDS, SWEEP, agrees, ends_of, flow_of
from tests.acceptance.scenes import kubernetes_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A cluster of two nodes, with kube-proxy in mode ipvs."""
    with bench("flannel-vxlan", "--proxy", "ipvs") as lab:
        yield kubernetes_scene(lab)


class Fault(NamedTuple):
    """A cause, what makes it on the near node, the flow that it hurts, and what a client sees."""

    cause: str
    inject: Callable[[Scene], str]
    kind: str
    outcome: str


def server(scene: Scene) -> str:
    """How ipvsadm names the Service under test."""
    return f"-t {scene.cluster_ip}:{scene.port}"


def reals(scene: Scene) -> list[str]:
    """Its real servers, as ipvsadm writes them."""
    return [f"{address}:{scene.target_port}" for address in scene.endpoints.values()]


def hairpin(scene: Scene) -> str:
    """The set, and its entry by which what the near node's pod sends to itself is masqueraded."""
    near, _ = ends_of(scene)
    own = next(scene.endpoints[pod] for pod, node in scene.node_of.items() if node == near)
    return f"KUBE-LOOP-BACK {own},tcp:{scene.target_port},{own}"


FAULTS = (
    Fault(
        "ipvs-rs-weight0",
        lambda scene: "; ".join(f"ipvsadm -e {server(scene)} -r {one} -m -w 0" for one in reals(scene)),
        "pod-service",
        "refused",
    ),
    Fault(
        "ipvs-vip-missing",
        lambda scene: f"ip addr del {scene.cluster_ip}/32 dev kube-ipvs0",
        "pod-service",
        "timeout",
    ),
    Fault(
        "ipvs-no-real-servers",
        lambda scene: "; ".join(f"ipvsadm -d {server(scene)} -r {one}" for one in reals(scene)),
        "pod-service",
        "refused",
    ),
    Fault(
        "ipvs-ipset-missing",
        lambda scene: f"ipset del {hairpin(scene)}",
        "pod-own-service",
        "mixed",  # other endpoints than itself answer
    ),
    Fault(
        "ipvs-conntrack-off",
        lambda scene: "sysctl -qw net.ipv4.vs.conntrack=0",
        "outside-nodeport-near",
        "mixed",  # an endpoint on this very node answers by it
    ),
    Fault(
        "service-rules-absent",
        lambda scene: f"ipvsadm -D {server(scene)}",
        "pod-service",
        "refused",
    ),
)


def state(scene: Scene, node: str) -> str:
    """The virtual servers, addresses, sysctls and rules of a node, counters left out."""
    shown = scene.bench.shell(
        node,
        "ipset save | sort; ipvsadm-save -n | sort; ip -o addr show dev kube-ipvs0 | sort; "
        "sysctl net.ipv4.vs; iptables-save",
    )
    return re.sub(r"#.*\n|\[\d+:\d+\]", "", shown)


@pytest.mark.parametrize("fault", FAULTS if SWEEP else FAULTS[:1], ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Fault) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    lab = scene.bench
    near, _ = ends_of(scene)
    source, target, who, address, port = flow_of(scene, fault.kind)
    healthy = state(scene, near)
    saved = lab.shell(near, "ipvsadm-save -n")
    lab.shell(near, fault.inject(scene))
    try:
        broken = state(scene, near)
        assert broken != healthy
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["outcome"] == fault.outcome
        seen = {t["outcome"] for t in lab.connect(who, address, port, times=3)}
        assert seen == ({"connected", "timeout"} if fault.outcome == "mixed" else {fault.outcome})
        assert [finding["cause"] for finding in said["findings"]][:1] == [fault.cause]
        lab.nettrace("repair", "apply", fault.cause, "--lab", lab.name, "--yes", expect=(0,))
        assert state(scene, near) == healthy
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert state(scene, near) == broken
    finally:
        heal = f"ip addr replace {scene.cluster_ip}/32 dev kube-ipvs0; sysctl -qw net.ipv4.vs.conntrack=1; "
        heal += f"ipset -exist add {hairpin(scene)}; "
        lab.shell(near, f"{heal} ipvsadm -C; ipvsadm -R <<'END'\n{saved}\nEND")


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
    entry = f"KUBE-CLUSTER-IP {scene.cluster_ip},tcp:{scene.port}"
    lab.shell(near, f"ipset del {entry}")
    (differs,) = lab.nettrace(*asked, "-o", "json", expect=(1,)).json["differences"]
    assert (differs["cause"], differs["chain"]) == ("ipvs-ipset-missing", "KUBE-CLUSTER-IP")
    assert (differs["commands"], differs["undo"]) == ([f"ipset add {entry}"], [f"ipset del {entry}"])
    lab.shell(near, differs["commands"][0])
    assert lab.nettrace(*asked, "-o", "json", expect=(0,)).json["equal"] is True
