"""
The cluster's objects as the checks look for them.

Lives here: finding Services, pods and endpoints; a section that was not read is None, and the
check that needs it says so.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nettrace.diagnose.look import holder_of
from nettrace.kube.endpoints import Backend, backends, index_slices
from nettrace.kube.services import ProxiedPort, proxied_ports
from nettrace.model.addr import family_of
from nettrace.model.kube import Pod, Service
from nettrace.model.section import Known, Missing
from nettrace.model.snapshot import Snapshot

__all__ = [
    "endpoints",
    "families",
    "find_service",
    "matches",
    "missing_words",
    "nearest",
    "node_of",
    "pod_at",
    "pod_netns",
    "pods",
    "ports_of",
    "ready_addresses",
    "services",
    "slices_unread",
]


def services(snapshot: Snapshot) -> tuple[Service, ...] | None:
    """Return all Services; None if they were not read."""
    section = snapshot.kube.services
    return section.value if isinstance(section, Known) else None


def pods(snapshot: Snapshot) -> tuple[Pod, ...] | None:
    """Return all pods; None if they were not read."""
    section = snapshot.kube.pods
    return section.value if isinstance(section, Known) else None


def missing_words(what: str, section: Known[Any] | Missing) -> str:
    """Say why *what* is not known."""
    reason = "" if isinstance(section, Known) else section.reason or section.kind.value
    return f"the {what} were not read: {reason}"


def find_service(snapshot: Snapshot, namespace: str, name: str) -> Service | None:
    """Return the Service of that name, if it is known."""
    return next((s for s in services(snapshot) or () if (s.namespace, s.name) == (namespace, name)), None)


def ports_of(service: Service) -> tuple[ProxiedPort, ...]:
    """Return the ports of one Service by family: those that kube-proxy serves, all of a headless one."""
    if not service.headless:
        return tuple(port for family in (4, 6) for port in proxied_ports((service,), family))
    return tuple(
        ProxiedPort(service=service, port=port, family=family, cluster_ip="")
        for family in (4, 6)
        for port in service.ports
    )


def endpoints(
    snapshot: Snapshot, service: Service, node: str = ""
) -> tuple[tuple[ProxiedPort, Backend], ...]:
    """
    Return every endpoint of every port of a Service, usable or not.

    Empty where the slices were not read: ask slices_unread() where that makes a difference.
    """
    section = snapshot.kube.endpoint_slices
    index = index_slices(section.value if isinstance(section, Known) else ())
    return tuple((port, found) for port in ports_of(service) for found in backends(index, port, node))


def slices_unread(snapshot: Snapshot) -> str:
    """Say why the EndpointSlices are not known, "" if they are."""
    section = snapshot.kube.endpoint_slices
    return "" if isinstance(section, Known) else missing_words("EndpointSlices", section)


def ready_addresses(snapshot: Snapshot, service: Service) -> frozenset[str]:
    """Return the addresses of the ready endpoints in a Service's slices, whatever their ports."""
    section = snapshot.kube.endpoint_slices
    return frozenset(
        address
        for found in (section.value if isinstance(section, Known) else ())
        if (found.namespace, found.service) == (service.namespace, service.name)
        for end in found.endpoints
        if end.ready
        for address in end.addresses
    )


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Do *labels* have all of *selector*?  An empty selector selects nothing here."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def nearest(service: Service, among: Iterable[Pod]) -> tuple[Pod, tuple[str, ...]] | None:
    """Return the pod whose labels come nearest to the selector, and what they lack."""
    best: tuple[Pod, tuple[str, ...]] | None = None
    for pod in among:
        if pod.namespace != service.namespace:
            continue
        lacks = tuple(
            f"{key}={value} (it has {pod.labels[key]})" if key in pod.labels else f"{key}={value}"
            for key, value in service.selector.items()
            if pod.labels.get(key) != value
        )
        near = any(key in pod.labels for key in service.selector)
        if near and (best is None or len(lacks) < len(best[1])):
            best = (pod, lacks)
    return best


def pod_at(snapshot: Snapshot, address: str) -> Pod | None:
    """Return the running pod that has an address, those of the node's own network left out."""
    found = (p for p in pods(snapshot) or () if address in p.ips and not p.host_network)
    return next((pod for pod in found if pod.phase in ("Running", "Pending", "Unknown")), None)


def pod_netns(snapshot: Snapshot, pod: Pod) -> str | None:
    """Return the namespace that a pod lives in, if the snapshot has it."""
    if pod.netns is not None and pod.netns in snapshot.namespaces:
        return pod.netns
    if pod.host_network and pod.node_name in snapshot.nodes:
        return snapshot.nodes[pod.node_name].netns
    held = (holder_of(snapshot, address) for address in pod.ips)
    return next((netns for netns in held if netns is not None), None)


def node_of(snapshot: Snapshot, netns: str) -> str | None:
    """Return the name of the node that a namespace belongs to, if that is in the snapshot."""
    found = snapshot.namespaces.get(netns)
    return found.node if found is not None and found.node in snapshot.nodes else None


def families(addresses: Iterable[str]) -> tuple[int, ...]:
    """Return the IP versions of *addresses*, each once."""
    return tuple(sorted({family_of(address) for address in addresses if address}))
