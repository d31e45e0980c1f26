"""
Snapshots of several nodes as one cluster: who is who, and who is next to whom.

Lives here: one name for each namespace, the cluster's objects, pods with their namespaces; and the
networks on which nodes are neighbours.
Not here: reading the files (snapshot_file), tunnels: their outer packets go over these networks.

Two nodes are next to each other where devices that lead out of them have addresses of one network, and
neither knows another MAC address for the other's (a router, a proxy, a network of the same number
elsewhere).  Such a network becomes a namespace ``net-...`` with a bridge; it also leads out, to those
whose snapshots were not given.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.addr import is_link_local, is_loopback, network_of
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, Pod
from nettrace.model.links import BridgeAttrs, Link, Peer, PortAttrs
from nettrace.model.nft import NftRuleset
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.xfrm import Xfrm
from nettrace.model.xt import XtRuleset

__all__ = ["joined", "narrowed"]

#: States of a neighbour whose MAC address the kernel uses.
_USABLE = frozenset({"permanent", "reachable", "stale", "delay", "probe", "noarp"})
_BRIDGE = "br0"
_OUT = "outside"


class _End(NamedTuple):
    """A device that leads out of a node, with one of its addresses there."""

    netns: str
    link: Link
    mac: str
    address: str
    device: str


def narrowed(snapshot: Snapshot, node: str) -> Snapshot:
    """
    Return what *node* alone knows: its namespaces, its files, the cluster's objects.

    UserError where there is no such node.
    """
    if node not in snapshot.nodes:
        known = ", ".join(sorted(snapshot.nodes)) or "none"
        raise UserError(f"there is no node {node!r}", hint=f"known: {known}")
    own = {name: netns for name, netns in snapshot.namespaces.items() if netns.node == node}
    names = {name: name for name in own}
    pods = snapshot.kube.pods
    if isinstance(pods, Known):
        pods = Known(tuple(replace(one, netns=names.get(one.netns or "")) for one in pods.value))
    return replace(
        snapshot,
        namespaces={name: _renamed(netns, names) for name, netns in own.items()},
        nodes={node: snapshot.nodes[node]},
        kube=replace(snapshot.kube, pods=pods),
    )


def joined(snapshots: Sequence[Snapshot]) -> Snapshot:
    """
    Join snapshots of several nodes; a namespace name that two of them have gets its node's prefix.

    UserError for two snapshots of one node.
    """
    first, *others = snapshots
    if not others:
        return first
    seen: dict[str, int] = {}
    for snapshot in snapshots:
        for name in snapshot.namespaces:
            seen[name] = seen.get(name, 0) + 1
    namespaces: dict[str, Netns] = {}
    nodes: dict[str, NodeState] = {}
    homes: dict[str, str] = {}
    for snapshot in snapshots:
        twice = set(snapshot.nodes) & set(nodes)
        if twice:
            raise UserError(
                f"two snapshots are of the same node: {', '.join(sorted(twice))}",
                hint="give each node's snapshot once",
            )
        names = {n: f"{ns.node}/{n}" if seen[n] > 1 else n for n, ns in snapshot.namespaces.items()}
        for netns in snapshot.namespaces.values():
            namespaces[names[netns.name]] = _renamed(netns, names)
        for node in snapshot.nodes.values():
            nodes[node.name] = _node(node, names)
        pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
        homes |= {pod.key: names[pod.netns] for pod in pods if pod.netns in names}
    kube = next((s.kube for s in snapshots if isinstance(s.kube.services, Known)), Kube())
    if isinstance(kube.pods, Known):
        placed: list[Pod] = [replace(pod, netns=homes.get(pod.key)) for pod in kube.pods.value]
        kube = replace(kube, pods=Known(tuple(placed)))
    whole = replace(first, namespaces=namespaces, nodes=nodes, kube=kube)
    for network, ends in _networks(whole):
        whole = _laid(whole, network, ends)
    return whole


def _renamed(netns: Netns, names: Mapping[str, str]) -> Netns:
    """Give a namespace and the veth peers in it their names; a peer that is none of *names* is unknown."""
    links = netns.links
    if isinstance(links, Known):
        links = Known(
            tuple(
                replace(link, peer=replace(link.peer, netns=names.get(link.peer.netns)))
                if link.peer is not None and link.peer.netns is not None
                else link
                for link in links.value
            )
        )
    return replace(netns, name=names[netns.name], links=links)


def _node(node: NodeState, names: Mapping[str, str]) -> NodeState:
    processes = node.processes
    if isinstance(processes, Known):
        moved = (
            replace(one, netns=names.get(one.netns, one.netns)) if one.netns is not None else one
            for one in processes.value
        )
        processes = Known(tuple(moved))
    return replace(node, netns=names.get(node.netns, node.netns), processes=processes)


# --- who is next to whom -----------------------------------------------------------------


def _networks(snapshot: Snapshot) -> Iterator[tuple[str, tuple[_End, ...]]]:
    """Yield the networks on which several nodes have an end, each device in one of them."""
    found: dict[str, list[_End]] = {}
    for node in snapshot.nodes.values():
        for network, end in _ends(snapshot, snapshot.namespaces.get(node.netns)):
            found.setdefault(network, []).append(end)
    taken: set[tuple[str, str]] = set()
    for network, ends in found.items():
        apart = [
            end
            for end in ends
            if (end.netns, end.link.name) not in taken
            and not any(other.address == end.address and other is not end for other in ends)
            and not any(_contradicts(snapshot, other, end) for other in ends)
        ]
        if len({end.netns for end in apart}) > 1:
            taken |= {(end.netns, end.link.name) for end in apart}
            yield network, tuple({(end.netns, end.link.name): end for end in apart}.values())


def _ends(snapshot: Snapshot, netns: Netns | None) -> Iterator[tuple[str, _End]]:
    """Yield (network, end) for each device that leads out, by its own addresses or its bridge's."""
    if netns is None or not isinstance(netns.links, Known) or not isinstance(netns.addresses, Known):
        return
    links = {link.name: link for link in netns.links.value}
    for link in netns.links.value:
        far = link.peer.netns if link.peer is not None else None
        if link.kind not in ("device", "veth") or far in snapshot.namespaces or not link.up:
            continue
        master = links.get(link.master or "")
        holder = master if master is not None and master.kind == "bridge" else link
        if link.master is not None and holder is link:
            continue  # a bond's, which is not walked
        for own in netns.addresses.value:
            local = is_loopback(own.address) or is_link_local(own.address)
            if own.device != holder.name or local or own.prefixlen in (32, 128):
                continue
            end = _End(netns.name, link, holder.mac.lower(), own.address, holder.name)
            yield network_of(own.address, own.prefixlen), end


