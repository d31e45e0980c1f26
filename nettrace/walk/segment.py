"""
Who is on this Ethernet segment?

Lives here: following a frame that goes everywhere (ARP, an unknown MAC address) through
bridges, veths, macvlans and VXLANs, to every device that would take it, and to where the snapshot ends.
Not here: who of them answers ARP (neighbour), one frame's way (bridge).
Sources: net/bridge/br_forward.c (br_flood), br_arp_nd_proxy.c, drivers/net/macvlan.c.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from nettrace.model.addr import is_multicast
from nettrace.model.links import Link, VxlanAttrs
from nettrace.walk.context import Run, Undecided
from nettrace.walk.macvlan import listeners, lower_of, macvlans, of_source
from nettrace.walk.namespace import Namespace, namespace, together
from nettrace.walk.programs import of_netkit_peer
from nettrace.walk.relay import captured
from nettrace.walk.skb import BROADCAST
from nettrace.walk.vtep import carried, far_ends

__all__ = [
    "STATION_SECTIONS",
    "Asked",
    "Bridged",
    "Edge",
    "Proxied",
    "Segment",
    "Station",
    "Tunnelled",
    "Way",
    "admitted",
    "allowed_out",
    "arriving",
    "behind",
    "segment",
]

#: What is asked of every namespace on a segment, to know whether it answers.
STATION_SECTIONS = ("links", "addresses", "routes", "rules", "sysctls")

#: Modes of macvlans that take broadcasts from outside.  One in bridge mode reached those of its own
#: kind already when it sent; one in vepa mode reached nobody.
_EVERY_MODE: tuple[str, ...] = ("vepa", "bridge", "private", "passthru")

#: States in which a neighbour's MAC address counts for neigh_suppress (NUD_VALID).
_VALID = frozenset({"permanent", "noarp", "reachable", "probe", "stale", "delay"})


class Asked(NamedTuple):
    """An ARP request or a neighbour solicitation: from whom, about whom."""

    sender: str
    target: str
    mac: str


class Bridged(NamedTuple):
    """A bridge on the way: the ports in and out, None for the bridge's own device."""

    netns: str
    bridge: str
    in_port: str | None
    out_port: str | None


class Tunnelled(NamedTuple):
    """A VXLAN on the way: the near device, the far one, and whom the far one takes for the near end."""

    netns: str
    device: str
    far_netns: str
    far_device: str
    end: str


Way: TypeAlias = tuple[Bridged | Tunnelled, ...]


class Station(NamedTuple):
    """A device that takes frames for itself, and the bridges on the way to it."""

    netns: str
    device: str
    way: Way


class Edge(NamedTuple):
    """Where the segment goes on and the snapshot does not; *outside*: as a network, not as a program."""

    netns: str
    device: str
    reason: str
    outside: bool
    way: Way


class Proxied(NamedTuple):
    """A bridge that answers an ARP request itself, with the MAC address that its host knows."""

    netns: str
    bridge: str
    mac: str
    way: Way


class Segment(NamedTuple):
    """Everybody whom a frame reaches."""

    stations: tuple[Station, ...]
    edges: tuple[Edge, ...]
    proxies: tuple[Proxied, ...] = ()


def segment(run: Run, netns: str, device: str, asked: Asked) -> Segment:
    """Return whom an ARP request reaches that *device* of *netns* broadcasts."""
    search = _Search(run, asked, asked.mac, BROADCAST)
    search.send(namespace(run, netns), device, ())
    return search.found()


def behind(run: Run, ns: Namespace, bridge: str, in_port: str | None, mac: str, dest: str) -> Segment:
    """
    Return whom a frame from *mac* to *dest* reaches that came into *bridge*, which does not know *dest*.

    Ports with flooding off do not get it.
    """
    search = _Search(run, None, mac, dest)
    search.flood(ns, bridge, in_port, ())
    return search.found()


