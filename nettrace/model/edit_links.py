"""
Attributes of devices, changed in the model, with what hangs on them.

Lives here: ``up``, ``mtu``, ``promisc``, ``address`` and the attributes of bridge ports; the routes,
neighbours and carriers that go and come with a device.
Not here: creating and deleting devices, which no Change does.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from nettrace.model.addr import family_of, network_of
from nettrace.model.announce import announced
from nettrace.model.change import LinkSet
from nettrace.model.edit_tables import ignores_linkdown
from nettrace.model.links import Address, FdbEntry, Link, PortAttrs
from nettrace.model.routes import TABLE_LOCAL, NextHop, Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns, Snapshot

__all__ = ["PORT_ATTRIBUTES", "edit_link", "kernel_routes", "marked", "without_device"]

#: Attributes of LinkSet that only a bridge port has; those but ``state`` are on or off.
PORT_ATTRIBUTES = ("hairpin", "isolated", "learning", "flood", "state")

#: As the kernel prints it.
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")

#: Port states by number, include/uapi/linux/if_bridge.h: disabled, listening, learning, forwarding, blocking.
_STATES = ("0", "1", "2", "3", "4")
_FORWARDING = 3

#: Devices whose carrier and MTU follow the one below them.
_STACKED = ("vlan", "macvlan", "ipvlan")


def edit_link(snapshot: Snapshot, change: LinkSet) -> Snapshot:
    """
    Return *snapshot* with one attribute of a device changed.

    ValueError: no such device, no such attribute on it, a value that it cannot take, or a
    section that was not read and that the kernel would change too.
    """
    netns = snapshot.namespaces.get(change.netns)
    if netns is None or not isinstance(netns.links, Known):
        raise ValueError(f"{change.netns}/links was not read")
    link = next((one for one in netns.links.value if one.name == change.device), None)
    if link is None:
        raise ValueError(f"{change.netns} has no device {change.device}")
    if change.attribute == "mtu":
        return _set_mtu(snapshot, netns, link, change.value)
    if change.attribute == "master":
        return _set_master(snapshot, netns, link, change.value)
    if change.attribute == "address":
        return _set_address(snapshot, netns, link, change.value)
    if change.attribute == "state":
        return _set_state(snapshot, netns, link, change.value)
    if change.value not in ("on", "off"):
        raise ValueError(f"{change.attribute} is on or off, not {change.value}")
    on = change.value == "on"
    if change.attribute == "up":
        if on == link.up:
            return snapshot
        return _bring_up(snapshot, netns, link) if on else _take_down(snapshot, netns, link)
    if change.attribute == "promisc":
        return _update(snapshot, change.netns, link.name, lambda old: replace(old, promisc=on))
    if change.attribute not in PORT_ATTRIBUTES:
        raise ValueError(f"{change.attribute} is no attribute of a device that can be set")
    if link.port is None:
        raise ValueError(
            f"{change.netns}: {change.device} is no port of a bridge and has no {change.attribute}"
        )
    port = replace(link.port, **{change.attribute: on})
    return _update(snapshot, change.netns, link.name, lambda old: replace(old, port=port))


def _set_state(snapshot: Snapshot, netns: Netns, link: Link, value: str) -> Snapshot:
    """
    Set the state of a bridge port, with what that does to the bridge's carrier.

    net/bridge/br_stp.c, br_set_state; br_stp_if.c, br_port_state_selection: without STP a port that
    is not disabled is made to forward at once, and a bridge with no forwarding port loses its carrier.
    """
    if value not in _STATES:
        raise ValueError(f"{value} is no state of a bridge port: 0 to 4")
    if link.port is None:
        raise ValueError(f"{netns.name}: {link.name} is no port of a bridge and has no state")
    links: tuple[Link, ...] = netns.links.value  # type: ignore[union-attr]
    bridge = next((one for one in links if one.name == link.master), None)
    stp = bridge is not None and bridge.bridge is not None and bridge.bridge.stp
    state = int(value) if stp or value == "0" else _FORWARDING
    port = replace(link.port, state=state)
    snapshot = _update(snapshot, netns.name, link.name, lambda old: replace(old, port=port))
    return _recheck(snapshot, netns.name, bridge.name) if bridge is not None and bridge.up else snapshot


def _set_address(snapshot: Snapshot, netns: Netns, link: Link, mac: str) -> Snapshot:
    """
    Give a device another MAC address; its neighbours go, permanent ones too (neigh_changeaddr).

    Bridges and their ports have entries of their own for it, and IPv6 addresses made of it: not followed.
    """
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{mac} is no MAC address")
    if link.kind == "bridge" or link.port is not None:
        raise ValueError(f"{netns.name}: what else the MAC address of {link.name} decides is not followed")
    if mac == link.mac:
        return snapshot
    snapshot = _update(snapshot, netns.name, link.name, lambda old: replace(old, mac=mac))
    if isinstance(netns.neighbours, Known):
        kept = tuple(n for n in netns.neighbours.value if n.device != link.name)
        snapshot = snapshot.with_section(SectionKey(netns.name, "neighbours"), Known(kept))
    return announced(snapshot, netns, link, mac)


def _set_master(snapshot: Snapshot, netns: Netns, link: Link, bridge: str) -> Snapshot:
    """
    Put a device into a bridge, or take it out of one; its port begins with the defaults.

    net/bridge/br_if.c, br_add_if and br_del_if.
    """
    links: tuple[Link, ...] = netns.links.value  # type: ignore[union-attr]
    if bridge and all((one.name, one.kind) != (bridge, "bridge") for one in links):
        raise ValueError(f"{netns.name} has no bridge {bridge}")
    port = PortAttrs(state=_FORWARDING if link.up and link.carrier else 0) if bridge else None
    before = link.master
    if isinstance(netns.fdb, Known):
        # br_fdb_add_local: the port's own address is a permanent entry of the bridge
        kept = tuple(e for e in netns.fdb.value if e.device != link.name or e.master is None)
        own = (FdbEntry(device=link.name, mac=link.mac, master=bridge, permanent=True),) if bridge else ()
        snapshot = snapshot.with_netns(replace(netns, fdb=Known((*kept, *own))))
    snapshot = _update(
        snapshot, netns.name, link.name, lambda old: replace(old, master=bridge or None, port=port)
    )
    for name in (before, bridge):
        if not name:
            continue
        snapshot = _follow_mac(snapshot, netns, name)
        if any(one.name == name and one.up for one in links):
            snapshot = _recheck(snapshot, netns.name, name)
    return snapshot


def _follow_mac(snapshot: Snapshot, was: Netns, bridge: str) -> Snapshot:
    """
    Give a bridge the least MAC address of its ports, where it had that before.

    net/bridge/br_stp_if.c, br_stp_recalculate_bridge_id: one that somebody set stays; that it was set is
    taken from its not being its ports' least.  Its own entry in the forwarding database goes with it.
    """
    before: tuple[Link, ...] = was.links.value  # type: ignore[union-attr]
    now: tuple[Link, ...] = snapshot.namespaces[was.name].links.value  # type: ignore[union-attr]
    old = next(link.mac for link in before if link.name == bridge)
    had = [link.mac for link in before if link.master == bridge]
    has = [link.mac for link in now if link.master == bridge]
    if not had or not has or old != min(had) or min(has) == old:
        return snapshot
    mac = min(has)
    snapshot = _update(snapshot, was.name, bridge, lambda link: replace(link, mac=mac))
    netns = snapshot.namespaces[was.name]
    if isinstance(netns.fdb, Known):
        own = tuple(
            replace(e, mac=mac) if (e.device, e.mac) == (bridge, old) and e.permanent else e
            for e in netns.fdb.value
        )
        netns = replace(netns, fdb=Known(own))
    if isinstance(netns.neighbours, Known):  # net/core/neighbour.c, neigh_changeaddr: all of the device go
        netns = replace(
            netns, neighbours=Known(tuple(n for n in netns.neighbours.value if n.device != bridge))
        )
    return snapshot.with_netns(netns)


def _update(snapshot: Snapshot, netns: str, device: str, how: Callable[[Link], Link]) -> Snapshot:
    section: Any = snapshot.section(SectionKey(netns, "links"))
    links = tuple(how(link) if link.name == device else link for link in section.value)
    return snapshot.with_section(SectionKey(netns, "links"), Known(links))


def _set_mtu(snapshot: Snapshot, netns: Netns, link: Link, value: str) -> Snapshot:
    """
    Set an MTU; stacked devices above never exceed it, and a bridge takes its ports' least.

    net/8021q/vlan.c and drivers/net/macvlan.c on NETDEV_CHANGEMTU; net/bridge/br_if.c,
    br_mtu_auto_adjust, which leaves alone a bridge whose MTU somebody set: taken to be so
    when it is not its ports' least now.
    """
    if not value.isdecimal() or not 68 <= int(value) <= 65536:
        raise ValueError(f"{value} is no MTU for IPv4: below 68 the kernel takes the device's addresses away")
    mtu = int(value)
    links: tuple[Link, ...] = netns.links.value  # type: ignore[union-attr]
    snapshot = _update(snapshot, netns.name, link.name, lambda old: replace(old, mtu=mtu))
    for above in links:
        if above.lower == link.name and above.kind in _STACKED and above.mtu > mtu:
            snapshot = _set_mtu(snapshot, snapshot.namespaces[netns.name], above, value)
    bridge = next((one for one in links if one.name == link.master and one.kind == "bridge"), None)
    if bridge is not None:
        before = [port.mtu for port in links if port.master == bridge.name]
        after = [mtu if port.name == link.name else port.mtu for port in links if port.master == bridge.name]
        if bridge.mtu == min(before) != min(after):
            return _set_mtu(snapshot, snapshot.namespaces[netns.name], bridge, str(min(after)))
    return snapshot


def _need(netns: Netns, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(netns, name), Known):
            raise ValueError(f"{netns.name}/{name} was not read, and it changes with the device")


def _take_down(snapshot: Snapshot, netns: Netns, link: Link) -> Snapshot:
    """
    Take a device down: its routes, neighbours and IPv6 addresses go, its local routes stay.

    net/ipv4/fib_semantics.c, fib_sync_down_dev (next hops of scope nowhere, that is local
    routes, are spared); net/core/neighbour.c, neigh_ifdown; net/ipv6/addrconf.c,
    addrconf_ifdown; net/bridge/br_stp_if.c, br_stp_disable_port.
    """
    _need(netns, "routes", "addresses")

    def down(old: Link) -> Link:
        return replace(old, up=False, carrier=False, port=old.port and replace(old.port, state=0))

    snapshot = _ports(_update(snapshot, netns.name, link.name, down), netns.name, link, up=False)
    addresses: tuple[Address, ...] = netns.addresses.value  # type: ignore[union-attr]
    routes: tuple[Route, ...] = netns.routes.value  # type: ignore[union-attr]
    kept = tuple(
        route for route in (without_device(route, link.name) for route in routes) if route is not None
    )
    changed: dict[str, Any] = {
        "routes": Known(kept),
        "addresses": Known(tuple(a for a in addresses if a.device != link.name or family_of(a.address) == 4)),
    }
    if isinstance(netns.neighbours, Known):
        changed["neighbours"] = Known(tuple(n for n in netns.neighbours.value if n.device != link.name))
    if isinstance(netns.fdb, Known):
        learned = [e for e in netns.fdb.value if e.device == link.name and not e.permanent and not e.static]
        changed["fdb"] = Known(tuple(e for e in netns.fdb.value if e not in learned))
    snapshot = snapshot.with_netns(replace(snapshot.namespaces[netns.name], **changed))
    return _carrier_around(snapshot, netns.name, link)


def _ports(snapshot: Snapshot, netns: str, bridge: Link, *, up: bool) -> Snapshot:
    """Disable or enable the ports of a bridge that goes down or up (net/bridge/br_stp_if.c)."""
    if bridge.kind != "bridge":
        return snapshot
    for port in snapshot.namespaces[netns].links.value:  # type: ignore[union-attr]
        if port.master == bridge.name and port.port is not None:
            attrs = replace(port.port, state=3 if up and port.up and port.carrier else 0)
            snapshot = _update(snapshot, netns, port.name, lambda old, attrs=attrs: replace(old, port=attrs))  # type: ignore[misc]
    return snapshot


def without_device(route: Route, device: str) -> Route | None:
    """Return *route* after *device* went down: None if no next hop is left."""
    if all(hop.device != device for hop in route.nexthops):
        return route
    if route.type == "local" and family_of(route.dst) == 4:
        return route
    hops = tuple(replace(hop, dead=True) if hop.device == device else hop for hop in route.nexthops)
    return None if all(hop.dead for hop in hops) else replace(route, nexthops=hops)


def _bring_up(snapshot: Snapshot, netns: Netns, link: Link) -> Snapshot:
    """
    Bring a device up: the kernel's own routes for its IPv4 addresses appear.

    net/ipv4/fib_frontend.c, fib_netdev_event, fib_add_ifaddr; fib_sync_up for multipath.
    An address that was given with ``noprefixroute`` is not told apart from others.
    """
    _need(netns, "routes", "addresses")
    carrier = _has_carrier(snapshot, netns, link)

    def up(old: Link) -> Link:
        port = old.port and replace(old.port, state=3 if carrier else 0)
        return replace(old, up=True, carrier=carrier, port=port)

    snapshot = _ports(_update(snapshot, netns.name, link.name, up), netns.name, link, up=True)
    routes: tuple[Route, ...] = netns.routes.value  # type: ignore[union-attr]
    dead = not carrier and ignores_linkdown(netns, link.name)
    back = tuple(marked(route, link.name, dead=dead) for route in routes)
    own = [marked(r, link.name, dead=dead) for r in kernel_routes(netns.addresses.value, link)]  # type: ignore[union-attr]
    new = tuple(route for route in own if route not in back)
    changed = replace(snapshot.namespaces[netns.name], routes=Known((*back, *new)))
    return _carrier_around(snapshot.with_netns(changed), netns.name, link)


def kernel_routes(addresses: Iterable[Address], link: Link) -> list[Route]:
    """
    Return the IPv4 routes that the kernel keeps for a device's addresses while it is up.

    net/ipv4/fib_frontend.c, fib_add_ifaddr; the local route of each address, which stays
    when the device is down, is not among them.
    """
    found: list[Route] = []
    hop = (NextHop(device=link.name),)
    for address in addresses:
        if address.device != link.name or family_of(address.address) != 4 or address.secondary:
            continue
        prefix = network_of(address.peer or address.address, address.prefixlen)
        if address.prefixlen == 32 and address.peer in (None, address.address):
            continue
        kernel = Route(dst=prefix, nexthops=hop, prefsrc=address.address, scope="link", protocol="kernel")
        if link.kind == "loopback":
            kernel = replace(kernel, type="local", table=TABLE_LOCAL, scope="host")
        found.append(kernel)
        if address.prefixlen < 31:
            last = _last_address(prefix)
            found.append(replace(kernel, dst=f"{last}/32", type="broadcast", table=TABLE_LOCAL, scope="link"))
    return found


def _last_address(prefix: str) -> str:
    network, _, length = prefix.partition("/")
    octets = [int(octet) for octet in network.split(".")]
    value = int.from_bytes(bytes(octets)) | (1 << 32 - int(length)) - 1
    return ".".join(str(octet) for octet in value.to_bytes(4))


def marked(route: Route, device: str, *, dead: bool) -> Route:
    """Return *route* with its next hops over *device* dead or alive; local routes have no such mark."""
    if route.type == "local" or all(hop.device != device for hop in route.nexthops):
        return route
    hops = tuple(replace(hop, dead=dead) if hop.device == device else hop for hop in route.nexthops)
    return replace(route, nexthops=hops)


# --- carriers --------------------------------------------------------------------------


def _has_carrier(snapshot: Snapshot, netns: Netns, link: Link) -> bool:
    """Has *link* a carrier once it is up?"""
    links: tuple[Link, ...] = netns.links.value  # type: ignore[union-attr]
    if link.kind == "veth" and link.peer is not None:
        other = _peer_of(snapshot, link)
        return other[1].up if other is not None else True
    if link.kind == "bridge":
        ports = [port for port in links if port.master == link.name]
        if not link.up:  # its ports are enabled with it
            return any(port.up and port.carrier for port in ports) if ports else True
        return any(_forwards(port) for port in ports) if ports else True
    if link.lower is not None and link.kind in _STACKED:
        return any(below.name == link.lower and below.up and below.carrier for below in links)
    return True


def _forwards(port: Link) -> bool:
    """Is a bridge port up, with a carrier, and forwarding?"""
    return port.up and port.carrier and (port.port is None or port.port.state == _FORWARDING)


def _peer_of(snapshot: Snapshot, link: Link) -> tuple[Netns, Link] | None:
    """Return the far end of a veth, if it is in the snapshot."""
    if link.peer is None or link.peer.netns is None:
        return None
    netns = snapshot.namespaces.get(link.peer.netns)
    if netns is None or not isinstance(netns.links, Known):
        return None
    return next(((netns, other) for other in netns.links.value if other.index == link.peer.ifindex), None)


def _carrier_around(snapshot: Snapshot, netns: str, link: Link) -> Snapshot:
    """
    Pass on what *link*'s new state means: to its veth peer, its bridge, devices stacked on it.

    drivers/net/veth.c, veth_open and veth_close; net/bridge/br_if.c, br_port_carrier_check;
    netif_stacked_transfer_operstate.
    """
    other = _peer_of(snapshot, link)
    if other is not None and other[1].up:
        snapshot = _recheck(snapshot, other[0].name, other[1].name)
    links: tuple[Link, ...] = snapshot.namespaces[netns].links.value  # type: ignore[union-attr]
    for near in links:
        if ((near.name == link.master and near.kind == "bridge") or near.lower == link.name) and near.up:
            snapshot = _recheck(snapshot, netns, near.name)
    return snapshot


def _recheck(snapshot: Snapshot, netns: str, device: str) -> Snapshot:
    """Give a device that is up the carrier it now has; go on with its neighbours if that changed."""
    holder = snapshot.namespaces[netns]
    link = next(one for one in holder.links.value if one.name == device)  # type: ignore[union-attr]
    carrier = _has_carrier(snapshot, holder, link)
    if carrier == link.carrier:
        return snapshot

    def with_carrier(old: Link) -> Link:
        return replace(old, carrier=carrier, port=old.port and replace(old.port, state=3 if carrier else 0))

    snapshot = _update(snapshot, netns, device, with_carrier)
    holder = snapshot.namespaces[netns]
    if isinstance(holder.routes, Known):
        dead = not carrier and ignores_linkdown(holder, device)
        routes = tuple(marked(route, device, dead=dead) for route in holder.routes.value)
        snapshot = snapshot.with_netns(replace(holder, routes=Known(routes)))
    return _carrier_around(snapshot, netns, link)
