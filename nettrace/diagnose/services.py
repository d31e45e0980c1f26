"""
Which Service a packet is for.

Lives here: looking destinations up in the Kubernetes objects, for the goal and for telling
which Services' rules a walk is about.
Not here: Services known only from rules (inferred.py).
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import addresses_in, holder_of
from nettrace.kube.endpoints import Backend, backends, choose, index_slices
from nettrace.kube.ipvs_owed import in_ipvs_mode
from nettrace.kube.services import ProxiedPort, addresses_of_family, proxied_ports
from nettrace.model.addr import family_of, is_loopback
from nettrace.model.flow import Flow
from nettrace.model.kube import Kube
from nettrace.model.packet import Packet
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Walk

__all__ = [
    "Entrance",
    "ServiceIndex",
    "called_endpoints",
    "calls_itself",
    "endpoints_of",
    "entrance",
    "index_services",
    "node_name",
    "subjects_of",
]


class Entrance(Struct, frozen=True, kw_only=True):
    """A Service port and the way in: ``cluster`` IP, ``external`` address, or ``node`` port."""

    port: ProxiedPort
    way: str

    @property
    def words(self) -> str:
        """``Service default/hostnames``, ``NodePort of Service default/hostnames``."""
        service = f"Service {self.port.service.key}"
        return f"NodePort of {service}" if self.way == "node" else service


class ServiceIndex(Struct, frozen=True):
    """Services by (address, protocol, port) and by (protocol, node port), in one address family."""

    by_address: Mapping[tuple[str, str, int], Entrance]
    by_node_port: Mapping[tuple[str, int], Entrance]


def index_services(kube: Kube, family: int) -> ServiceIndex:
    """Index the Services that kube-proxy serves; empty if they are not known."""
    addresses: dict[tuple[str, str, int], Entrance] = {}
    node_ports: dict[tuple[str, int], Entrance] = {}
    services = kube.services.value if isinstance(kube.services, Known) else ()
    for port in proxied_ports(services, family):
        number = port.port.port
        addresses[port.cluster_ip, port.proto, number] = Entrance(port=port, way="cluster")
        for address in (*port.external_ips, *port.load_balancer_ips):
            addresses.setdefault((address, port.proto, number), Entrance(port=port, way="external"))
        if port.port.node_port:
            node_ports[port.proto, port.port.node_port] = Entrance(port=port, way="node")
    return ServiceIndex(addresses, node_ports)


def entrance(snapshot: Snapshot, index: ServiceIndex, packet: Packet) -> Entrance | None:
    """Return the Service port that *packet* is addressed to."""
    if packet.dport is None or packet.dport.single is None:
        return None
    port = packet.dport.single
    found = index.by_address.get((packet.dst, packet.proto, port))
    if found is not None:
        return found
    found = index.by_node_port.get((packet.proto, port))
    return found if found is not None and packet.dst in _node_addresses(snapshot) else None


def _node_addresses(snapshot: Snapshot) -> frozenset[str]:
    """Return the addresses by which nodes are reached: what the API says, and what they have."""
    found: set[str] = set()
    if isinstance(snapshot.kube.nodes, Known):
        for node in snapshot.kube.nodes.value:
            both = (*node.internal_ips, *node.external_ips)
            found.update(*(addresses_of_family(both, family) for family in (4, 6)))
    for state in snapshot.nodes.values():
        found.update(a.address for a in addresses_in(snapshot, state.netns))
    return frozenset(found)


def endpoints_of(snapshot: Snapshot, found: Entrance, node: str, *, own: bool = False) -> tuple[Backend, ...]:
    """
    Return the endpoints that a packet may reach through *found* from *node* ("" for outside).

    Traffic policy Local narrows it to the node's own, but externalTrafficPolicy not for the node itself
    and its pods (*own*, as calls_itself() says); hints for zones narrow nothing here: any ready
    endpoint will do.
    """
    slices = snapshot.kube.endpoint_slices
    if not isinstance(slices, Known):
        return ()
    everyone = backends(index_slices(slices.value), found.port, node)
    choice = choose(everyone, found.port, node=node, zone_hints=False, node_hints=False)
    local = found.port.internal_local if found.way == "cluster" else found.port.external_local and not own
    return choice.local if local else choice.cluster


def called_endpoints(snapshot: Snapshot, flow: Flow, found: Entrance) -> tuple[Backend, ...]:
    """
    Return the endpoints that *flow*, which is for *found*, may reach.

    Traffic policy Local goes by the node whose address is called at a node port, otherwise by the
    caller's.
    """
    origin = snapshot.namespaces.get(flow.origin.netns)
    own = calls_itself(snapshot, flow, found)
    entered = holder_of(snapshot, flow.packet.dst) if found.way == "node" and not own else None
    node = node_name(snapshot, entered) or (origin.node if origin is not None else "")
    return endpoints_of(snapshot, found, node, own=own)


def calls_itself(snapshot: Snapshot, flow: Flow, found: Entrance) -> bool:
    """
    Is it the node itself, or a pod of it, that calls one of the node's own ways in from outside?

    kube-proxy takes such a caller for no outside (KUBE-EXT: ``--src-type LOCAL``, and the pods' own
    network): whatever externalTrafficPolicy says, its packets go to the endpoints of all nodes.
    Mode ipvs has the node's own endpoints at such an address for everybody.
    """
    dst, origin = flow.packet.dst, snapshot.namespaces.get(flow.origin.netns)
    if found.way == "cluster" or flow.origin.device is not None or origin is None:
        return False
    itself = node_name(snapshot, origin.name)
    node = snapshot.nodes.get(itself or (origin.node if origin.role == "pod" else ""))
    if node is None or in_ipvs_mode(snapshot.kube) or not (itself or _knows_pods(snapshot.kube)):
        return False
    if found.way == "external" or (itself and is_loopback(dst)):
        return True
    return any(one.address == dst for one in addresses_in(snapshot, node.netns))


def _knows_pods(kube: Kube) -> bool:
    """Can kube-proxy tell pods from others?  Not by a cluster CIDR that it was not given."""
    if not isinstance(kube.proxy, Known):
        return True
    return kube.proxy.value.detect_local_mode != "ClusterCIDR" or bool(kube.proxy.value.cluster_cidrs)


def node_name(snapshot: Snapshot, netns: str | None) -> str:
    """Return the name of the node whose own namespace it is, "" if it is no node's."""
    return next((n.name for n in snapshot.nodes.values() if netns is not None and n.netns == netns), "")


def subjects_of(snapshot: Snapshot, walk: Walk) -> frozenset[str]:
    """Return ``svc/NAMESPACE/NAME`` of every Service that a packet of the walk is addressed to."""
    index = index_services(snapshot.kube, family_of(walk.flow.packet.dst))
    return frozenset(
        found.port.subject
        for packet in _destinations(walk)
        if (found := entrance(snapshot, index, packet)) is not None
    )


def _destinations(walk: Walk) -> Iterable[Packet]:
    seen = {(walk.flow.packet.dst, walk.flow.packet.dport): walk.flow.packet}
    for path in walk.paths:
        for step in path.legs[0].steps if path.legs else ():
            for packet in (step.before, step.after):
                if packet is not None:
                    inner = innermost(packet)
                    seen.setdefault((inner.dst, inner.dport), inner)
    return seen.values()
