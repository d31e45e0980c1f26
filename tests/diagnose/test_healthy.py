"""Where everything works nothing is said."""

import pytest

from tests.diagnose.asking import diagnosed
from tests.diagnose.worlds import Names, cluster, docker_host

FLOWS = (
    ("pod/client-near", "svc/hostnames"),
    ("pod/client-near", "svc/kube-dns"),
    ("pod/client-near", "pod/hostnames-0"),
    ("pod/client-near", "pod/hostnames-1"),
    ("pod/client-near", "client-far/icmp"),
    ("pod/client-near", "internet:80"),
    ("pod/client-near", "node/node-b/icmp"),
    ("pod/hostnames-0", "svc/hostnames"),
    ("node/node-a", "svc/hostnames"),
    ("node/node-b", "pod/hostnames-0"),
    ("internet", "node/node-a:30080"),
    ("internet", "node/node-b:30080"),
    ("node/node-a", "ip/127.0.0.1:30080"),
)


@pytest.mark.parametrize(("source", "target"), FLOWS)
def test_a_healthy_cluster_has_no_findings(source: str, target: str) -> None:
    """Every flow that works meets its goal, with no finding and no walk of the search."""
    found = diagnosed(cluster(), source, target)
    assert (found.met, found.findings, found.walks) == (True, (), 0)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_it_is_called(seed: int) -> None:
    """Names, networks and ports make no difference."""
    names = Names(seed)
    world = cluster(names)
    target = f"svc/{names.namespace}/{names.service}"
    assert diagnosed(world, "pod/client-far", target).met is True
    assert diagnosed(world, "internet", f"node/{names.nodes[1]}:{names.node_port}").met is True


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("internet", "node/docker-host:8088"),
        ("container/web", "internet:80"),
        ("container/web", "container/app"),
        ("node/docker-host", "node/docker-host:8088"),
    ],
)
def test_a_healthy_docker_host_has_no_findings(source: str, target: str) -> None:
    """The same for Docker's bridge and its published port."""
    found = diagnosed(docker_host(), source, target)
    assert (found.met, found.findings) == (True, ())
