"""Network policies in a lab of 3 namespaces x 3 pods: the verdict, the walk and real connections agree."""

from collections.abc import Iterator
from os import environ
from pathlib import Path
from random import Random

import pytest
import yaml

from nettrace.app.context import open_context
from nettrace.app.remember import Question
from nettrace.app.trace import walk_of
from nettrace.collect.netns import in_netns
from nettrace.kube.policy import decide
from nettrace.lab.policies import add_policies, enforce
from nettrace.lab.tools import netns_path, run
from nettrace.model.kube import Kube, Pod
from nettrace.model.lab import LabRecord
from nettrace.model.policy_verdict import Decision, PolicyFlow
from nettrace.model.section import Known
from nettrace.model.walk import Outcome
from tests.kernel.labs import a_lab, ask
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import PICKED, cluster, drawn

#: Of those picked by hand, and drawn by lot; NETTRACE_POLICIES=200 makes the long sweep.
SAMPLE = ["default deny both", "and", "or", "block", "named port", "range", "no types, egress rules"]
DRAWN = int(environ.get("NETTRACE_POLICIES", "5"))
FLOWS = 10


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRecord]:
    """A lab with the truth table's cluster, without any policy."""
    folder = tmp_path_factory.mktemp("manifests")
    objects = [
        o for o in cluster() if o["kind"] in ("Namespace", "Pod") and not o.get("spec", {}).get("hostNetwork")
    ]
    for one in objects:
        one.pop("status", None)
    (folder / "cluster.yaml").write_text(yaml.safe_dump_all(objects))
    with a_lab("flannel-vxlan", manifests=folder) as record:
        yield record


def _only(record: LabRecord, policies: list[Object]) -> Kube:
    """Put exactly these policies in force and return the lab's objects."""
    Path(record.manifests or "", "networkpolicies.yaml").unlink(missing_ok=True)
    if policies:
        add_policies(record, policies)
    else:
        enforce(record)
    with open_context(lab=record.name) as context:
        return context.snapshot.kube


def _pods(kube: Kube) -> list[Pod]:
    assert isinstance(kube.pods, Known)
    return [pod for pod in kube.pods.value if pod.namespace in ("shop", "db", "mon")]


def _really(record: LabRecord, pod: Pod, address: str, port: int, proto: str) -> bool:
    name = next(n.name for n in record.namespaces if n.pod == pod.key)
    try:
        ask(record, name, address, port, proto)
    except (OSError, TimeoutError):
        return False
    return True


def _cases() -> Iterator[tuple[str, list[Object]]]:
    yield from ((name, PICKED[name]) for name in SAMPLE)
    for number in range(1000, 1000 + DRAWN):
        yield str(number), [one for one in drawn(Random(number)) if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("name", "policies"), _cases())
def test_policies_in_force(lab: LabRecord, name: str, policies: list[Object]) -> None:
    """What the verdict allows connects, what it denies is refused, and the walk foresees either."""
    kube = _only(lab, policies)
    lots = Random(name)
    pods = _pods(kube)
    wrong = []
    with open_context(lab=lab.name) as context:
        for _ in range(FLOWS):
            source, target = lots.sample(pods, 2)
            proto = lots.choice(["tcp", "tcp", "udp"])
            own = [p.container_port for p in target.containers[0].ports if p.protocol.lower() == proto]
            port = lots.choice(own)
            said = decide(kube, PolicyFlow(src=source.ips[0], dst=target.ips[0], proto=proto, port=port))
            walked = walk_of(
                context, Question(source=f"pod/{source.key}", target=f"pod/{target.key}:{port}/{proto}")
            )
            real = _really(lab, source, target.ips[0], port, proto)
            wanted = said.decision is Decision.ALLOWED
            if not wanted == real == (walked.outcome is Outcome.CONNECTED):
                wrong.append(
                    f"{source.key} -> {target.key} {proto}/{port}: {said.words()}; {walked.outcome}; {real}"
                )
    assert not wrong, (policies, wrong)


def test_a_node_reaches_its_own_pods_and_only_them(lab: LabRecord) -> None:
    """Under default deny a pod's own node gets through and another node does not, as the verdict says."""
    kube = _only(lab, PICKED["default deny both"])
    pod = next(p for p in _pods(kube) if p.key == "shop/api")
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
    _only(lab, [])
    node = netns_path(next(n.netns for n in lab.namespaces if n.role == "node"))
    before = in_netns(node, run, ["iptables-nft", "-S"])
    assert "KUBE-ROUTER" not in before
    _only(lab, PICKED["two add up"])
    assert "KUBE-POD-FW-" in in_netns(node, run, ["iptables-nft", "-S"])
    _only(lab, PICKED["named port"])
    _only(lab, [])
    assert in_netns(node, run, ["iptables-nft", "-S"]) == before
    assert not in_netns(node, run, ["ipset", "list", "-n"]).split()
