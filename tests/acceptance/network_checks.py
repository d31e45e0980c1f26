"""
What labs of several networks are asked in the same words.

Lives here: policies that are enforced, a packet that leaves by the wire.
Not here: faults (breaking), kinds of flows (matrix).
"""

from pathlib import Path

import yaml

from tests.acceptance.faults import Scene
from tests.acceptance.matrix import ends_of, flow_of

__all__ = ["leaves_by_the_wire", "policies_are_enforced"]

_CLOSED = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed", "namespace": "default"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}


def policies_are_enforced(scene: Scene, folder: Path, outcome: str) -> None:
    """Add a policy: calls end in *outcome*, as the walk says, others go on; taken back, all is as before."""
    lab = scene.bench
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    file = folder / "policy.yaml"
    file.write_text(yaml.safe_dump(_CLOSED))
    lab.nettrace("lab", "apply", "-f", str(file), "--lab", lab.name, expect=(0,))
    said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(0,)).json
    assert (said["outcome"], said["policies"][0]["agrees"]) == (outcome, True)
    assert [t["outcome"] for t in lab.connect(who, address, port)] == [outcome]
    assert [t["outcome"] for t in lab.connect(who, scene.outside_ip, 80)] == ["connected"]
    lab.nettrace("lab", "apply", "-f", str(file), "--delete", "--lab", lab.name, expect=(0,))
    assert [t["outcome"] for t in lab.connect(who, address, port)] == ["connected"]


def leaves_by_the_wire(scene: Scene, mtu: int) -> None:
    """A packet to the other node's pod is in no tunnel and leaves by eth0; pods have this *mtu*."""
    near, _ = ends_of(scene)
    source, target, *_ = flow_of(scene, "pod-pod-other-node")
    (path,) = scene.bench.trace(source, target)["paths"]
    packets = [step["after"] or step["before"] for step in path["request"]["steps"]]
    assert not any(packet and packet.get("inner") for packet in packets)
    assert "eth0" in {step["device"] for step in path["request"]["steps"] if step["node"] == near}
    assert f"mtu {mtu}" in scene.bench.shell(scene.client[near], "ip link show eth0")
