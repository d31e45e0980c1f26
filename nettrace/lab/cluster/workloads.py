"""
Pods: made from workloads, placed on nodes, given addresses.

Lives here: what the workload controllers, the scheduler, host-local and kubelet do to a pod.
Not here: Services (services), namespaces and processes (nettrace.lab.topologies).
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from msgspec import Struct, field

from nettrace.lab.addresses import host
from nettrace.lab.cluster.documents import Document, at, mapping_list, name_of, text_map, title
from nettrace.model.errors import UserError

__all__ = ["LabContainer", "LabNode", "LabPod", "ignored_kinds", "pods_of"]

#: The variable of a container that says which address its listener binds; all by default.
BIND_ADDRESS = "BIND_ADDRESS"

_MANY = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")
_UNKNOWN_WORKLOADS = ("CronJob", "Job")


class LabNode(Struct, frozen=True, kw_only=True):
    """A node: its name, its address on the wire, the network of its pods, what its agents noted on it."""

    name: str
    address: str
    pod_cidr: IPv4Network
    annotations: Mapping[str, str] = field(default_factory=dict)


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


def pods_of(
    documents: Sequence[Document],
    nodes: Sequence[LabNode],
    *,
    lenient: bool,
    placed: Mapping[str, tuple[str, str]] | None = None,
) -> tuple[LabPod, ...]:
    """
    Return the pods of all workloads, each on a node and with an address.

    *placed* are (node, address) of pods that run already, by ``namespace/name``: they stay where
    they are, unless ``spec.nodeName`` wants them elsewhere.

    Pods without ``spec.nodeName`` go round the nodes.  One that names a node that is not there
    is a UserError, or with *lenient* goes round too.
    """
    by_name = {node.name: node for node in nodes}
    stays = placed or {}
    wanted_pods = list(_pods(documents, nodes))
    names = {"/".join(name_of(document)) for document in wanted_pods}
    used: dict[str, set[str]] = {
        name: {address for key, (node, address) in stays.items() if node == name and key in names}
        for name in by_name
    }
    found: dict[str, LabPod] = {}
    turn = 0
    for document in wanted_pods:
        before = stays.get("/".join(name_of(document)))
        wanted = at(document, "spec.nodeName", str, "")
        if not wanted and before is not None and before[0] in by_name:
            wanted = before[0]
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
        elif before is not None and before[0] == wanted and before[1] in used[wanted]:
            address = before[1]
        else:
            address = _free_address(node.pod_cidr, used[wanted])
            used[wanted].add(address)
        pod = _placed(document, node, address)
        if pod.key in found:
            raise UserError(f"there are two pods called {pod.key}")
        found[pod.key] = pod
    return tuple(found.values())


def _free_address(cidr: IPv4Network, used: set[str]) -> str:
    """As host-local gives them out: the one after the last, from the beginning where that is the end."""
    last = max((int(IPv4Address(one)) for one in used), default=int(cidr.network_address) + 1)  # .1: bridge
    if last + 1 < int(cidr.broadcast_address):
        return str(IPv4Address(last + 1))
    number = 2
    while (address := host(cidr, number)) in used:
        number += 1
    return address


def ignored_kinds(documents: Sequence[Document]) -> tuple[str, ...]:
    """The objects whose pods the lab does not run, by title."""
    return tuple(title(document) for document in documents if document.get("kind") in _UNKNOWN_WORKLOADS)


def _pods(documents: Sequence[Document], nodes: Sequence[LabNode]) -> Iterator[Document]:
    for document in documents:
        kind = document.get("kind")
        if kind == "Pod":
            yield document
        elif kind in _MANY:
            headless = at(document, "spec.serviceName", str, "") if kind == "StatefulSet" else ""
            for index in range(at(document, "spec.replicas", int, 1)):
                named = {"hostname": f"{name_of(document)[1]}-{index}", "subdomain": headless}
                yield _from_template(document, str(index), named if headless else {})
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
    host_network = at(document, "spec.hostNetwork", bool, False)
    specs = mapping_list(document, "spec.containers")
    containers = tuple(_container(document, entry) for entry in specs)
    ready = _is_ready(document) and all(
        _probed(document, spec, found) for spec, found in zip(specs, containers, strict=True)
    )
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


def _probed(pod: Document, spec: Mapping[str, Any], container: LabContainer) -> bool:
    """Would kubelet's readiness probe of a TCP port find the listener?  Other probes are taken to pass."""
    for kind in ("httpGet", "tcpSocket", "grpc"):
        port = at(spec, f"readinessProbe.{kind}", dict, {}, of=pod).get("port")
        if port is None:
            continue
        numbers = {
            number for name, number, proto in container.ports if proto == "TCP" and port in (name, number)
        }
        heard = {f"tcp/0.0.0.0/{number}" for number in numbers}
        if not heard.intersection(container.listens):
            return False
    return True


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
