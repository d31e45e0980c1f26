"""
What tells that Weave makes a node's network, and where its peers are.

Lives here: its bridge and the network on it, its CNI configuration, the tunnel, the Nodes.
Not here: what follows from it (owes.py, peers.py).
"""

from msgspec import Struct

from nettrace.diagnose.look import addresses_in, has_chain, link_in, links_in
from nettrace.kube.ipam import confs_of
from nettrace.model.addr import family_of, network_of
from nettrace.model.kube import KubeNode
from nettrace.model.links import Link
from nettrace.model.relay import Relay
from nettrace.model.section import Known
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.xt import BACKENDS
from nettrace_plugins.weave.names import BRIDGE, CAPTURE, DATAPATH, MAIN, PORT, TUNNEL, UPLINK

__all__ = [
    "Peer",
    "captures",
    "cni_file",
    "has_npc",
    "has_port",
    "mode",
    "network",
    "peers",
    "runs_on",
    "tunnel",
]

_PLUGIN = "weave-net"


class Peer(Struct, frozen=True, kw_only=True):
    """Another node; ``source`` says where its address stands."""

    name: str
    address: str
    source: str


def cni_file(snapshot: Snapshot, node: str) -> str | None:
    """Return the path of the CNI configuration that calls Weave's plugin."""
    confs = confs_of(snapshot, node)
    return next((c.path for c in confs if any(plugin.type == _PLUGIN for plugin in c.plugins)), None)


def runs_on(snapshot: Snapshot, node: str) -> bool:
    """Does Weave make this node's network?"""
    state = snapshot.nodes.get(node)
    return state is not None and (cni_file(snapshot, node) is not None or has_port(snapshot, state.netns))


def has_port(snapshot: Snapshot, netns: str) -> bool:
    """Are its bridge and the port there that leads out of it?"""
    return {BRIDGE, UPLINK} <= {link.name for link in links_in(snapshot, netns)}


def network(snapshot: Snapshot, netns: str) -> str | None:
    """Return the network of the pods of all nodes, which Weave's bridge has an address in."""
    return next(
        (
            network_of(own.address, own.prefixlen)
            for own in addresses_in(snapshot, netns)
            if own.device == BRIDGE and family_of(own.address) == 4
        ),
        None,
    )


def mode(snapshot: Snapshot, netns: str) -> str:
    """``fastdp`` with a datapath, ``sleeve`` where the router captures frames itself, "" with neither."""
    found = {link.name for link in links_in(snapshot, netns)}
    if DATAPATH in found:
        return "fastdp"
    return "sleeve" if CAPTURE in found else ""


def captures(snapshot: Snapshot, netns: str) -> tuple[Relay, ...]:
    """
    Return the router that captures frames in sleeve mode, in one entry; nothing with a datapath.

    It carries them to its peers over UDP (router/sleeve.go of weave; ports 6783 and 6784).
    """
    if mode(snapshot, netns) != "sleeve":
        return ()
    return (
        Relay(
            device=CAPTURE,
            prefix="0.0.0.0/0",
            local="",
            port=PORT,
            far="",
            far_port=PORT,
            owner="Weave's router",
            source=f"{CAPTURE} without a datapath",
            unfollowed=(
                f"Weave's router, which captures frames at {CAPTURE} and sends them to its peers over UDP "
                f"ports {PORT} and {PORT + 1} (sleeve), by what it alone has learned,"
            ),
        ),
    )


def tunnel(snapshot: Snapshot, netns: str) -> Link | None:
    """Return the tunnel, if its own forwarding database says where frames go, and no datapath's flows do."""
    link = link_in(snapshot, netns, TUNNEL)
    if link is None or link.vxlan is None or any("external" in word for word in link.programs):
        return None
    return link


def peers(snapshot: Snapshot, node: str) -> tuple[Peer, ...]:
    """Return the other Nodes that have an IPv4 address, by name, as weave-kube hands them to the router."""
    nodes: tuple[KubeNode, ...] = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    found = (
        Peer(name=one.name, address=address, source=f"InternalIP of Node {one.name}")
        for one in nodes
        if one.name != node
        for address in [next((a for a in one.internal_ips if family_of(a) == 4), "")]
        if address
    )
    return tuple(sorted(found, key=lambda peer: peer.name))


def has_npc(snapshot: Snapshot, node: NodeState) -> bool:
    """Does its policy controller's main chain exist?"""
    return any(has_chain(snapshot, node.netns, backend, "filter", MAIN) for backend in BACKENDS)