def _contradicts(snapshot: Snapshot, one: _End, other: _End) -> bool:
    """Does *one* know another MAC address for *other*'s address?"""
    known = snapshot.namespaces[one.netns].neighbours
    return isinstance(known, Known) and any(
        entry.address == other.address
        and entry.device == one.device
        and entry.state in _USABLE
        and bool(entry.mac)
        and (entry.mac or "").lower() not in (other.mac, other.link.mac.lower())
        for entry in known.value
    )


def _laid(snapshot: Snapshot, network: str, ends: Sequence[_End]) -> Snapshot:
    """Put a network between the devices of *ends*."""
    name = f"net-{network.replace('/', '-')}"
    index = 2
    ports: list[Link] = []
    for end in ends:
        index += 1
        device = f"to-{end.netns}"[:15]
        if any(port.name == device for port in ports):
            device = f"port{index}"
        ports.append(
            Link(
                index=index,
                name=device,
                kind="veth",
                mac=f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}",
                mtu=max(end.link.mtu for end in ends),
                carrier=end.link.carrier,
                master=_BRIDGE,
                peer=Peer(end.netns, end.link.index),
                port=PortAttrs(),
            )
        )
        netns = snapshot.namespaces[end.netns]
        links = netns.links.value if isinstance(netns.links, Known) else ()
        peered = replace(end.link, peer=Peer(name, index))
        changed = tuple(peered if link.name == end.link.name else link for link in links)
        snapshot = snapshot.with_netns(replace(netns, links=Known(changed)))
    out = Link(index=index + 1, name=_OUT, kind="device", master=_BRIDGE, port=PortAttrs())
    bridge = Link(
        index=2, name=_BRIDGE, kind="bridge", mac="02:00:00:00:00:02", bridge=BridgeAttrs(), mtu=out.mtu
    )
    lo = Link(index=1, name="lo", kind="loopback", mtu=65536)
    return snapshot.with_netns(_wire(name, (lo, bridge, *ports, out)))


def _wire(name: str, links: tuple[Link, ...]) -> Netns:
    """A switch: a bridge without an address, rules or anything else, all of it known."""
    sysctls = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.disable_ipv6": "1"}
    for which in ("all", "default", *(link.name for link in links)):
        sysctls |= {f"net.ipv4.conf.{which}.{key}": "0" for key in ("forwarding", "rp_filter")}
    nothing = XtRuleset({})
    return Netns(
        name=name,
        node=name,
        role="wire",
        links=Known(links),
        addresses=Known(()),
        routes=Known(()),
        rules=Known(()),
        neighbours=Known(()),
        fdb=Known(()),
        sysctls=Known(sysctls),
        sockets=Known(()),
        socket_programs=Known(()),
        conntrack=Known(()),
        xt_nft=Known(nothing),
        xt_legacy=Known(nothing),
        xt6_nft=Known(nothing),
        xt6_legacy=Known(nothing),
        ipsets=Known(()),
        recent=Known(()),
        nft=Known(NftRuleset()),
        xfrm=Known(Xfrm()),
        relays=Known(()),
    )
