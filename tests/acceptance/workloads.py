"""
Workloads with names, ports and labels of their own, as manifests for ``lab up --manifests``.
"""

import secrets
from pathlib import Path

__all__ = ["random_workload"]

PODS = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}
spec:
  nodeName: {node}
  containers:
  - name: main
    ports: [{{containerPort: {port}, name: web}}]
---
"""

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  type: NodePort
  selector: {{app: {app}}}
  ports: [{{port: {port}, targetPort: {target}, nodePort: {node_port}, name: web}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: other-{namespace}}}
spec:
  selector: {{app: nobody}}
  ports: [{{port: {port}}}]
---
"""


def random_workload(directory: Path) -> Path:
    """
    Write a Service with three endpoints, one client on each node, and a Service without any.

    One endpoint is on node-a, two are on node-b; names, ports and node port are drawn.
    """
    token = secrets.token_hex(2)
    namespace, app = f"shop-{token}", f"api-{token}"
    port, target = secrets.randbelow(8000) + 1024, secrets.randbelow(8000) + 10000
    node_port = secrets.randbelow(2767) + 30001
    pods = [(f"{app}-{i}", app, node) for i, node in enumerate(("node-a", "node-b", "node-b"))]
    pods += [(f"caller-{node}", "caller", node) for node in ("node-a", "node-b")]
    text = SERVICE.format(
        name=f"{app}-svc",
        namespace=namespace,
        app=app,
        port=port,
        target="web" if secrets.randbelow(2) else target,
        node_port=node_port,
    )
    for name, label, node in pods:
        text += PODS.format(name=name, namespace=namespace, app=label, node=node, port=target)
    directory.mkdir(exist_ok=True)
    (directory / "workload.yaml").write_text(text)
    return directory
