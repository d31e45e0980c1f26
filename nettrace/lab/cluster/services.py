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

__all__ = ["BALANCED", "KUBE_DNS", "endpoint_slices", "services_of"]

KUBE_DNS = ("kube-system", "kube-dns")

#: The addresses of Services of type LoadBalancer; of RFC 5737, which nobody has.
BALANCED = IPv4Network("198.51.100.0/24")

_DNS_HOST = 10  # kubeadm: constants.GetDNSIP
_NODE_PORTS = range(30000, 32768)  # --service-node-port-range
_SERVICE_LABEL = "kubernetes.io/service-name"


def services_of(
    documents: Sequence[Document], net: IPv4Network, given: Sequence[Document] = ()
) -> tuple[Document, ...]:
    """
    Return the Services with ClusterIPs, node ports and balancer's addresses filled in.

    *given* are Services as they were completed before: what they were given stays theirs.
    UserError for an address outside *net*, one that two Services have, and what the lab cannot do.
    """
    before = {name_of(document): document for document in given}
    services = [
        _with_what_it_had(document, before.get(name_of(document)))
        for document in documents
        if document.get("kind") == "Service"
    ]
    taken_ips: set[str] = set()
    taken_ports: set[tuple[int, str]] = set()
    for document in services:
        _reserve(document, net, taken_ips, taken_ports)
    if any(name_of(document) == KUBE_DNS for document in services):
        taken_ips.add(host(net, _DNS_HOST))
    free_ips = service_addresses(net, taken_ips)
    balanced = {address for document in services for address in _status_addresses(document)}
    free_balanced = (host(BALANCED, number) for number in range(10, BALANCED.num_addresses - 1))
    free = (address for address in free_balanced if address not in balanced)
    return tuple(
        _balanced(_completed(document, net, free_ips, taken_ports), free, taken_ports)
        for document in services
    )


def _with_what_it_had(document: Document, before: Document | None) -> Document:
    """Add the fields that the API server filled in earlier, as `kubectl apply` leaves them."""
    _possible(document)
    if before is None:
        return document
    spec, old = at(document, "spec", dict, {}), at(before, "spec", dict, {})
    kind, was = (at(one, "spec.type", str, "ClusterIP") for one in (document, before))
    kept: dict[str, Any] = {}
    if "ExternalName" not in (kind, was):
        kept = {"clusterIP": old.get("clusterIP")} if not spec.get("clusterIP") else {}
        if kept.get("clusterIP") == "None":
            kept = {}
    outside = ("NodePort", "LoadBalancer")
    ports = [dict(port) for port in mapping_list(document, "spec.ports")]
    if kind in outside and was in outside:
        numbers = {
            (port.get("name"), port.get("port"), port.get("protocol", "TCP")): port.get("nodePort")
            for port in mapping_list(before, "spec.ports")
        }
        for port in ports:
            number = numbers.get((port.get("name"), port.get("port"), port.get("protocol", "TCP")))
            if number and not port.get("nodePort"):
                port["nodePort"] = number
    if _is_local(document) and _is_local(before) and not spec.get("healthCheckNodePort"):
        kept["healthCheckNodePort"] = old.get("healthCheckNodePort")
    found = {**document, "spec": {**spec, **kept, "ports": ports}}
    if kind == was == "LoadBalancer" and not document.get("status"):
        found["status"] = before.get("status")
    return found


def _possible(document: Document) -> None:
    """UserError for a Service that the lab cannot do."""
    for port in mapping_list(document, "spec.ports"):
        if port.get("protocol") == "SCTP":
            raise UserError(f"{title(document)}: the lab has no listeners for SCTP", hint="use TCP or UDP")
    families = at(document, "spec.ipFamilies", list, [])
    if "IPv6" in families:
        raise UserError(f"{title(document)}: the lab has no IPv6", hint="leave IPv6 out of ipFamilies")
    kind = at(document, "spec.type", str, "ClusterIP")
    if kind == "LoadBalancer" and not at(document, "spec.allocateLoadBalancerNodePorts", bool, True):
        raise UserError(
            f"{title(document)}: the lab's balancer leads to node ports",
            hint="leave out allocateLoadBalancerNodePorts: false",
        )
    if kind == "ExternalName" and not at(document, "spec.externalName", str, ""):
        raise UserError(f"{title(document)} has no externalName", hint="give spec.externalName a DNS name")


def _is_local(document: Document) -> bool:
    return (
        at(document, "spec.type", str, "ClusterIP") == "LoadBalancer"
        and at(document, "spec.externalTrafficPolicy", str, "Cluster") == "Local"
    )


def _status_addresses(document: Document) -> list[str]:
    return [
        str(entry["ip"]) for entry in mapping_list(document, "status.loadBalancer.ingress") if entry.get("ip")
    ]


def _balanced(document: Document, free: Iterator[str], taken: set[tuple[int, str]]) -> Document:
    """What the service controller and the API server add to a Service of type LoadBalancer."""
    if at(document, "spec.type", str, "ClusterIP") != "LoadBalancer":
        return document
    spec = at(document, "spec", dict, {})
    if _is_local(document) and not spec.get("healthCheckNodePort"):
        spec = {**spec, "healthCheckNodePort": _free_port("TCP", taken, document)}
    status = document.get("status")
    if not _status_addresses(document):
        wanted = at(document, "spec.loadBalancerIP", str, "")
        try:
            address = wanted or next(free)
        except StopIteration:
            raise UserError(f"{BALANCED} has no address left for {title(document)}") from None
        status = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
    return {**document, "spec": spec, "status": status}


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
    number = at(document, "spec.healthCheckNodePort", int, 0)
    if number:
        ports.add((number, "TCP"))


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
    named = at(pod.document, "spec.hostname", str, "")
    inside = at(pod.document, "spec.subdomain", str, "") == name_of(service)[1]
    return {
        "addresses": [pod.address],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        **({"hostname": named} if named and inside else {}),
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
    }
