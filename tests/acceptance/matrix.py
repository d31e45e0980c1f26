"""
The reachability matrix of a cluster: who talks to whom, as nettrace is asked and as a client connects.
"""

import os

from tests.acceptance.faults import Scene

__all__ = ["KINDS", "SAMPLE", "SWEEP", "agrees", "ends_of", "flow_of"]

KINDS = (
    "pod-pod-same-node",
    "pod-pod-other-node",
    "pod-service",
    "pod-own-service",
    "pod-outside",
    "node-service",
    "outside-nodeport-near",
    "outside-nodeport-far",
)

#: `make systems` asks all.
SWEEP = bool(os.environ.get("NETTRACE_TEST_SWEEP"))
#: What `make test` asks of every back end.
SAMPLE = (
    KINDS if SWEEP else ("pod-pod-other-node", "pod-own-service", "node-service", "outside-nodeport-near")
)


def ends_of(scene: Scene) -> tuple[str, str]:
    """The near node and the far one; there may be more."""
    near, far, *_ = sorted(scene.client)
    return near, far


def flow_of(scene: Scene, kind: str) -> tuple[str, str, str, str, int]:
    """Source target, destination target; member, address and port of the real connection."""
    near, far = ends_of(scene)
    client = scene.client[near]
    here = next(p for p, n in scene.node_of.items() if n == near)
    there = next(p for p, n in scene.node_of.items() if n == far)
    service = f"svc/{scene.service}:{scene.port}"
    direct = scene.target_port
    port = scene.node_port
    return {
        "pod-pod-same-node": (f"pod/{client}", f"pod/{here}:{direct}", client, scene.endpoints[here], direct),
        "pod-pod-other-node": (
            f"pod/{client}",
            f"pod/{there}:{direct}",
            client,
            scene.endpoints[there],
            direct,
        ),
        "pod-service": (f"pod/{client}", service, client, scene.cluster_ip, scene.port),
        "pod-own-service": (f"pod/{here}", service, here, scene.cluster_ip, scene.port),
        "pod-outside": (f"pod/{client}", "internet:80", client, scene.outside_ip, 80),
        "node-service": (f"node/{near}", service, near, scene.cluster_ip, scene.port),
        "outside-nodeport-near": ("internet", f"node/{near}:{port}", "internet", scene.node_ip[near], port),
        "outside-nodeport-far": ("internet", f"node/{far}:{port}", "internet", scene.node_ip[far], port),
    }[kind]


def agrees(scene: Scene, kind: str) -> None:
    """Hold the prediction against real connections: connected, the same endpoints, nothing found wrong."""
    source, target, who, address, port = flow_of(scene, kind)
    said = scene.bench.trace(source, target)
    assert said["outcome"] == "connected", said
    assert said["findings"] == []
    assert {p["verdict"] for p in said["paths"]} == {"DELIVERED"}
    ends = {p["endpoint"]["netns"] for p in said["paths"]}
    tries = scene.bench.connect(who, address, port, times=1 if len(ends) == 1 else 30)
    assert {t["outcome"] for t in tries} == {"connected"}
    assert {t["answer"] for t in tries} == ends
