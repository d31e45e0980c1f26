"""Injecting causes into labs: a connection fails, and healing restores the state exactly."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettrace.lab import break_, heal, injected, possible
from nettrace.lab.faults.catalogue import FAULTS
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from tests.kernel.labs import a_lab, address_of, fails, path_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: Cause -> a connection that it breaks, in a cluster: source, target, port.  With three
#: endpoints a connection that fails for one of them is tried until it does.
BROKEN = {
    "bridge-nf-off": ("client-a", "svc", 80),
    "flannel-fdb-missing": ("client-a", "hostnames-1", 9376),
    "forward-policy-drop": ("client-a", "hostnames-1", 9376),
    "hairpin-off": ("hostnames-0", "svc", 80),
    "ip-forward-off": ("client-a", "hostnames-1", 9376),
    "kube-postrouting-missing": ("internet", "node-a", 30080),
    "masquerade-missing": ("client-a", "internet", 80),
    "pod-route-missing": ("client-a", "hostnames-1", 9376),
    "rp-filter-strict": ("client-a", "hostnames-1", 9376),
    "service-jump-missing": ("client-a", "svc", 80),
    "service-rules-absent": ("client-a", "svc", 80),
    "stale-endpoint-rule": ("client-a", "svc", 80),
    "svc-wrong-targetport": ("client-a", "svc", 80),
}

DOCKER_BROKEN = {
    "docker-dnat-missing": ("internet", "docker-host", 8088),
    "forward-policy-drop": ("internet", "docker-host", 8088),
    "ip-forward-off": ("web", "internet", 80),
    "masquerade-missing": ("web", "internet", 80),
}

STATE = (
    "iptables-save | grep -v '^#' | sed 's/ \\[.*\\]//'",
    "ip route show table all",
    "ip neigh show nud permanent",
    "ip rule",
    "sysctl -a 2>/dev/null | grep -E 'rp_filter|forwarding|ip_forward|bridge-nf|accept_redirects|localnet'",
    "bridge -d link",
    "bridge fdb show dev flannel.1 2>/dev/null || :",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabRecord]:
    """One cluster; every test leaves it as it was."""
    with a_lab("flannel-vxlan") as record:
        yield record


@pytest.fixture(scope="module")
def docker() -> Iterator[LabRecord]:
    """One docker lab; every test leaves it as it was."""
    with a_lab("docker") as record:
        yield record


def state_of(record: LabRecord) -> list[str]:
    """What the causes are about, of all nodes, as the tools print it."""
    return [
        subprocess.run(
            ["nsenter", f"--net={path_of(record, entry.name)}", "sh", "-c", line],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for entry in record.namespaces
        if entry.role == "node"
        for line in STATE
    ]


def broken(record: LabRecord, source: str, target: str, port: int) -> bool:
    """Does one of up to thirty connections fail?"""
    address = "10.96.1.0" if target == "svc" else address_of(record, target)
    return any(fails(record, source, address, port) for _ in range(30))


def works(record: LabRecord, source: str, target: str, port: int) -> bool:
    """Do ten connections all work?"""
    address = "10.96.1.0" if target == "svc" else address_of(record, target)
    return not any(fails(record, source, address, port) for _ in range(10))


@pytest.mark.parametrize("cause", sorted(BROKEN))
def test_cluster_causes(cluster: LabRecord, cause: str) -> None:
    """A cause breaks a real connection, and healing brings back both the connection and the state."""
    before = state_of(cluster)
    done = break_(cluster, cause)
    try:
        assert done.changes
        assert injected(cluster) == (done,)
        assert broken(cluster, *BROKEN[cause])
    finally:
        assert heal(cluster, cause) == (cause,)
    assert state_of(cluster) == before
    assert works(cluster, *BROKEN[cause])
    assert injected(cluster) == ()


@pytest.mark.parametrize("cause", sorted(DOCKER_BROKEN))
def test_docker_causes(docker: LabRecord, cause: str) -> None:
    """The same on the Docker model."""
    before = state_of(docker)
    break_(docker, cause)
    try:
        assert broken(docker, *DOCKER_BROKEN[cause])
    finally:
        heal(docker)
    assert state_of(docker) == before
    assert works(docker, *DOCKER_BROKEN[cause])


def test_every_cause_is_tried() -> None:
    """The tests above try every cause that a topology can have."""
    assert sorted(BROKEN) == list(possible("flannel-vxlan"))
    assert sorted(DOCKER_BROKEN) == list(possible("docker"))
    assert sorted({*BROKEN, *DOCKER_BROKEN}) == sorted(FAULTS)


def test_several_causes(cluster: LabRecord) -> None:
    """Several causes stand together, also two that touch the same chain, and are taken back together."""
    before = state_of(cluster)
    causes = ("stale-endpoint-rule", "svc-wrong-targetport", "service-rules-absent", "ip-forward-off")
    for cause in causes:
        break_(cluster, cause)
    with pytest.raises(UserError, match="has ip-forward-off already"):
        break_(cluster, "ip-forward-off")
    assert heal(cluster) == tuple(reversed(causes))
    assert state_of(cluster) == before


def test_parameters_choose(cluster: LabRecord) -> None:
    """The node, the peer, the Service, the pod and the port can be chosen; what is not there is an error."""
    assert {c.netns for c in break_(cluster, "ip-forward-off", node="all").changes} == {"node-a", "node-b"}
    assert break_(cluster, "pod-route-missing", node="node-b").changes[0].netns == "node-b"
    assert break_(cluster, "hairpin-off", pod="hostnames-2").changes[0].netns == "node-b"
    assert "kube-dns" in repr(break_(cluster, "service-rules-absent", service="kube-system/kube-dns").changes)
    assert "7777" in repr(break_(cluster, "svc-wrong-targetport", port="7777").changes)
    assert len(heal(cluster)) == 5
    for cause, parameters, words in (
        ("ip-forward-off", {"node": "node-z"}, "no node 'node-z'"),
        ("ip-forward-off", {"pod": "client-a"}, "no parameter pod"),
        ("hairpin-off", {"pod": "nobody"}, "no pod 'nobody'"),
        ("service-rules-absent", {"service": "nothing"}, "no Service nothing"),
        ("svc-wrong-targetport", {"port": "http"}, "'http' is no port"),
        ("docker-dnat-missing", {}, "cannot be injected into a lab of topology flannel-vxlan"),
        ("no-such-cause", {}, "cannot be injected"),
    ):
        with pytest.raises(UserError, match=words):
            break_(cluster, cause, **parameters)
    with pytest.raises(UserError, match="was not given hairpin-off"):
        heal(cluster, "hairpin-off")
    assert injected(cluster) == ()


def test_heal_after_somebody_else_did(cluster: LabRecord) -> None:
    """What was put right by hand meanwhile is not put right a second time."""
    before = state_of(cluster)
    break_(cluster, "service-jump-missing")
    comment = ["-m", "comment", "--comment", "kubernetes service portals"]
    rule = ["PREROUTING", "1", *comment, "-j", "KUBE-SERVICES"]
    enter = ["nsenter", f"--net={path_of(cluster, 'node-a')}"]
    subprocess.run([*enter, "iptables-nft", "-t", "nat", "-I", *rule], check=True)
    assert heal(cluster) == ("service-jump-missing",)
    assert state_of(cluster) == before


def test_damaged_note(cluster: LabRecord) -> None:
    """A note of what was broken that cannot be read is an error, not an unbroken lab."""
    path = Path(cluster.root, "faults.json")
    path.write_text("[{", encoding="utf-8")
    try:
        with pytest.raises(UserError, match="cannot be read what was broken"):
            heal(cluster)
    finally:
        path.unlink()
