"""
What flanneld puts on a node for each of its peers.

Lives here: routes, neighbours and forwarding entries (pkg/backend/vxlan/vxlan_network.go and
pkg/backend/hostgw of flannel).
"""

from collections.abc import Iterator

from nettrace.model.addr import family_of, in_prefix, network_of
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.owed import Owed, OwedFdb, OwedLink, OwedNeighbour, OwedRoute
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.flannel.facts import SUBNET_ENV, Published, direct_routing, own_and_peers, subnet_env

__all__ = ["OWNER", "owed_for_peers", "uplink"]

OWNER = "flanneld"


def owed_for_peers(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield what *node* is owed for every peer whose annotations say enough."""
    own, peers = own_and_peers(snapshot, node)
    if own is None:
        return
    netns = snapshot.nodes[node].netns
    direct = own.backend == "host-gw" or direct_routing(snapshot, node)
    env = subnet_env(snapshot, node)
    if own.backend == "udp" and env is not None and _has(snapshot, netns, "flannel0"):
        yield OwedRoute(
            netns=netns,
            owner=OWNER,
            source=SUBNET_ENV,
            about="the pods of all nodes",
            route=Route(dst=env.network, nexthops=(NextHop(device="flannel0"),)),
        )
    device = f"flannel.{own.vni}"
    if own.backend == "vxlan" and own.mac and _has(snapshot, netns, device):
        yield OwedLink(
            netns=netns,
            owner=OWNER,
            source=own.source,
            about="its own VXLAN end",
            device=device,
            attribute="address",
            value=own.mac,
        )
    for peer in peers:
        if peer.backend != own.backend:
            continue
        wire = uplink(snapshot, netns, peer.public_ip) if direct else None
        if wire is not None:
            yield _direct(netns, peer, wire)
        elif own.backend == "vxlan" and peer.vni == own.vni and peer.mac:
            yield from _tunnelled(netns, peer, f"flannel.{own.vni}")


def _has(snapshot: Snapshot, netns: str, device: str) -> bool:
    links = snapshot.section(SectionKey(netns, "links"))
    return isinstance(links, Known) and any(link.name == device for link in links.value)


def uplink(snapshot: Snapshot, netns: str, address: str) -> str | None:
    """Return the device on whose own network *address* is."""
    section = snapshot.namespaces[netns].addresses if netns in snapshot.namespaces else None
    addresses: tuple[Address, ...] = section.value if isinstance(section, Known) else ()
    return next(
        (
            own.device
            for own in addresses
            if family_of(own.address) == 4 and in_prefix(address, network_of(own.address, own.prefixlen))
        ),
        None,
    )


def _direct(netns: str, peer: Published, device: str) -> OwedRoute:
    route = Route(dst=peer.pod_cidr, nexthops=(NextHop(device=device, via=peer.public_ip),))
    return OwedRoute(
        netns=netns, owner=OWNER, source=peer.source, about=f"the pods of {peer.node}", route=route
    )


def _tunnelled(netns: str, peer: Published, device: str) -> Iterator[Owed]:
    """
    Yield the three of a VXLAN peer.

    The peer's VTEP has the first address of its pod CIDR (10.244.2.0); nobody answers ARP for
    it, so the neighbour is permanent, and so is where its MAC leads.
    """
    vtep = peer.pod_cidr.split("/")[0]
    hop = NextHop(device=device, via=vtep, onlink=True)
    yield OwedRoute(
        netns=netns,
        owner=OWNER,
        source=peer.source,
        about=f"the pods of {peer.node}",
        route=Route(dst=peer.pod_cidr, nexthops=(hop,)),
    )
    yield OwedNeighbour(
        netns=netns,
        owner=OWNER,
        source=peer.source,
        about=f"the VXLAN end of {peer.node}",
        entry=Neighbour(device=device, address=vtep, mac=peer.mac, state="permanent"),
    )
    yield OwedFdb(
        netns=netns,
        owner=OWNER,
        source=peer.source,
        about=f"the VXLAN end of {peer.node}",
        entry=FdbEntry(device=device, mac=peer.mac, dst=peer.public_ip, permanent=True),
    )
