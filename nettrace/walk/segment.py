"""
Who is on this Ethernet segment?

Lives here: following a frame that goes everywhere (ARP, an unknown MAC address) through
bridges and veths, to every device that would take it, and to where the snapshot ends.
Not here: who of them answers ARP (neighbour), one frame's way (bridge).
"""

from collections.abc import Iterator
from typing import NamedTuple

from nettrace.model.links import Link
from nettrace.walk.context import Run, Undecided
from nettrace.walk.namespace import Namespace, namespace, together

__all__ = ["STATION_SECTIONS", "Bridged", "Edge", "Segment", "Station", "allowed_out", "behind", "segment"]

#: What is asked of every namespace on a segment, to know whether it answers.
STATION_SECTIONS = ("links", "addresses", "routes", "rules", "sysctls")

ZERO_MAC = "00:00:00:00:00:00"


class Bridged(NamedTuple):
    """A bridge on the way: the ports in and out, None for the bridge's own device."""

    netns: str
    bridge: str
    in_port: str | None
    out_port: str | None


class Station(NamedTuple):
    """A device that takes frames for itself, and the bridges on the way to it."""

    netns: str
    device: str
    way: tuple[Bridged, ...]


class Edge(NamedTuple):
    """Where the segment goes on and the snapshot does not; *outside*: as a network, not as a program."""

    netns: str
    device: str
    reason: str
    outside: bool
    way: tuple[Bridged, ...]


class Segment(NamedTuple):
    """Everybody whom a frame reaches."""

    stations: tuple[Station, ...]
    edges: tuple[Edge, ...]


def segment(run: Run, netns: str, device: str, *, unicast: bool = False) -> Segment:
    """
    Return whom a frame reaches that *device* of *netns* sends to everybody.

    *unicast*: it is for one MAC address that no bridge knows, so ports with flooding off
    do not get it.
    """
    search = _Search(run, unicast=unicast)
    search.send(namespace(run, netns), device, ())
    return Segment(tuple(search.stations), tuple(search.edges))


def behind(run: Run, ns: Namespace, bridge: str, in_port: str | None) -> Segment:
    """Return whom a frame with an unknown MAC address reaches that came into *bridge* by *in_port*."""
    search = _Search(run, unicast=True)
    search.flood(ns, bridge, in_port, ())
    return Segment(tuple(search.stations), tuple(search.edges))


class _Search:
    """Depth first over devices; each is entered once."""

    def __init__(self, run: Run, *, unicast: bool) -> None:
        self.run = run
        self.unicast = unicast
        self.stations: list[Station] = []
        self.edges: list[Edge] = []
        self.seen: set[tuple[str, str]] = set()

    def edge(
        self, ns: Namespace, device: str, reason: str, way: tuple[Bridged, ...], *, outside: bool
    ) -> None:
        self.edges.append(Edge(ns.name, device, reason, outside, way))

    def send(self, ns: Namespace, device: str, way: tuple[Bridged, ...]) -> None:
        """A frame leaves by *device*."""
        link = ns.link(device)
        if not link.up or not link.carrier:
            return
        if link.programs:
            self.edge(ns, device, f"{link.programs[0]} on {device} of {ns.name}", way, outside=False)
        elif link.kind == "veth":
            self.cross(ns, link, way)
        elif link.kind == "bridge":
            self.flood(ns, device, None, way)
        elif link.kind == "vxlan":
            if any(entry.device == device for entry in ns.fdb(ZERO_MAC)):
                self.edge(ns, device, f"flooding through {device} of {ns.name}", way, outside=False)
        elif link.kind not in ("loopback", "dummy"):
            self.edge(ns, device, f"{device} of {ns.name}", way, outside=link.kind == "device")

    def cross(self, ns: Namespace, link: Link, way: tuple[Bridged, ...]) -> None:
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

    def arrive(self, ns: Namespace, link: Link, way: tuple[Bridged, ...]) -> None:
        """A frame comes in by *link*."""
        if not link.up or (ns.name, link.name) in self.seen:
            return
        self.seen.add((ns.name, link.name))
        if link.programs:
            self.edge(ns, link.name, f"{link.programs[0]} on {link.name} of {ns.name}", way, outside=False)
            return
        if link.master is None:
            self.stations.append(Station(ns.name, link.name, way))
            for above in ns.links.values():
                if above.lower == link.name and above.kind in ("macvlan", "ipvlan"):
                    self.edge(ns, above.name, f"{above.kind} {above.name} of {ns.name}", way, outside=False)
            return
        bridge = ns.link(link.master)
        if bridge.kind != "bridge":
            self.edge(ns, link.name, f"{bridge.kind} {bridge.name} of {ns.name}", way, outside=False)
        elif bridge.up and _forwarding(link):
            self.stations.append(
                Station(ns.name, bridge.name, (*way, Bridged(ns.name, bridge.name, link.name, None)))
            )
            self.flood(ns, bridge.name, link.name, way)

    def flood(self, ns: Namespace, bridge: str, in_port: str | None, way: tuple[Bridged, ...]) -> None:
        """A bridge sends a frame by all its ports but the one it came by."""
        ports = [port for port in ns.ports(bridge) if allowed_out(ns, port, in_port)]
        if self.unicast:
            ports = [port for port in ports if port.port is None or port.port.flood]
        together(self.run, tuple(dict.fromkeys(_peers(self.run, ports))), STATION_SECTIONS)
        for port in ports:
            self.send(ns, port.name, (*way, Bridged(ns.name, bridge, in_port, port.name)))


def _peers(run: Run, ports: list[Link]) -> Iterator[str]:
    for port in ports:
        if port.peer is not None and port.peer.netns in run.snapshot.namespaces:
            yield str(port.peer.netns)


def _forwarding(link: Link) -> bool:
    return link.port is None or link.port.state == 3


def allowed_out(ns: Namespace, port: Link, in_port: str | None) -> bool:
    """should_deliver: may a frame that came by *in_port* leave by *port*?"""
    if not port.up or not _forwarding(port):
        return False
    if in_port is None:
        return True
    if port.name == in_port:
        return port.port is not None and port.port.hairpin
    came = ns.link(in_port)
    both_isolated = (
        came.port is not None and came.port.isolated and port.port is not None and port.port.isolated
    )
    return not both_isolated
