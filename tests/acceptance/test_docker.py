"""
Docker on one host: everybody calls everybody, by real connections, and what breaks it.

One lab for all of it; each fault is taken back by the shell before the next.
Not here: Docker's own layouts before and since version 28, with several networks (test_docker_layouts).
"""

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import bench
from tests.acceptance.breaking import Break, found_repaired_undone
from tests.acceptance.faults import Scene, docker_dnat_missing
from tests.acceptance.matrix import SWEEP
from tests.acceptance.scenes import docker_scene

HOST = "docker-host"

#: Kind of flow -> what comes of it.  dockerd's rules translate nothing that comes from its own bridge, and
#: the lab has no userland proxy, which would answer there.
WAYS = {
    "pod-pod-same-node": "connected",
    "pod-service": "refused",
    "pod-own-service": "refused",
    "pod-outside": "connected",
    "node-service": "connected",
    "outside-nodeport": "connected",
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A host with a published container and another one."""
    with bench("docker") as lab:
        yield docker_scene(lab)


def way_of(scene: Scene, kind: str) -> tuple[str, str, str, str, int]:
    """Source target, destination target; member, address and port of the real connection."""
    host, web, port = scene.node_ip[HOST], scene.endpoints["web"], scene.port
    published = (f"node/{HOST}:{port}", host, port)
    source, (target, address, number) = {
        "pod-pod-same-node": ("container/app", (f"{web}:80", web, 80)),
        "pod-service": ("container/app", published),
        "pod-own-service": ("container/web", published),
        "pod-outside": ("container/app", ("internet:80", scene.outside_ip, 80)),
        "node-service": (f"node/{HOST}", published),
        "outside-nodeport": ("internet", published),
    }[kind]
    return source, target, source.rpartition("/")[2], address, number


@pytest.mark.parametrize("kind", WAYS if SWEEP else ("outside-nodeport",))
def test_prediction_equals_the_real_connection(scene: Scene, kind: str) -> None:
    """What the walk says, what a real connection does and what Docker is known for are one."""
    source, target, who, address, port = way_of(scene, kind)
    said = scene.bench.trace(source, target)
    assert said["outcome"] == WAYS[kind], said
    assert [t["outcome"] for t in scene.bench.connect(who, address, port)] == [WAYS[kind]]


def masquerade_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the rule that masquerades what leaves docker0's network."""
    rules = scene.bench.shell(HOST, "iptables -t nat -S POSTROUTING").splitlines()
    rule = next(one for one in rules if "MASQUERADE" in one)
    return [(HOST, f"iptables -t nat {rule.replace('-A', '-D', 1)}")]


def forwarding_off(scene: Scene) -> list[tuple[str, str]]:
    """The host forwards nothing."""
    return [(HOST, "sysctl -qw net.ipv4.ip_forward=0")]


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Take back what is no rule."""
    return [(HOST, "sysctl -qw net.ipv4.ip_forward=1")]


BREAKS = (
    Break("docker-dnat-missing", docker_dnat_missing, "outside-nodeport", "refused", "docker", way=way_of),
    Break("masquerade-missing", masquerade_missing, "pod-outside", "timeout", "docker", way=way_of),
    Break("ip-forward-off", forwarding_off, "pod-outside", "timeout", "docker", 0, way_of),
)


@pytest.mark.parametrize("fault", BREAKS if SWEEP else (), ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(scene: Scene, fault: Break) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    found_repaired_undone(scene, fault, heal)