def arriving(run: Run, netns: str, device: str, mac: str, dest: str) -> Segment:
    """Return whom a frame from *mac* to *dest* may reach that came in by *device*."""
    search = _Search(run, None, mac, dest)
    ns = namespace(run, netns)
    search.arrive(ns, ns.link(device), ())
    return search.found()


class _Search:
    """Depth first over devices; each is entered once.  Without *asked* it is for an unknown unicast frame."""

    def __init__(self, run: Run, asked: Asked | None, mac: str, dest: str) -> None:
        self.run = run
        self.asked = asked
        self.mac = mac
        self.dest = dest
        self.stations: list[Station] = []
        self.edges: list[Edge] = []
        self.proxies: list[Proxied] = []
        self.seen: set[tuple[str, str]] = set()

    def found(self) -> Segment:
        return Segment(tuple(self.stations), tuple(self.edges), tuple(self.proxies))

    def edge(self, ns: Namespace, device: str, reason: str, way: Way, *, outside: bool) -> None:
        self.edges.append(Edge(ns.name, device, reason, outside, way))

    def send(self, ns: Namespace, device: str, way: Way) -> None:
        """A frame leaves by *device*."""
        link = ns.link(device)
        if not link.up or not link.carrier:
            return
        if link.programs:
            self.programs(ns, link, way)
        elif link.paired:
            self.cross(ns, link, way)
        elif link.kind == "netkit":
            told = "".join(f"{one} for " for one in of_netkit_peer(self.run, link)[1])
            self.edge(ns, device, f"{told}{device} of {ns.name}", way, outside=False)
        elif link.kind == "bridge":
            self.flood(ns, device, None, way)
        elif link.macvlan is not None:
            self.from_macvlan(ns, link, way)
        elif link.vxlan is not None:
            self.tunnel(ns, link, link.vxlan, way)
        elif link.kind not in ("loopback", "dummy"):
            self.edge(ns, device, f"{device} of {ns.name}", way, outside=link.kind == "device")

    def programs(self, ns: Namespace, link: Link, way: Way) -> None:
        """Whether the frame gets past what hangs on a device, no rule shows."""
        reason = f"{', '.join(link.programs)} on {link.name} of {ns.name}"
        self.edge(ns, link.name, reason, way, outside=False)

    def cross(self, ns: Namespace, link: Link, way: Way) -> None:
        peer = link.peer
        if peer is None or peer.netns is None or peer.netns not in self.run.snapshot.namespaces:
            self.edge(ns, link.name, f"the other end of {link.name} of {ns.name}", way, outside=True)
            return
        try:
            far = namespace(self.run, peer.netns)
            other = far.link_by_index(peer.ifindex)
            if other is not None:
                self.arrive(far, other, way)
        except Undecided as unknown:
            self.edge(ns, link.name, unknown.reason, way, outside=False)

    def tunnel(self, ns: Namespace, link: Link, attributes: VxlanAttrs, way: Way) -> None:
        """Every far end gets a copy, in an outer packet that has to arrive (vxlan_xmit)."""
        try:
            for far in far_ends(self.run, ns, link, attributes, self.dest):
                if is_multicast(far.address):
                    self.edge(
                        ns, link.name, f"multicast group {far.address} of {link.name}", way, outside=False
                    )
                    continue
                there = carried(self.run, ns, link, far, source=self.mac, dest=self.dest)
                if there.leaves:
                    self.edge(ns, link.name, f"{link.name} of {ns.name}: {there.leaves};", way, outside=True)
                elif there.netns:
                    space = namespace(self.run, there.netns)
                    hop = Tunnelled(ns.name, link.name, there.netns, there.device, there.end)
                    self.arrive(space, space.link(there.device), (*way, hop))
        except Undecided as unknown:
            self.edge(ns, link.name, unknown.reason, way, outside=False)

    def from_macvlan(self, ns: Namespace, link: Link, way: Way) -> None:
        """Macvlan_queue_xmit: to the other bridge-mode ones beside it, and out by the device below."""
        below = lower_of(self.run, ns, link)
        if below is None:
            self.edge(ns, link.name, f"the device below {link.name} of {ns.name}", way, outside=True)
            return
        self.seen.add((ns.name, link.name))
        if link.macvlan is not None and link.macvlan.mode == "bridge":
            for space, above in macvlans(self.run, *below):
                if above.macvlan is not None and above.macvlan.mode == "bridge":
                    self.arrive(space, above, way)
        self.send(below[0], below[1].name, way)

    def arrive(self, ns: Namespace, link: Link, way: Way) -> None:
        """A frame comes in by *link*."""
        if not link.up or (ns.name, link.name) in self.seen:
            return
        self.seen.add((ns.name, link.name))
        if link.programs:
            self.edge(
                ns, link.name, f"{', '.join(link.programs)} on {link.name} of {ns.name}", way, outside=False
            )
            return
        if link.kind == "macvtap":
            self.edge(ns, link.name, f"the program at {link.name} of {ns.name}", way, outside=False)
            return
        if link.master is None:
            captor = captured(self.run, ns, link)
            if captor is not None:
                self.edge(ns, link.name, captor, way, outside=False)
            self.take(ns, link, way)
            return
        bridge = ns.link(link.master)
        if bridge.kind != "bridge":
            self.edge(ns, link.name, f"{bridge.kind} {bridge.name} of {ns.name}", way, outside=False)
        elif bridge.up and _forwarding(link):
            if not admitted(ns, link, self.mac):
                return
            self.stations.append(
                Station(ns.name, bridge.name, (*way, Bridged(ns.name, bridge.name, link.name, None)))
            )
            self.flood(ns, bridge.name, link.name, way)

    def take(self, ns: Namespace, link: Link, way: Way) -> None:
        """A device of the host takes it, and so do the macvlans on top (macvlan_handle_frame)."""
        above = macvlans(self.run, ns, link)
        source = of_source(above, self.asked.mac) if self.asked is not None else None
        modes = _EVERY_MODE
        if source is not None and source.macvlan is not None:
            if source.macvlan.mode not in ("vepa", "bridge"):
                return  # back to where it came from
            modes = _EVERY_MODE[:2] if source.macvlan.mode == "vepa" else _EVERY_MODE[:1]
        for space, one in above:
            mode = one.macvlan.mode if one.macvlan is not None else ""
            if mode not in _EVERY_MODE:
                self.edge(space, one.name, f"{one.name} of {space.name}, mode {mode},", way, outside=False)
            elif one is not source and mode in modes:
                self.arrive(space, one, way)
        all_for_one = any(one.macvlan and one.macvlan.mode == "passthru" for _, one in above)
        if self.asked is not None or not all_for_one:
            self.stations.append(Station(ns.name, link.name, way))
        for who in listeners(ns, link, above):
            self.edge(ns, link.name, who, way, outside=False)
        for one in ns.links.values():
            if one.lower == link.name and one.kind in ("ipvlan", "vlan"):
                self.edge(ns, one.name, f"{one.kind} {one.name} of {ns.name}", way, outside=False)

    def flood(self, ns: Namespace, bridge: str, in_port: str | None, way: Way) -> None:
        """A bridge sends a frame by all its ports but the one it came by (br_flood)."""
        suppressed = self.asked is not None and self.proxied(ns, bridge, in_port, way, self.asked)
        ports = [port for port in ns.ports(bridge) if allowed_out(ns, port, in_port)]
        for port in ports:
            if port.port is not None and port.port.proxy_arp_wifi and self.asked is not None:
                self.edge(ns, port.name, f"proxy_arp_wifi of port {port.name}", way, outside=False)
        ports = [
            port
            for port in ports
            if _flooded(port, self.asked, own=in_port is None)
            and not (suppressed and port.port is not None and port.port.neigh_suppress)
        ]
        together(self.run, tuple(dict.fromkeys(_peers(self.run, ports))), STATION_SECTIONS)
        for port in ports:
            self.send(ns, port.name, (*way, Bridged(ns.name, bridge, in_port, port.name)))

    def proxied(self, ns: Namespace, bridge: str, in_port: str | None, way: Way, asked: Asked) -> bool:
        """
        br_do_proxy_suppress_arp: is the request kept from ports with neigh_suppress?

        Notes whether the bridge answers it by itself, from its host's neighbour table.
        """
        ports = ns.ports(bridge)
        suppressing = any(port.port is not None and port.port.neigh_suppress for port in ports)
        came = ns.link(in_port).port if in_port is not None else None
        proxy = came is not None and came.proxy_arp and ":" not in asked.target
        if not (suppressing or proxy) or (in_port is None and not suppressing):
            return False
        if came is not None and came.neigh_suppress:
            return False
        if suppressing and (asked.sender in ("", "0.0.0.0", "::", asked.target)):
            return True
        if suppressing and any(
            one.address == asked.target for one in (*ns.addresses(bridge), *ns.addresses6(bridge))
        ):
            return True
        mac = self.known(ns, bridge, asked.target)
        if mac is None:
            return False
        behind_port = self.port_of(ns, bridge, mac)
        if behind_port is None:
            return False
        far = ns.link(behind_port).port if behind_port != bridge else None
        if proxy or (far is not None and far.neigh_suppress):
            self.proxies.append(
                Proxied(ns.name, bridge, mac, (*way, Bridged(ns.name, bridge, in_port, None)))
            )
            return True
        return suppressing

    def known(self, ns: Namespace, bridge: str, address: str) -> str | None:
        """Return the MAC address that the host has for *address* on the bridge's own device."""
        learned = self.run.neighbours.get((ns.name, bridge, address))
        if learned is not None:
            return learned
        entry = ns.neighbour(bridge, address)
        return entry.mac.lower() if entry is not None and entry.mac and entry.state in _VALID else None

    def port_of(self, ns: Namespace, bridge: str, mac: str) -> str | None:
        """Return the port that the forwarding database has for *mac*."""
        learned = self.run.learned_ports.get((ns.name, bridge, mac))
        if learned is not None:
            return learned
        return next((entry.device for entry in ns.fdb(mac) if bridge in (entry.master, entry.device)), None)


