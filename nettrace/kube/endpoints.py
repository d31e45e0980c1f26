"""
Which endpoints take the traffic of a service port on one node.

Lives here: the choice that kube-proxy makes (pkg/proxy/topology.go): ready endpoints, or
else those that still serve while they terminate; hints for the node's zone or the node;
those of this node for traffic policy Local.
Not here: rules.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from nettrace.kube.names import endpoint_text
from nettrace.kube.services import ProxiedPort, addresses_of_family
from nettrace.model.kube import EndpointSlice

__all__ = ["Backend", "Choice", "SliceIndex", "backends", "choose", "index_slices"]

#: ``(namespace, service)`` -> its EndpointSlices.
SliceIndex = Mapping[tuple[str, str], Sequence[EndpointSlice]]


class Backend(Struct, frozen=True, kw_only=True):
    """
    One endpoint of one service port.

    ``local``: on the node in question.  ``source`` is the EndpointSlice as
    ``namespace/name``, ``pod`` the pod behind it where the slice names one.
    """

    address: str
    port: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    local: bool = False
    hints_zones: tuple[str, ...] = ()
    hints_nodes: tuple[str, ...] = ()
    source: str = ""
    pod: str | None = None

    @property
    def text(self) -> str:
        """``10.244.1.10:9376``, ``[fd00::1]:8080``."""
        return endpoint_text(self.address, self.port)

    @property
    def drains(self) -> bool:
        """Terminating, but still serving: used where no endpoint is ready."""
        return self.serving and self.terminating


class Choice(Struct, frozen=True, kw_only=True):
    """
    The endpoints of a service port that a node uses.

    ``cluster`` and ``local`` by traffic policy, empty where no traffic of that policy exists;
    ``reachable`` all of both; ``exists``: is there a usable one on any node of the cluster?
    Each is sorted by its text, as kube-proxy numbers them.
    """

    cluster: tuple[Backend, ...] = ()
    local: tuple[Backend, ...] = ()
    reachable: tuple[Backend, ...] = ()
    exists: bool = False


def index_slices(slices: Iterable[EndpointSlice]) -> SliceIndex:
    """Return the slices by the Service they are of."""
    found: dict[tuple[str, str], list[EndpointSlice]] = {}
    for entry in slices:
        found.setdefault((entry.namespace, entry.service), []).append(entry)
    return found


def backends(
    index: SliceIndex, port: ProxiedPort, node: str, *, as_given: bool = False
) -> tuple[Backend, ...]:
    """
    Return all endpoints of a service port, usable or not, in kube-proxy's order.

    The order is that of the texts: 10.244.1.120:80 comes before 10.244.1.21:80.  A slice's
    port belongs to the service port of the same name and protocol; the numbers and names of
    ``targetPort`` are already resolved in it.  An endpoint that two slices have is one.  Slices that
    are labelled as somebody else's count for headless Services alone, which kube-proxy does not serve.
    *as_given*: the order is that of the slices, as kube-proxy takes Endpoints objects.
    """
    found: dict[str, Backend] = {}
    for entry in index.get((port.service.namespace, port.service.name), ()):
        if entry.address_type != f"IPv{port.family}" or (entry.foreign and not port.service.headless):
            continue
        numbers = [
            slice_port.port
            for slice_port in entry.ports
            if slice_port.name == port.port.name and slice_port.protocol == port.port.protocol
        ]
        for endpoint in entry.endpoints:
            for address in addresses_of_family(endpoint.addresses[:1], port.family):
                for number in numbers:
                    if not number:
                        continue
                    backend = Backend(
                        address=address,
                        port=number,
                        ready=endpoint.ready,
                        serving=endpoint.serving,
                        terminating=endpoint.terminating,
                        local=endpoint.node_name == node,
                        hints_zones=endpoint.hints_zones,
                        hints_nodes=endpoint.hints_nodes,
                        source=f"{entry.namespace}/{entry.name}",
                        pod=endpoint.target,
                    )
                    if backend.text not in found or backend.local:
                        found[backend.text] = backend
    return tuple(found.values()) if as_given else tuple(found[text] for text in sorted(found))


def choose(
    everyone: Sequence[Backend],
    port: ProxiedPort,
    *,
    node: str,
    zone: str = "",
    zone_hints: bool = True,
    node_hints: bool = True,
    terminating: bool = True,
) -> Choice:
    """
    Choose the endpoints of *port* that *node* uses among all of them (see backends()).

    *zone* is the node's ``topology.kubernetes.io/zone``, "" if it has none; *zone_hints* and
    *node_hints* say whether this kube-proxy heeds them, *terminating* whether endpoints that
    terminate but serve stand in for ready ones.
    """
    cluster: tuple[Backend, ...] = ()
    local: tuple[Backend, ...] = ()
    ready = tuple(b for b in everyone if b.ready)
    draining = tuple(b for b in everyone if b.drains) if terminating else ()
    if port.uses_cluster:
        fits = _hinted(ready, node, zone, zone_hints=zone_hints, node_hints=node_hints)
        cluster = tuple(b for b in ready if fits(b)) or draining
    if port.uses_local:
        local = tuple(b for b in ready if b.local) or tuple(b for b in draining if b.local)
    exists = bool(ready or draining)
    both = {b.text: b for b in (*cluster, *local)}
    reachable = tuple(both[text] for text in sorted(both))
    return Choice(cluster=cluster, local=local, reachable=reachable, exists=exists)


def _hinted(
    ready: Sequence[Backend], node: str, zone: str, *, zone_hints: bool, node_hints: bool
) -> Callable[[Backend], bool]:
    """Return the test for the endpoints meant for *node*; hints count if all have one and one fits."""
    if node_hints and all(b.hints_nodes for b in ready) and any(node in b.hints_nodes for b in ready):
        return lambda backend: node in backend.hints_nodes
    if zone_hints and all(b.hints_zones for b in ready) and any(zone in b.hints_zones for b in ready):
        return lambda backend: zone in backend.hints_zones
    return lambda backend: True
