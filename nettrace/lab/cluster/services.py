"""
Services and their endpoints.

Lives here: what the API server adds to a Service (addresses, node ports) and what the
EndpointSlice controller makes of its selector.
Not here: rules (nettrace.kube).
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from ipaddress import IPv4Network
from typing import Any

from nettrace.lab.addresses import host, in_network, service_addresses
from nettrace.lab.cluster.documents import Document, at, mapping_list, name_of, text_map, title
from nettrace.lab.cluster.workloads import LabPod
from nettrace.model.errors import UserError

__all__ = ["KUBE_DNS", "endpoint_slices", "services_of"]

KUBE_DNS = ("kube-system", "kube-dns")

_DNS_HOST = 10  # kubeadm: constants.GetDNSIP
_NODE_PORTS = range(30000, 32768)  # --service-node-port-range
_SERVICE_LABEL = "kubernetes.io/service-name"


def services_of(documents: Sequence[Document], net: IPv4Network) -> tuple[Document, ...]:
    """
    Return the Services with ClusterIPs and node ports filled in.

    UserError for an address outside *net* or one that two Services have.
    """
    services = [document for document in documents if document.get("kind") == "Service"]
    taken_ips: set[str] = set()
    taken_ports: set[tuple[int, str]] = set()
    for document in services:
        _reserve(document, net, taken_ips, taken_ports)
    if any(name_of(document) == KUBE_DNS for document in services):
        taken_ips.add(host(net, _DNS_HOST))
    free_ips = service_addresses(net, taken_ips)
    return tuple(_completed(document, net, free_ips, taken_ports) for document in services)


def _reserve(document: Document, net: IPv4Network, ips: set[str], ports: set[tuple[int, str]]) -> None:
    address = at(document, "spec.clusterIP", str, "")
    if address and address != "None":
        if not in_network(address, net):
            raise UserError(
                f"{title(document)}: clusterIP {address} is not in the service network {net}",
                hint="leave it out, or give the lab another --service-cidr",
            )
        if address in ips:
            raise UserError(f"{title(document)}: another Service has the clusterIP {address}")
        ips.add(address)
    for entry in mapping_list(document, "spec.ports"):
        number = at(entry, "nodePort", int, 0, of=document)
        key = (number, at(entry, "protocol", str, "TCP", of=document))
        if number and key in ports:
            raise UserError(f"{title(document)}: another Service has the nodePort {number}")
        ports.add(key)


def _completed(
    document: Document, net: IPv4Network, free: Iterator[str], taken: set[tuple[int, str]]
) -> Document:
    kind = at(document, "spec.type", str, "ClusterIP")
    address = at(document, "spec.clusterIP", str, "")
    if not address and kind != "ExternalName":
        try:
            address = host(net, _DNS_HOST) if name_of(document) == KUBE_DNS else next(free)
        except StopIteration:
            raise UserError(f"{net} has no address left for {title(document)}") from None
    ports = []
    for entry in mapping_list(document, "spec.ports"):
        port = {"protocol": "TCP", "targetPort": entry.get("port"), **entry}
        if kind in ("NodePort", "LoadBalancer") and not port.get("nodePort"):
            port["nodePort"] = _free_port(str(port["protocol"]), taken, document)
        ports.append(port)
    addresses = {"clusterIP": address, "clusterIPs": [address]} if address else {}
    return {
        **document,
        "metadata": {**at(document, "metadata", dict, {}), "namespace": name_of(document)[0]},
        "spec": {**at(document, "spec", dict, {}), "type": kind, **addresses, "ports": ports},
    }


def _free_port(proto: str, taken: set[tuple[int, str]], document: Document) -> int:
    for number in _NODE_PORTS:
        if (number, proto) not in taken:
            taken.add((number, proto))
            return number
    raise UserError(f"no node port is left for {title(document)}")


def endpoint_slices(
    documents: Sequence[Document], services: Sequence[Document], pods: Sequence[LabPod]
) -> tuple[Document, ...]:
    """Return the given EndpointSlices, and those of the selected pods for every other Service."""
    given = [document for document in documents if document.get("kind") == "EndpointSlice"]
    found: list[Document] = list(given)
    settled = {
        (name_of(document)[0], text_map(document, "metadata.labels").get(_SERVICE_LABEL, ""))
        for document in given
    }
    for service in services:
        selector = text_map(service, "spec.selector")
        if not selector or name_of(service) in settled:
            continue
        found.extend(_slices(service, [pod for pod in pods if _selected(pod, service, selector)]))
    return tuple(found)


def _selected(pod: LabPod, service: Document, selector: dict[str, str]) -> bool:
    return pod.namespace == name_of(service)[0] and selector.items() <= pod.labels.items()


def _slices(service: Document, pods: Iterable[LabPod]) -> Iterator[Document]:
    """One slice for each set of port numbers that the selected pods have (named ports may differ)."""
    groups: dict[tuple[tuple[str, int, str], ...], list[LabPod]] = {}
    for pod in pods:
        groups.setdefault(_ports(service, pod), []).append(pod)
    namespace, name = name_of(service)
    for ports, members in (groups or {(): []}).items():
        suffix = sha256(f"{namespace}/{name}/{ports}".encode()).hexdigest()[:5]
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{suffix}",
                "namespace": namespace,
                "labels": {
                    _SERVICE_LABEL: name,
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
            },
            "addressType": "IPv4",
            "endpoints": [_endpoint(service, pod) for pod in members],
            "ports": [
                {"name": port_name, "port": number, "protocol": proto} for port_name, number, proto in ports
            ],
        }


def _ports(service: Document, pod: LabPod) -> tuple[tuple[str, int, str], ...]:
    found = []
    for entry in mapping_list(service, "spec.ports"):
        target, proto = entry.get("targetPort"), at(entry, "protocol", str, "TCP", of=service)
        if isinstance(target, str):
            named = (
                number
                for container in pod.containers
                for port_name, number, declared in container.ports
                if port_name == target and declared == proto
            )
            target = next(named, None)
        if isinstance(target, int):
            found.append((at(entry, "name", str, "", of=service), target, proto))
    return tuple(found)


def _endpoint(service: Document, pod: LabPod) -> dict[str, Any]:
    ready = pod.ready or at(service, "spec.publishNotReadyAddresses", bool, False)
    return {
        "addresses": [pod.address],
        "conditions": {"ready": ready, "serving": pod.ready, "terminating": False},
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
    }
