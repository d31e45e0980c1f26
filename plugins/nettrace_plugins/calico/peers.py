"""
What Calico puts on a node for the other nodes' pods.

Lives here: routes to blocks, and of VXLAN the neighbours and forwarding entries.  A block of a node's own
ends in a blackhole there, so that packets for addresses that no pod has do not go in circles.
Sources: felix/dataplane/linux/vxlan_mgr.go and vxlan_fdb; confd's bird_aggr.cfg and bird_ipam.cfg.
"""

from collections.abc import Iterator

from nettrace.model.addr import family_of, in_prefix, network_of
from nettrace.model.links import FdbEntry, Neighbour
from nettrace.model.owed import Owed, OwedFdb, OwedNeighbour, OwedRoute
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.calico.facts import OWNER, Published, all_pods, blocks_of, mode_of, published
from nettrace_plugins.calico.names import TUNNEL, VXLAN

__all__ = ["owed_for_peers", "uplink"]


def owed_for_peers(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield what *node* is owed for its own blocks and those of every peer that says enough."""
    nodes = published(snapshot)
    own = nodes.get(node)
    if own is None or node not in snapshot.nodes:
        return
    netns = snapshot.nodes[node].netns
    blocks = blocks_of(snapshot)
    ends: set[str] = set()
    for block, owner in blocks.items():
        source = f"BlockAffinity of {block}"
        if owner == node:
            yield OwedRoute(
                netns=netns,
                owner=OWNER,
                source=source,
                about=f"addresses of {node}'s block that no pod has",
                route=Route(dst=block, type="blackhole"),
            )
        elif owner in nodes:
            yield from _reached(snapshot, netns, own, nodes[owner], block, source)
            if mode_of(snapshot, block, own, nodes[owner]) == "vxlan" and owner not in ends:
                ends.add(owner)
                yield from _end(netns, nodes[owner])
    yield from _borrowed(snapshot, netns, own, nodes, blocks)


def uplink(snapshot: Snapshot, netns: str, address: str) -> str | None:
    """Return the device on whose own network *address* is."""
    section = snapshot.section(SectionKey(netns, "addresses"))
    addresses = section.value if isinstance(section, Known) else ()
    return next(
        (
            one.device
            for one in addresses
            if family_of(one.address) == 4
            and one.prefixlen < 32
            and in_prefix(address, network_of(one.address, one.prefixlen))
        ),
        None,
    )


def _reached(
    snapshot: Snapshot, netns: str, own: Published, peer: Published, prefix: str, source: str
) -> Iterator[OwedRoute]:
    """
    Yield the route to what is at a peer; none where the way to the peer itself is not known.

    BIRD takes back routes of its own protocol that it did not write, so what is put in its place
    is of another.
    """
    mode = mode_of(snapshot, prefix, own, peer)
    hop = None
    if mode == "vxlan" and peer.vxlan:
        hop = NextHop(device=VXLAN, via=peer.vxlan, onlink=True)
    elif mode == "ipip":
        hop = NextHop(device=TUNNEL, via=peer.address, onlink=True)
    elif mode == "direct" and (device := uplink(snapshot, netns, peer.address)) is not None:
        hop = NextHop(device=device, via=peer.address)
    if hop is not None:
        yield OwedRoute(
            netns=netns,
            owner=OWNER,
            source=f"{source}, {peer.source}",
            about=f"the pods of {peer.node}" if "/32" not in prefix else f"{prefix} at {peer.node}",
            route=Route(dst=prefix, nexthops=(hop,)),
        )


def _end(netns: str, peer: Published) -> Iterator[Owed]:
    """Yield what makes the VXLAN end of a peer known: nobody answers ARP there, and nothing is learned."""
    if not peer.vxlan:
        return
    about = f"the VXLAN end of {peer.node}"
    yield OwedNeighbour(
        netns=netns,
        owner=OWNER,
        source=peer.source,
        about=about,
        entry=Neighbour(device=VXLAN, address=peer.vxlan, mac=peer.mac, state="permanent"),
    )
    yield OwedFdb(
        netns=netns,
        owner=OWNER,
        source=peer.source,
        about=about,
        entry=FdbEntry(device=VXLAN, mac=peer.mac, dst=peer.address, permanent=True),
    )


def _borrowed(
    snapshot: Snapshot, netns: str, own: Published, nodes: dict[str, Published], blocks: dict[str, str]
) -> Iterator[OwedRoute]:
    """Yield routes to pods whose address is out of another node's block: they are told one by one."""
    for pod in all_pods(snapshot):
        address = next((one for one in pod.ips if family_of(one) == 4), None)
        if address is None or pod.node_name == own.node or pod.node_name not in nodes:
            continue
        holder = next((node for block, node in blocks.items() if in_prefix(address, block)), None)
        if holder is not None and holder != pod.node_name:
            peer = nodes[pod.node_name or ""]
            yield from _reached(snapshot, netns, own, peer, f"{address}/32", f"pod {pod.key}")
