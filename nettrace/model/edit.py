"""
Changes applied to the model: the snapshot as it would be.

Lives here: ``edit`` and the changes that touch one section of one namespace: sysctls,
routes, neighbours, forwarding database, conntrack.  Rule sets are in edit_xt, devices in
edit_links.
Not here: the inverse (nettrace.model.undo), the kernel (nettrace.apply).
"""

import re
from typing import Any

from msgspec.structs import replace

from nettrace.model.addr import family_of
from nettrace.model.change import (
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    FdbAdd,
    FdbDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    PolicySet,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit_links import edit_link
from nettrace.model.edit_xt import edit_xt
from nettrace.model.links import Address, FdbEntry, Link, Neighbour
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["edit", "is_multicast_mac", "route_key", "same_route", "sysctl_effects"]

_CONF = re.compile(r"net\.(ipv[46])\.conf\.([^.]+)\.([a-z0-9_]+)\Z")


def edit(snapshot: Snapshot, change: Change) -> Snapshot:
    """
    Return *snapshot* as it would be after *change*, with what the kernel does along the way.

    ValueError says which part of the state the change names is not there, differs from
    what the change expects, or was not read.  Sections that the change does not touch are
    the same objects as before.
    """
    match change:
        case SysctlSet():
            return _sysctl(snapshot, change)
        case RuleInsert() | RuleDelete() | RuleReplace() | ChainSet() | ChainDelete() | PolicySet():
            return edit_xt(snapshot, change)
        case RouteAdd():
            return _route_add(snapshot, change)
        case RouteDelete():
            return _route_delete(snapshot, change)
        case LinkSet():
            return edit_link(snapshot, change)
        case FdbAdd():
            return _fdb_add(snapshot, change)
        case FdbDelete():
            return _fdb_delete(snapshot, change)
        case NeighbourAdd():
            return _neighbour_add(snapshot, change)
        case NeighbourDelete():
            return _neighbour_delete(snapshot, change)
        case ConntrackDelete():
            return _conntrack_delete(snapshot, change)


def _known(snapshot: Snapshot, netns: str, name: str) -> Any:
    """Return the value of a section; ValueError if it has none."""
    section = snapshot.section(SectionKey(netns, name))
    if not isinstance(section, Known):
        raise ValueError(f"{netns}/{name} is {section.kind}{f': {section.reason}' if section.reason else ''}")
    return section.value


def _put(snapshot: Snapshot, netns: str, name: str, value: Any) -> Snapshot:
    return snapshot.with_section(SectionKey(netns, name), Known(value))


# --- sysctls ---------------------------------------------------------------------------


def sysctl_effects(
    values: dict[str, str], name: str, value: str, addresses: tuple[Address, ...] | None = None
) -> dict[str, str]:
    """
    Return every known sysctl that writing *value* to *name* gives a new value, with *name* itself.

    * ``net.ipv4.ip_forward`` is another name of ``conf.all.forwarding``; a write that changes
      it sets ``forwarding`` of ``default`` and of every device, and ``conf.all.accept_redirects``
      to the opposite (net/ipv4/devinet.c, devinet_sysctl_forward, inet_forward_change).
    * ``net.ipv6.conf.all.forwarding`` sets default and devices too
      (net/ipv6/addrconf.c, addrconf_fixup_forwarding).
    * Other ``net.ipv4.conf.default`` values are copied to devices that were never given one
      of their own: no write, no IPv4 address yet (devinet_copy_dflt_conf, ipv4_devconf_setall).
      Taken to be those without an address (of *addresses*) that still have the default.
    * A bridge-nf switch becomes 1 for anything but 0 (net/bridge/br_netfilter_hooks.c,
      brnf_sysctl_call_tables).
    """
    value = " ".join(value.split())
    if name.startswith("net.bridge.bridge-nf-") and value != "0":
        value = "1"
    found = {name: value}
    if name in ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"):
        if values.get(name) != value:
            found |= {
                "net.ipv4.ip_forward": value,
                "net.ipv4.conf.all.accept_redirects": str(int(value == "0")),
            }
            found |= {key: value for key in values if _is_forwarding(key, "ipv4")}
    elif name == "net.ipv6.conf.all.forwarding":
        found |= {key: value for key in values if _is_forwarding(key, "ipv6")}
    elif (
        (parts := _CONF.match(name))
        and parts[1] == "ipv4"
        and parts[2] == "default"
        and parts[3] != "forwarding"
    ):
        addressed = {a.device for a in addresses or () if family_of(a.address) == 4}
        for key, old in values.items():
            other = _CONF.match(key)
            if other and other[1] == "ipv4" and other[3] == parts[3] and old == values.get(name):
                device = other[2].replace("/", ".")
                if device not in ("all", "default") and device not in addressed:
                    found[key] = value
    return {key: new for key, new in found.items() if key in values}


def _is_forwarding(name: str, family: str) -> bool:
    parts = _CONF.match(name)
    return parts is not None and parts[1] == family and parts[3] == "forwarding"


def _sysctl(snapshot: Snapshot, change: SysctlSet) -> Snapshot:
    values = _known(snapshot, change.netns, "sysctls")
    if change.name not in values:
        raise ValueError(f"{change.netns}/sysctls has no {change.name}")
    addresses = snapshot.namespaces[change.netns].addresses
    known = addresses.value if isinstance(addresses, Known) else None
    effects = sysctl_effects(values, change.name, change.value, known)
    return _put(snapshot, change.netns, "sysctls", {**values, **effects})


# --- routes ----------------------------------------------------------------------------


def route_key(route: Route) -> tuple[int, str, int, int]:
    """
    Return what two routes may not share: table, destination, TOS, metric.

    net/ipv4/fib_trie.c, fib_table_insert.  IPv6 has no metric 0: it becomes 1024
    (net/ipv6/route.c, IP6_RT_PRIO_USER).
    """
    metric = 1024 if route.metric == 0 and family_of(route.dst) == 6 else route.metric
    return route.table, route.dst, route.tos, metric


def same_route(one: Route, other: Route) -> bool:
    """Are they the same route, but for next hops that are dead or alive?"""

    def plain(route: Route) -> Route:
        hops = tuple(replace(hop, dead=False) for hop in route.nexthops)
        return replace(route, nexthops=hops, metric=route_key(route)[3])

    return plain(one) == plain(other)


def _route_text(route: Route) -> str:
    ways = " ".join(
        " ".join(word for word in (hop.via and f"via {hop.via}", hop.device and f"dev {hop.device}") if word)
        for hop in route.nexthops
    )
    return f"{route.dst} {ways}".strip() + f" (table {route.table}, metric {route.metric})"


def _route_add(snapshot: Snapshot, change: RouteAdd) -> Snapshot:
    routes: tuple[Route, ...] = _known(snapshot, change.netns, "routes")
    _check_next_hops(snapshot, change.netns, change.route)
    new = replace(change.route, metric=route_key(change.route)[3])
    same = [index for index, route in enumerate(routes) if route_key(route) == route_key(new)]
    if change.replaces is None:
        if same:
            raise ValueError(f"{change.netns} already has a route {_route_text(routes[same[0]])}")
        return _put(snapshot, change.netns, "routes", (*routes, new))
    if not same or not same_route(routes[same[0]], change.replaces):
        raise ValueError(f"{change.netns} has no route {_route_text(change.replaces)} to replace")
    return _put(snapshot, change.netns, "routes", (*routes[: same[0]], new, *routes[same[0] + 1 :]))


def _check_next_hops(snapshot: Snapshot, netns: str, route: Route) -> None:
    """ValueError unless each next hop's device exists and is up (net/ipv4/fib_semantics.c, fib_check_nh)."""
    links: dict[str, Link] = {link.name: link for link in _known(snapshot, netns, "links")}
    for hop in route.nexthops:
        if hop.device is None:
            continue
        if hop.device not in links:
            raise ValueError(f"{netns} has no device {hop.device}")
        if not links[hop.device].up:
            raise ValueError(f"{netns}: device {hop.device} is down")


def _route_delete(snapshot: Snapshot, change: RouteDelete) -> Snapshot:
    routes: tuple[Route, ...] = _known(snapshot, change.netns, "routes")
    for index, route in enumerate(routes):
        if same_route(route, change.route):
            return _put(snapshot, change.netns, "routes", (*routes[:index], *routes[index + 1 :]))
    raise ValueError(f"{change.netns} has no route {_route_text(change.route)}")


# --- neighbours, forwarding database, conntrack ----------------------------------------


def _need_device(snapshot: Snapshot, netns: str, device: str) -> Link:
    for link in _known(snapshot, netns, "links"):
        if link.name == device:
            return link  # type: ignore[no-any-return]
    raise ValueError(f"{netns} has no device {device}")


def is_multicast_mac(mac: str) -> bool:
    """Is the group bit of the MAC set (IEEE 802, include/linux/etherdevice.h)?"""
    return bool(int(mac.split(":", 1)[0], 16) & 1)


def _many_remotes(entry: FdbEntry) -> bool:
    """
    May this MAC lead to several far ends?

    Only all zeros and multicast (drivers/net/vxlan/vxlan_core.c, vxlan_fdb_update_existing).
    """
    return entry.dst is not None and (entry.mac == "00:00:00:00:00:00" or is_multicast_mac(entry.mac))


def _same_fdb_key(one: FdbEntry, other: FdbEntry) -> bool:
    key = (one.device, one.mac, one.master, one.vlan) == (other.device, other.mac, other.master, other.vlan)
    return key and (one.dst == other.dst or not _many_remotes(one))


def _fdb_add(snapshot: Snapshot, change: FdbAdd) -> Snapshot:
    entries: tuple[FdbEntry, ...] = _known(snapshot, change.netns, "fdb")
    entry = change.entry
    link = _need_device(snapshot, change.netns, entry.device)
    if entry.dst is not None and link.vxlan is None:
        raise ValueError(
            f"{change.netns}: {entry.device} is no vxlan device, so {entry.mac} cannot lead to {entry.dst}"
        )
    if entry.master is not None and link.master != entry.master:
        raise ValueError(f"{change.netns}: {entry.device} is no port of {entry.master}")
    for index, old in enumerate(entries):
        if _same_fdb_key(old, entry):
            return _put(snapshot, change.netns, "fdb", (*entries[:index], entry, *entries[index + 1 :]))
    return _put(snapshot, change.netns, "fdb", (*entries, entry))


def _fdb_delete(snapshot: Snapshot, change: FdbDelete) -> Snapshot:
    entries: tuple[FdbEntry, ...] = _known(snapshot, change.netns, "fdb")
    if change.entry not in entries:
        where = f" dst {change.entry.dst}" if change.entry.dst else ""
        raise ValueError(f"{change.netns}: {change.entry.device} has no entry {change.entry.mac}{where}")
    return _put(snapshot, change.netns, "fdb", tuple(e for e in entries if e != change.entry))


def _neighbour_add(snapshot: Snapshot, change: NeighbourAdd) -> Snapshot:
    entries: tuple[Neighbour, ...] = _known(snapshot, change.netns, "neighbours")
    entry = change.entry
    if not _need_device(snapshot, change.netns, entry.device).up:
        raise ValueError(f"{change.netns}: device {entry.device} is down")
    for index, old in enumerate(entries):
        if (old.device, old.address) == (entry.device, entry.address):
            return _put(
                snapshot, change.netns, "neighbours", (*entries[:index], entry, *entries[index + 1 :])
            )
    return _put(snapshot, change.netns, "neighbours", (*entries, entry))


def _neighbour_delete(snapshot: Snapshot, change: NeighbourDelete) -> Snapshot:
    entries: tuple[Neighbour, ...] = _known(snapshot, change.netns, "neighbours")
    if change.entry not in entries:
        raise ValueError(
            f"{change.netns}: {change.entry.device} has no neighbour {change.entry.address} "
            f"lladdr {change.entry.mac} {change.entry.state}"
        )
    return _put(snapshot, change.netns, "neighbours", tuple(e for e in entries if e != change.entry))


def _conntrack_delete(snapshot: Snapshot, change: ConntrackDelete) -> Snapshot:
    entries = _known(snapshot, change.netns, "conntrack")
    gone = change.entry

    def same(entry: Any) -> bool:
        return (entry.proto, entry.zone, entry.original, entry.reply) == (
            gone.proto,
            gone.zone,
            gone.original,
            gone.reply,
        )

    if not any(same(entry) for entry in entries):
        raise ValueError(
            f"{change.netns} has no {gone.proto} connection {gone.original.src} -> {gone.original.dst}"
        )
    return _put(snapshot, change.netns, "conntrack", tuple(e for e in entries if not same(e)))
