"""
Pods: made from workloads, placed on nodes, given addresses.

Lives here: what the workload controllers, the scheduler, host-local and kubelet do to a pod.
Not here: Services (services), namespaces and processes (nettrace.lab.topologies).
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from msgspec import Struct

from nettrace.lab.addresses import host
from nettrace.lab.cluster.documents import Document, at, mapping_list, name_of, text_map, title
from nettrace.model.errors import UserError

__all__ = ["LabContainer", "LabNode", "LabPod", "ignored_kinds", "pods_of"]

#: The variable of a container that says which address its listener binds; all by default.
BIND_ADDRESS = "BIND_ADDRESS"

_MANY = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")
_UNKNOWN_WORKLOADS = ("CronJob", "Job")


class LabNode(Struct, frozen=True, kw_only=True):
    """A node: its name, its address on the wire, and the network of its pods."""

    name: str
    address: str
    pod_cidr: IPv4Network


class LabContainer(Struct, frozen=True, kw_only=True):
    """A container; ``listens`` are addresses as server.py takes them, ``ports`` (name, number, PROTO)."""

    name: str
    listens: tuple[str, ...]
    ports: tuple[tuple[str, int, str], ...]


class LabPod(Struct, frozen=True, kw_only=True):
    """A pod that is placed and has its address; ``document`` is the object as the API would give it."""

    namespace: str
    name: str
    node: str
    address: str
    labels: dict[str, str]
    containers: tuple[LabContainer, ...]
    ready: bool
    host_network: bool
    document: Document

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def pods_of(documents: Sequence[Document], nodes: Sequence[LabNode], *, lenient: bool) -> tuple[LabPod, ...]:
    """
    Return the pods of all workloads, each on a node and with an address.

    Pods without ``spec.nodeName`` go round the nodes.  One that names a node that is not there
    is a UserError, or with *lenient* goes round too.
    """
    by_name = {node.name: node for node in nodes}
    used = dict.fromkeys(by_name, 0)
    found: dict[str, LabPod] = {}
    turn = 0
    for document in _pods(documents, nodes):
        wanted = at(document, "spec.nodeName", str, "")
        if wanted not in by_name:
            if wanted and not lenient:
                raise UserError(
                    f"{title(document)}: there is no node {wanted!r}",
                    hint=f"nodes of this lab: {', '.join(by_name)}; --nodes makes more",
                )
            wanted = nodes[turn % len(nodes)].name
            turn += 1
        node = by_name[wanted]
        if at(document, "spec.hostNetwork", bool, False):
            address = node.address
        else:
            used[wanted] += 1
            address = host(node.pod_cidr, 1 + used[wanted])  # .1 is the bridge's
        pod = _placed(document, node, address)
        if pod.key in found:
            raise UserError(f"there are two pods called {pod.key}")
        found[pod.key] = pod
    return tuple(found.values())


def ignored_kinds(documents: Sequence[Document]) -> tuple[str, ...]:
    """The objects whose pods the lab does not run, by title."""
    return tuple(title(document) for document in documents if document.get("kind") in _UNKNOWN_WORKLOADS)


def _pods(documents: Sequence[Document], nodes: Sequence[LabNode]) -> Iterator[Document]:
    for document in documents:
        kind = document.get("kind")
        if kind == "Pod":
            yield document
        elif kind in _MANY:
            for index in range(at(document, "spec.replicas", int, 1)):
                yield _from_template(document, str(index), {})
        elif kind == "DaemonSet":
            for node in nodes:
                yield _from_template(document, node.name.removeprefix("node-"), {"nodeName": node.name})


def _from_template(owner: Document, suffix: str, spec: Mapping[str, Any]) -> Document:
    namespace, name = name_of(owner)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **at(owner, "spec.template.metadata", dict, {}),
            "name": f"{name}-{suffix}",
            "namespace": namespace,
            "ownerReferences": [{"kind": owner.get("kind"), "name": name}],
        },
        "spec": {**at(owner, "spec.template.spec", dict, {}), **spec},
    }


def _placed(document: Document, node: LabNode, address: str) -> LabPod:
    namespace, name = name_of(document)
    ready = _is_ready(document)
    host_network = at(document, "spec.hostNetwork", bool, False)
    containers = tuple(_container(document, entry) for entry in mapping_list(document, "spec.containers"))
    if not containers:
        raise UserError(f"{title(document)} has no containers")
    status = "True" if ready else "False"
    return LabPod(
        namespace=namespace,
        name=name,
        node=node.name,
        address=address,
        labels=text_map(document, "metadata.labels"),
        containers=containers,
        ready=ready,
        host_network=host_network,
        document={
            **document,
            "metadata": {**at(document, "metadata", dict, {}), "namespace": namespace},
            "spec": {**at(document, "spec", dict, {}), "nodeName": node.name},
            "status": {
                "phase": "Running",
                "conditions": [{"type": kind, "status": status} for kind in ("Ready", "ContainersReady")],
                "hostIP": node.address,
                "podIP": address,
                "podIPs": [{"ip": address}],
            },
        },
    )


def _is_ready(document: Document) -> bool:
    conditions = mapping_list(document, "status.conditions")
    return not any(entry.get("type") == "Ready" and entry.get("status") == "False" for entry in conditions)


def _container(pod: Document, container: Mapping[str, Any]) -> LabContainer:
    address = next(
        (
            at(entry, "value", str, "", of=pod)
            for entry in mapping_list(container, "env", of=pod)
            if entry.get("name") == BIND_ADDRESS
        ),
        "",
    )
    listens, ports = [], []
    for port in mapping_list(container, "ports", of=pod):
        number = at(port, "containerPort", int, 0, of=pod)
        proto = at(port, "protocol", str, "TCP", of=pod)
        if not 1 <= number <= 65535:
            raise UserError(f"{title(pod)}: containerPort {number} is no port")
        if proto not in ("TCP", "UDP"):
            raise UserError(f"{title(pod)}: the lab has no listeners for {proto}", hint="use TCP or UDP")
        if at(port, "hostPort", int, 0, of=pod) and not at(pod, "spec.hostNetwork", bool, False):
            raise UserError(f"{title(pod)}: the lab has no hostPort", hint="use a Service of type NodePort")
        listens.append(f"{proto.lower()}/{address or '0.0.0.0'}/{number}")
        ports.append((at(port, "name", str, "", of=pod), number, proto))
    name = at(container, "name", str, "", of=pod)
    return LabContainer(name=name, listens=tuple(listens), ports=tuple(ports))
