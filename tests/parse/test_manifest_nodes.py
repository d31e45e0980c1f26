"""Pods and nodes as objects of the API."""

from nettrace.model.kube import (
    ContainerPort,
    KubeNode,
    Pod,
    PodContainer,
)
from tests.parse.manifest_texts import known, kube_of


def test_pods() -> None:
    """A pod without a status counts as running and ready; with one, the status decides."""
    written, observed = known(
        kube_of(
            """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  nodeName: n
  containers: [{name: c, image: x, ports: [{containerPort: 80, name: http, hostPort: 8080}]}]
  initContainers: [{name: once}, {name: sidecar, restartPolicy: Always}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop}
spec: {hostNetwork: true, containers: []}
status:
  phase: Pending
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: fd00::1}]
  conditions: [{type: PodScheduled, status: "True"}]
"""
        ).pods
    )
    assert written == Pod(
        name="a",
        node_name="n",
        containers=(
            PodContainer(name="c", ports=(ContainerPort(container_port=80, name="http", host_port=8080),)),
            PodContainer(name="sidecar"),
        ),
    )
    assert (observed.key, observed.host_network, observed.ready, observed.phase) == (
        "shop/b",
        True,
        False,
        "Pending",
    )
    assert observed.ips == ("10.0.0.1", "fd00::1")
    alone = known(kube_of("kind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1}\n").pods)[0]
    assert alone.ips == ("10.0.0.1",)


def test_nodes() -> None:
    """A node has its addresses by kind; podCIDR alone is taken where podCIDRs is absent."""
    text = """
apiVersion: v1
kind: Node
metadata: {name: n, annotations: {flannel.alpha.coreos.com/public-ip: 10.0.0.1}}
spec: {podCIDR: 10.244.0.0/24}
status:
  addresses:
  - {type: InternalIP, address: 10.0.0.1}
  - {type: ExternalIP, address: 1.1.1.1}
  - {type: Hostname, address: n}
"""
    assert known(kube_of(text).nodes) == (
        KubeNode(
            name="n",
            internal_ips=("10.0.0.1",),
            external_ips=("1.1.1.1",),
            pod_cidrs=("10.244.0.0/24",),
            annotations={"flannel.alpha.coreos.com/public-ip": "10.0.0.1"},
        ),
    )