def _peers(run: Run, ports: list[Link]) -> Iterator[str]:
    for port in ports:
        if port.peer is not None and port.peer.netns in run.snapshot.namespaces:
            yield str(port.peer.netns)


def _forwarding(link: Link) -> bool:
    return link.port is None or link.port.state == 3


def admitted(ns: Namespace, port: Link, mac: str) -> bool:
    """May a frame from *mac* come in here?  By a locked port only if an entry says that it is there."""
    if port.port is None or not port.port.locked:
        return True
    return any(entry.device == port.name and not entry.permanent for entry in ns.fdb(mac))


def _flooded(port: Link, asked: Asked | None, *, own: bool) -> bool:
    """Is a frame flooded to this port?  A broadcast of the host's *own* always is, but not to a proxy."""
    attributes = port.port
    if attributes is None:
        return True
    if attributes.proxy_arp:
        return False
    if asked is None:
        return attributes.flood
    return own or (attributes.mcast_flood if ":" in asked.target else attributes.bcast_flood)


def allowed_out(ns: Namespace, port: Link, in_port: str | None) -> bool:
    """should_deliver: may a frame that came by *in_port* leave by *port*?"""
    if not port.up or not _forwarding(port):
        return False
    if in_port is None:
        return True
    if port.name == in_port and (port.port is None or not port.port.hairpin):
        return False
    came = ns.link(in_port)
    both_isolated = (
        came.port is not None and came.port.isolated and port.port is not None and port.port.isolated
    )
    return not both_isolated
