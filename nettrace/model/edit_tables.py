"""
Routes, neighbours, forwarding entries, connections and lists of -m recent, changed in the model.

Lives here: what makes two entries the same, and what adding and deleting one does.
Not here: routes and neighbours that come and go with a device (edit_links).
"""

from typing import Any

from msgspec.structs import replace

from nettrace.model.addr import family_of
from nettrace.model.change import (
    ConntrackDelete,
    FdbAdd,
    FdbDelete,
    NeighbourAdd,
    NeighbourDelete,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
)
from nettrace.model.links import FdbEntry, Link, Neighbour
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns, Snapshot

__all__ = [
    "add_fdb",
    "add_neighbour",
    "add_recent",
    "add_route",
    "delete_connection",
    "delete_fdb",
    "delete_neighbour",
    "delete_recent",
    "delete_route",
    "ignores_linkdown",
    "known_section",
    "many_remotes",
    "put_section",
    "route_key",
    "same_fdb_key",
    "same_route",
]


def known_section(snapshot: Snapshot, netns: str, name: str) -> Any:
    """Return the value of a section; ValueError if it has none."""
    section = snapshot.section(SectionKey(netns, name))
    if not isinstance(section, Known):
        raise ValueError(f"{netns}/{name} is {section.kind}{f': {section.reason}' if section.reason else ''}")
    return section.value


def put_section(snapshot: Snapshot, netns: str, name: str, value: Any) -> Snapshot:
    """Return *snapshot* with a section known to be *value*."""
    return snapshot.with_section(SectionKey(netns, name), Known(value))


# --- routes ----------------------------------------------------------------------------


def route_key(route: Route) -> tuple[int, str, int, int]:
    """
    Return what two routes may not share: table, destination, TOS, metric.

    net/ipv4/fib_trie.c, fib_table_insert.  IPv6 has no metric 0: it becomes 1024
    (net/ipv6/route.c, IP6_RT_PRIO_USER).
    """
    metric = 1024 if route.metric == 0 and family_of(route.dst) == 6 else route.metric
    return route.table, route.dst, route.tos, metric


def ignores_linkdown(netns: Netns, device: str) -> bool:
    """
    Are routes over *device* dead while it has no carrier?

    include/linux/inetdevice.h, IN_DEV_IGNORE_ROUTES_WITH_LINKDOWN; off unless somebody set it,
    which is what is taken of sysctls that were not read.
    """
    if not isinstance(netns.sysctls, Known):
        return False
    names = (
        f"net.ipv4.conf.{name}.ignore_routes_with_linkdown" for name in ("all", device.replace(".", "/"))
    )
    return any(netns.sysctls.value.get(name, "0") != "0" for name in names)


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


def add_route(snapshot: Snapshot, change: RouteAdd) -> Snapshot:
    """Return *snapshot* with a route added, or put where the one it replaces is."""
    routes: tuple[Route, ...] = known_section(snapshot, change.netns, "routes")
    new = _as_kernel_takes(snapshot, change.netns, change.route)
    same = [index for index, route in enumerate(routes) if route_key(route) == route_key(new)]
    if change.replaces is None:
        if same:
            raise ValueError(f"{change.netns} already has a route {_route_text(routes[same[0]])}")
        return put_section(snapshot, change.netns, "routes", (*routes, new))
    if not same or not same_route(routes[same[0]], change.replaces):
        raise ValueError(f"{change.netns} has no route {_route_text(change.replaces)} to replace")
    return put_section(snapshot, change.netns, "routes", (*routes[: same[0]], new, *routes[same[0] + 1 :]))


def _as_kernel_takes(snapshot: Snapshot, netns: str, route: Route) -> Route:
    """
    Return *route* as it will stand in the table; ValueError if a device is not there or down.

    net/ipv4/fib_semantics.c, fib_check_nh.  A route whose encapsulation is known only to exist
    cannot be written again.
    """
    if "encap" in route.more:
        raise ValueError(f"{netns}: the encapsulation of {_route_text(route)} is not known")
    links: dict[str, Link] = {link.name: link for link in known_section(snapshot, netns, "links")}
    hops = []
    for hop in route.nexthops:
        if hop.device is not None:
            if hop.device not in links:
                raise ValueError(f"{netns} has no device {hop.device}")
            if not links[hop.device].up:
                raise ValueError(f"{netns}: device {hop.device} is down")
            lost = not links[hop.device].carrier and route.type != "local"
            hops.append(replace(hop, dead=lost and ignores_linkdown(snapshot.namespaces[netns], hop.device)))
        else:
            hops.append(hop)
    return replace(route, nexthops=tuple(hops), metric=route_key(route)[3])


def delete_route(snapshot: Snapshot, change: RouteDelete) -> Snapshot:
    """Return *snapshot* with one route less."""
    routes: tuple[Route, ...] = known_section(snapshot, change.netns, "routes")
    for index, route in enumerate(routes):
        if same_route(route, change.route):
            return put_section(snapshot, change.netns, "routes", (*routes[:index], *routes[index + 1 :]))
    raise ValueError(f"{change.netns} has no route {_route_text(change.route)}")


# --- neighbours, forwarding database, conntrack ----------------------------------------


def _need_device(snapshot: Snapshot, netns: str, device: str) -> Link:
    for link in known_section(snapshot, netns, "links"):
        if link.name == device:
            return link  # type: ignore[no-any-return]
    raise ValueError(f"{netns} has no device {device}")


def _is_multicast(mac: str) -> bool:
    """Is the group bit of the MAC set (IEEE 802, include/linux/etherdevice.h)?"""
    return bool(int(mac.split(":", 1)[0], 16) & 1)


