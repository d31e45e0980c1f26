"""
What tells that kube-router runs a node's network, and what it knows of the nodes.

Lives here: its CNI configuration, its devices, and the Nodes as it reads them.
Not here: what follows from it (owes.py).
Source: kube-router, daemonset/*.yaml, pkg/controllers/routing/network_routes_controller.go.
"""

from msgspec import Struct

from nettrace.diagnose.look import addresses_in, link_in, links_in
from nettrace.kube.ipam import confs_of
from nettrace.model.addr import canonical_address, canonical_prefix, family_of, in_prefix, network_of
from nettrace.model.kube import KubeNode
from nettrace.model.links import Link
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = [
    "BRIDGE",
    "POD_CIDR",
    "PROXY_DEVICE",
    "RouterNode",
    "cni_file",
    "nodes_of",
    "proxies",
    "router_devices",
    "runs_on",
    "tunnel_to",
    "uplink",
]

BRIDGE = "kube-bridge"

#: The dummy device that has the ClusterIPs where kube-router is the service proxy too.
PROXY_DEVICE = "kube-dummy-if"

#: A Node's annotation that goes before its podCIDR.
POD_CIDR = "kube-router.io/pod-cidr"


class RouterNode(Struct, frozen=True, kw_only=True):
    """One node as kube-router sees it; ``source`` says where its pod CIDR stands."""

    name: str
    address: str
    pod_cidr: str
    source: str


def nodes_of(snapshot: Snapshot) -> dict[str, RouterNode]:
    """Return the Nodes that have an IPv4 address and an IPv4 pod CIDR, by name."""
    nodes: tuple[KubeNode, ...] = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    return {one.name: one for node in nodes if (one := _node(node)) is not None}


def _node(node: KubeNode) -> RouterNode | None:
    noted = node.annotations.get(POD_CIDR, "")
    cidr = noted or next((c for c in node.pod_cidrs if family_of(c) == 4), "")
    address = next((a for a in node.internal_ips if family_of(a) == 4), "")
    try:
        return RouterNode(
            name=node.name,
            address=canonical_address(address),
            pod_cidr=canonical_prefix(cidr),
            source=f"annotation {POD_CIDR} of Node {node.name}" if noted else f"podCIDR of Node {node.name}",
        )
    except ValueError:
        return None


def cni_file(snapshot: Snapshot, node: str) -> str | None:
    """Return the path of the CNI configuration that names kube-router's bridge."""
    confs = confs_of(snapshot, node)
    return next((c.path for c in confs if any(plugin.bridge == BRIDGE for plugin in c.plugins)), None)


def router_devices(snapshot: Snapshot, netns: str) -> tuple[Link, ...]:
    """Return the devices that kube-router makes: its bridge, its tunnels to nodes of other networks."""
    return tuple(
        link
        for link in links_in(snapshot, netns)
        if (link.name, link.kind) == (BRIDGE, "bridge")
        or (link.name, link.kind) == (PROXY_DEVICE, "dummy")
        or (link.kind == "ipip" and link.name.startswith("tun-"))
    )


def tunnel_to(snapshot: Snapshot, netns: str, address: str) -> Link | None:
    """
    Return the tunnel that kube-router made to the node at *address*, a node of another network.

    It is told by its far end: the name is made of the address in another way in each version.
    """
    return next(
        (
            link
            for link in router_devices(snapshot, netns)
            if link.ipip is not None and link.ipip.remote == address
        ),
        None,
    )


def proxies(snapshot: Snapshot, netns: str) -> bool:
    """Is kube-router the service proxy of this namespace's node too?"""
    return link_in(snapshot, netns, PROXY_DEVICE) is not None


def runs_on(snapshot: Snapshot, node: str) -> bool:
    """Does kube-router make this node's network?"""
    state = snapshot.nodes.get(node)
    if state is None:
        return False
    return cni_file(snapshot, node) is not None or link_in(snapshot, state.netns, BRIDGE) is not None


def uplink(snapshot: Snapshot, netns: str, address: str) -> str | None:
    """Return the device on whose own network *address* is."""
    return next(
        (
            own.device
            for own in addresses_in(snapshot, netns)
            if family_of(own.address) == 4 and in_prefix(address, network_of(own.address, own.prefixlen))
        ),
        None,
    )
