"""
Policies in a lab: put in force, and held against real connections and the walk.

Lives here: what the tests of each network system's policies share.
"""

from pathlib import Path
from random import Random

import yaml

from nettrace.app.context import open_context
from nettrace.app.remember import Question
from nettrace.app.trace import walk_of
from nettrace.kube.policy import decide
from nettrace.lab.policies import add_policies, enforce
from nettrace.model.kube import Kube, Pod
from nettrace.model.lab import LabRecord
from nettrace.model.policy_verdict import Decision, PolicyFlow
from nettrace.model.section import Known
from nettrace.model.walk import Outcome
from tests.kernel.labs import ask
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import cluster

__all__ = ["agree", "only", "pods_of", "write_cluster"]


def write_cluster(folder: Path) -> None:
    """Write the truth table's cluster, without any policy."""
    objects = [
        o for o in cluster() if o["kind"] in ("Namespace", "Pod") and not o.get("spec", {}).get("hostNetwork")
    ]
    for one in objects:
        one.pop("status", None)
    (folder / "cluster.yaml").write_text(yaml.safe_dump_all(objects))


def only(record: LabRecord, policies: list[Object]) -> Kube:
    """Put exactly these policies in force and return the lab's objects."""
    Path(record.manifests or "", "networkpolicies.yaml").unlink(missing_ok=True)
    if policies:
        add_policies(record, policies)
    else:
        enforce(record)
    with open_context(lab=record.name) as context:
        return context.snapshot.kube


def pods_of(kube: Kube) -> list[Pod]:
    """Return the truth table's pods."""
    assert isinstance(kube.pods, Known)
    return [pod for pod in kube.pods.value if pod.namespace in ("shop", "db", "mon")]


def _really(record: LabRecord, pod: Pod, address: str, port: int, proto: str) -> bool:
    name = next(n.name for n in record.namespaces if n.pod == pod.key)
    try:
        ask(record, name, address, port, proto)
    except (OSError, TimeoutError):
        return False
    return True


def agree(record: LabRecord, kube: Kube, lots: Random, flows: int) -> list[str]:
    """Ask *flows* flows between pods; return those where verdict, walk and connection do not agree."""
    pods = pods_of(kube)
    wrong = []
    with open_context(lab=record.name) as context:
        for _ in range(flows):
            source, target = lots.sample(pods, 2)
            proto = lots.choice(["tcp", "tcp", "udp"])
            own = [p.container_port for p in target.containers[0].ports if p.protocol.lower() == proto]
            port = lots.choice(own)
            said = decide(kube, PolicyFlow(src=source.ips[0], dst=target.ips[0], proto=proto, port=port))
            walked = walk_of(
                context, Question(source=f"pod/{source.key}", target=f"pod/{target.key}:{port}/{proto}")
            )
            real = _really(record, source, target.ips[0], port, proto)
            wanted = said.decision is Decision.ALLOWED
            if not wanted == real == (walked.outcome is Outcome.CONNECTED):
                wrong.append(
                    f"{source.key} -> {target.key} {proto}/{port}: {said.words()}; {walked.outcome}; {real}"
                )
    return wrong