def many_remotes(entry: FdbEntry) -> bool:
    """
    May this MAC lead to several far ends?

    Only all zeros and multicast (drivers/net/vxlan/vxlan_core.c, vxlan_fdb_update_existing).
    """
    return entry.dst is not None and (entry.mac == "00:00:00:00:00:00" or _is_multicast(entry.mac))


def same_fdb_key(one: FdbEntry, other: FdbEntry) -> bool:
    """Does the kernel keep only one of the two?"""
    key = (one.device, one.mac, one.master, one.vlan) == (other.device, other.mac, other.master, other.vlan)
    return key and (one.dst == other.dst or not many_remotes(one))


def add_fdb(snapshot: Snapshot, change: FdbAdd) -> Snapshot:
    """Return *snapshot* with a forwarding entry, in the place of the one of its key."""
    entries: tuple[FdbEntry, ...] = known_section(snapshot, change.netns, "fdb")
    entry = change.entry
    link = _need_device(snapshot, change.netns, entry.device)
    if entry.dst is not None and link.vxlan is None:
        raise ValueError(
            f"{change.netns}: {entry.device} is no vxlan device, so {entry.mac} cannot lead to {entry.dst}"
        )
    if entry.master is not None and link.master != entry.master:
        raise ValueError(f"{change.netns}: {entry.device} is no port of {entry.master}")
    for index, old in enumerate(entries):
        if same_fdb_key(old, entry):
            return put_section(
                snapshot, change.netns, "fdb", (*entries[:index], entry, *entries[index + 1 :])
            )
    return put_section(snapshot, change.netns, "fdb", (*entries, entry))


def delete_fdb(snapshot: Snapshot, change: FdbDelete) -> Snapshot:
    """Return *snapshot* with one forwarding entry less."""
    entries: tuple[FdbEntry, ...] = known_section(snapshot, change.netns, "fdb")
    if change.entry not in entries:
        where = f" dst {change.entry.dst}" if change.entry.dst else ""
        raise ValueError(f"{change.netns}: {change.entry.device} has no entry {change.entry.mac}{where}")
    return put_section(snapshot, change.netns, "fdb", tuple(e for e in entries if e != change.entry))


def add_neighbour(snapshot: Snapshot, change: NeighbourAdd) -> Snapshot:
    """Return *snapshot* with a neighbour, in the place of the one of its address."""
    entries: tuple[Neighbour, ...] = known_section(snapshot, change.netns, "neighbours")
    entry = change.entry
    if not _need_device(snapshot, change.netns, entry.device).up:
        raise ValueError(f"{change.netns}: device {entry.device} is down")
    others = tuple(e for e in entries if (e.device, e.address) != (entry.device, entry.address))
    return put_section(snapshot, change.netns, "neighbours", (*others, entry))


def delete_neighbour(snapshot: Snapshot, change: NeighbourDelete) -> Snapshot:
    """Return *snapshot* with one neighbour less."""
    entries: tuple[Neighbour, ...] = known_section(snapshot, change.netns, "neighbours")
    if change.entry not in entries:
        raise ValueError(
            f"{change.netns}: {change.entry.device} has no neighbour {change.entry.address} "
            f"lladdr {change.entry.mac} {change.entry.state}"
        )
    return put_section(snapshot, change.netns, "neighbours", tuple(e for e in entries if e != change.entry))


def delete_connection(snapshot: Snapshot, change: ConntrackDelete) -> Snapshot:
    """Return *snapshot* without one conntrack entry, whatever its state and timeout are now."""
    entries = known_section(snapshot, change.netns, "conntrack")
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
    return put_section(snapshot, change.netns, "conntrack", tuple(e for e in entries if not same(e)))


def add_recent(snapshot: Snapshot, change: RecentAdd) -> Snapshot:
    """Return *snapshot* with an address in a list, seen now (xt_recent.c, recent_mt_proc_write)."""
    held = _recent_list(snapshot, change)
    old = next((entry for entry in held.entries if entry.address == change.address), None)
    ages = (0.0, *(old.ages if old is not None else ()))
    others = tuple(entry for entry in held.entries if entry.address != change.address)
    entry = RecentEntry(address=change.address, ttl=old.ttl if old is not None else 0, ages=ages)
    return _put_recent(snapshot, change, (*others, entry))


def delete_recent(snapshot: Snapshot, change: RecentDelete) -> Snapshot:
    """Return *snapshot* with an address less in a list."""
    held = _recent_list(snapshot, change)
    left = tuple(entry for entry in held.entries if entry.address != change.address)
    if len(left) == len(held.entries):
        raise ValueError(f"{change.netns}: list {change.name} of -m recent has no {change.address}")
    return _put_recent(snapshot, change, left)


def _recent_list(snapshot: Snapshot, change: RecentAdd | RecentDelete) -> RecentList:
    """Return the list; a rule makes it, and nothing else."""
    lists: tuple[RecentList, ...] = known_section(snapshot, change.netns, "recent")
    found = next((one for one in lists if one.name == change.name), None)
    if found is None:
        raise ValueError(f"{change.netns} has no list {change.name} of -m recent")
    return found


def _put_recent(
    snapshot: Snapshot, change: RecentAdd | RecentDelete, entries: tuple[RecentEntry, ...]
) -> Snapshot:
    lists: tuple[RecentList, ...] = known_section(snapshot, change.netns, "recent")
    changed = tuple(replace(one, entries=entries) if one.name == change.name else one for one in lists)
    return put_section(snapshot, change.netns, "recent", changed)
