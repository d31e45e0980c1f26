"""Network policies in a lab of 3 namespaces x 3 pods: the verdict, the walk and real connections agree."""

from collections.abc import Iterator
from os import environ
from random import Random

import pytest

from nettrace.collect.netns import in_netns
from nettrace.kube.policy import decide
from nettrace.lab.tools import netns_path, run
from nettrace.model.lab import LabRecord
from nettrace.model.policy_verdict import Decision, PolicyFlow
from tests.kernel.labs import a_lab, ask
from tests.kernel.policing import agree, only, pods_of, write_cluster
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import PICKED, drawn

#: Of those picked by hand, and drawn by lot; NETTRACE_POLICIES=200 makes the long sweep.
SAMPLE = ["default deny both", "and", "or", "block", "named port", "range", "no types, egress rules"]
DRAWN = int(environ.get("NETTRACE_POLICIES", "5"))
FLOWS = 10


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRecord]:
    """A lab with the truth table's cluster, without any policy."""
    folder = tmp_path_factory.mktemp("manifests")
    write_cluster(folder)
    with a_lab("flannel-vxlan", manifests=folder) as record:
        yield record


def _cases() -> Iterator[tuple[str, list[Object]]]:
    yield from ((name, PICKED[name]) for name in SAMPLE)
    for number in range(1000, 1000 + DRAWN):
        yield str(number), [one for one in drawn(Random(number)) if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("name", "policies"), _cases())
def test_policies_in_force(lab: LabRecord, name: str, policies: list[Object]) -> None:
    """What the verdict allows connects, what it denies is refused, and the walk foresees either."""
    kube = only(lab, policies)
    wrong = agree(lab, kube, Random(name), FLOWS)
    assert not wrong, (policies, wrong)


def test_a_node_reaches_its_own_pods_and_only_them(lab: LabRecord) -> None:
    """Under default deny a pod's own node gets through and another node does not, as the verdict says."""
    kube = only(lab, PICKED["default deny both"])
    pod = next(p for p in pods_of(kube) if p.key == "shop/api")
    for node in (n for n in lab.namespaces if n.role == "node"):
        flow = PolicyFlow(src=node.addresses[0], dst=pod.ips[0], proto="tcp", port=80)
        allowed = decide(kube, flow).decision is Decision.ALLOWED
        assert allowed == (node.name == pod.node_name)
        try:
            ask(lab, node.name, pod.ips[0], 80)
            real = True
        except OSError:
            real = False
        assert real == allowed, node.name


def test_the_controller_leaves_no_trace(lab: LabRecord) -> None:
    """When the last policy goes, so do all chains, jumps and sets of the controller, and nothing else."""
    only(lab, [])
    node = netns_path(next(n.netns for n in lab.namespaces if n.role == "node"))
    before = in_netns(node, run, ["iptables-nft", "-S"])
    assert "KUBE-ROUTER" not in before
    only(lab, PICKED["two add up"])
    assert "KUBE-POD-FW-" in in_netns(node, run, ["iptables-nft", "-S"])
    only(lab, PICKED["named port"])
    only(lab, [])
    assert in_netns(node, run, ["iptables-nft", "-S"]) == before
    assert not in_netns(node, run, ["ipset", "list", "-n"]).split()
