"""
What tells that Weave makes a node's network, and where its peers are.

Lives here: its bridge and the network on it, its CNI configuration, the tunnel, the Nodes.
Not here: what follows from it (owes.py, peers.py).
"""

import json
from collections.abc import Iterator, Mapping

from msgspec import Struct

from nettrace.model.addr import family_of, network_of
from nettrace.model.kube import KubeNode
from nettrace.model.links import Address, Link
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.xt import BACKENDS
from nettrace_plugins.weave.names import BRIDGE, DATAPATH, MAIN, TUNNEL, UPLINK

__all__ = ["Peer", "cni_file", "has_npc", "links", "mode", "network", "peers", "runs_on", "tunnel"]

_CNI = "/etc/cni/net.d/"
_PLUGIN = "weave-net"


class Peer(Struct, frozen=True, kw_only=True):
    """Another node; ``source`` says where its address stands."""

    name: str
    address: str
    source: str


def links(snapshot: Snapshot, netns: str) -> dict[str, Link]:
    """Return the devices of a namespace by name; none where they were not read."""
    section = snapshot.section(SectionKey(netns, "links"))
    found: tuple[Link, ...] = section.value if isinstance(section, Known) else ()
    return {link.name: link for link in found}


def cni_file(snapshot: Snapshot, node: str) -> str | None:
    """Return the path of the CNI configuration that calls Weave's plugin."""
    state = snapshot.nodes.get(node)
    files: Mapping[str, str] = state.files.value if state and isinstance(state.files, Known) else {}
    for path in sorted(files):
        if path.startswith(_CNI) and _PLUGIN in _types(files[path]):
            return path
    return None


def _types(text: str) -> Iterator[str]:
    try:
        conf = json.loads(text)
    except ValueError:
        return
    if not isinstance(conf, dict):
        return
    plugins = conf.get("plugins")
    for one in (conf, *(plugins if isinstance(plugins, list) else ())):
        if isinstance(one, dict) and isinstance(one.get("type"), str):
            yield one["type"]


def runs_on(snapshot: Snapshot, node: str) -> bool:
    """Does Weave make this node's network?"""
    state = snapshot.nodes.get(node)
    return state is not None and (
        cni_file(snapshot, node) is not None or {BRIDGE, UPLINK} <= links(snapshot, state.netns).keys()
    )


def network(snapshot: Snapshot, netns: str) -> str | None:
    """Return the network of the pods of all nodes, which Weave's bridge has an address in."""
    section = snapshot.section(SectionKey(netns, "addresses"))
    addresses: tuple[Address, ...] = section.value if isinstance(section, Known) else ()
    return next(
        (
            network_of(own.address, own.prefixlen)
            for own in addresses
            if own.device == BRIDGE and family_of(own.address) == 4
        ),
        None,
    )


def mode(snapshot: Snapshot, netns: str) -> str:
    """``fastdp`` with a datapath, ``sleeve`` where the router captures frames itself, "" with neither."""
    found = links(snapshot, netns)
    if DATAPATH in found:
        return "fastdp"
    return "sleeve" if "vethwe-pcap" in found else ""


def tunnel(snapshot: Snapshot, netns: str) -> Link | None:
    """Return the tunnel, if its own forwarding database says where frames go, and no datapath's flows do."""
    link = links(snapshot, netns).get(TUNNEL)
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
    for backend in BACKENDS:
        table = snapshot.section(SectionKey(node.netns, f"xt/{backend}/filter"))
        if isinstance(table, Known) and table.value is not None and MAIN in table.value.chains:
            return True
    return False
