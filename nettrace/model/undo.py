"""
How a change is taken back, decided from the state before it.

Lives here: ``undo_of``.  What it returns is tried on the model first: ``Exact`` means that the
state afterwards is the same in canonical form (nettrace.model.canonical).
Not here: the kernel (nettrace.apply), the journal.
"""

from typing import Any

from nettrace.model.addr import family_of
from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    Exact,
    FdbAdd,
    FdbDelete,
    IpsetCreate,
    IpsetDestroy,
    IpsetEntryAdd,
    IpsetEntryDelete,
    IpvsDestAdd,
    IpvsDestDelete,
    IpvsDestSet,
    IpvsServiceAdd,
    IpvsServiceDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    NoUndo,
    PolicySet,
    Rebuilds,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
    Undo,
)
from nettrace.model.edit import edit
from nettrace.model.edit_ipvs import server_at
from nettrace.model.edit_links import PORT_ATTRIBUTES
from nettrace.model.edit_tables import known_section, route_key, same_fdb_key, same_route
from nettrace.model.edit_xt import XtChange, chain_before
from nettrace.model.links import Link, Neighbour
from nettrace.model.recent import RecentList
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["undo_of"]


def undo_of(snapshot: Snapshot, change: Change) -> Undo:
    """
    Return how *change* is taken back on *snapshot*, the state before it.

    ``Exact``: these changes, in this order, restore the state.  ``Rebuilds``: all but what
    it says.  ``NoUndo``: nothing does, and why that may be well.  ValueError as ``edit``.
    """
    after = edit(snapshot, change)
    if isinstance(change, ConntrackDelete):
        return NoUndo("the connection's next packet makes a new entry, by the rules of then")
    if isinstance(change, RecentAdd | RecentDelete):
        return _recent(snapshot, change)
    if not snapshot_difference(after, snapshot):
        return _nothing_to_undo(change)
    match change:
        case SysctlSet():
            return _sysctl(snapshot, after, change)
        case RuleInsert() | RuleDelete() | RuleReplace() | ChainSet() | ChainDelete() | PolicySet():
            return _xt(snapshot, change)
        case RouteAdd():
            return _route_add(snapshot, after, change)
        case RouteDelete():
            return _route_delete(snapshot, after, change)
        case LinkSet():
            return _link(snapshot, after, change)
        case AddressAdd() | AddressDelete():
            return _address(snapshot, after, change)
        case FdbAdd() | FdbDelete():
            return _fdb(snapshot, after, change)
        case NeighbourAdd() | NeighbourDelete():
            return _neighbour(snapshot, after, change)
        case IpvsServiceAdd() | IpvsServiceDelete() | IpvsDestAdd() | IpvsDestDelete() | IpvsDestSet():
            return _ipvs(snapshot, after, change)
        case IpsetCreate() | IpsetDestroy() | IpsetEntryAdd() | IpsetEntryDelete():
            return _tried(snapshot, after, (_set_back(change),))


def _recent(snapshot: Snapshot, change: RecentAdd | RecentDelete) -> Undo:
    """Return the undo of an edit of a list of -m recent, whose times no one can set back."""
    place = {"netns": change.netns, "name": change.name, "address": change.address}
    if isinstance(change, RecentDelete):
        return Rebuilds((RecentAdd(**place),), f"{change.address} counts as seen anew, now")
    lists: tuple[RecentList, ...] = known_section(snapshot, change.netns, "recent")
    held = next((one.entries for one in lists if one.name == change.name), ())
    if any(entry.address == change.address for entry in held):
        return NoUndo(f"{change.address} was in the list before, and only counts as seen once more")
    return Exact((RecentDelete(**place),))


def _nothing_to_undo(change: Change) -> Undo:
    """Return the undo of a change that leaves the canonical state as it is."""
    match change:
        case NeighbourDelete():
            return NoUndo("the kernel resolves the address again with the next packet to it")
        case FdbDelete():
            return NoUndo("the entry is learned again from the next frame of that address")
        case _:
            return Exact(())


def _tried(before: Snapshot, after: Snapshot, changes: tuple[Change, ...]) -> Undo:
    """
    Try *changes* on the model: Exact if they lead from *after* to *before*.

    Otherwise Rebuilds with what differs, without the changes that would be refused; NoUndo if
    all would be.
    """
    kept: list[Change] = []
    refused: list[str] = []
    for change in changes:
        try:
            after = edit(after, change)
        except ValueError as error:
            refused.append(str(error))
        else:
            kept.append(change)
    if not kept:
        return NoUndo(f"the kernel would not take it back: {'; '.join(refused)}")
    differs = snapshot_difference(after, before)
    return Rebuilds(tuple(kept), "; ".join(differs)) if differs else Exact(tuple(kept))


# --- sysctls ---------------------------------------------------------------------------


def _sysctl(before: Snapshot, after: Snapshot, change: SysctlSet) -> Undo:
    old: dict[str, str] = known_section(before, change.netns, "sysctls")
    changes: tuple[Change, ...] = (SysctlSet(netns=change.netns, name=change.name, value=old[change.name]),)
    now = edit(after, changes[0])
    values: dict[str, str] = known_section(now, change.netns, "sysctls")
    for name in sorted(values):
        # Some may be right already by a write just made: ip_forward and conf.all.forwarding are one.
        if values[name] != old[name]:
            restore = SysctlSet(netns=change.netns, name=name, value=old[name])
            changes = (*changes, restore)
            now = edit(now, restore)
            values = known_section(now, change.netns, "sysctls")
    unread = _unread_effects(before, change, old)
    if unread:
        return Rebuilds(changes, f"{', '.join(unread)}: set by this, and not read before")
    return _tried(before, after, changes)


def _unread_effects(before: Snapshot, change: SysctlSet, old: dict[str, str]) -> list[str]:
    """Return the sysctls that a write to a forwarding switch sets and whose old values are not known."""
    switches = {
        "net.ipv4.ip_forward": "ipv4",
        "net.ipv4.conf.all.forwarding": "ipv4",
        "net.ipv6.conf.all.forwarding": "ipv6",
    }
    if change.name not in switches:
        return []
    family = switches[change.name]
    links = before.namespaces[change.netns].links
    devices = [link.name.replace(".", "/") for link in links.value] if isinstance(links, Known) else []
    names = [f"net.{family}.conf.{device}.forwarding" for device in ("default", *devices)]
    if family == "ipv4":
        names.append("net.ipv4.conf.all.accept_redirects")
    return [name for name in names if name not in old]


# --- iptables --------------------------------------------------------------------------


def _xt(before: Snapshot, change: XtChange) -> Undo:
    chain = chain_before(before, change)
    place: dict[str, Any] = {
        "netns": change.netns,
        "backend": change.backend,
        "table": change.table,
        "chain": change.chain,
    }
    inverse: Change
    match change:
        case RuleInsert():
            inverse = RuleDelete(**place, position=change.position, rule=change.rule)
        case RuleDelete():
            inverse = RuleInsert(**place, position=change.position, rule=change.rule)
        case RuleReplace():
            inverse = RuleReplace(**place, position=change.position, old=change.rule, rule=change.old)
        case PolicySet():
            old = chain.policy if chain is not None and chain.policy is not None else "ACCEPT"
            inverse = PolicySet(**place, policy=old)
        case ChainSet():
            inverse = ChainSet(**place, rules=chain.rules) if chain is not None else ChainDelete(**place)
        case ChainDelete():
            inverse = ChainSet(**place, rules=chain.rules if chain is not None else ())
    table = before.section(SectionKey(change.netns, f"xt/{change.backend}/{change.table}"))
    if table == Known(None):
        return Rebuilds((inverse,), f"the empty table {change.table} stays, which iptables cannot delete")
    return Exact((inverse,))


# --- routes ----------------------------------------------------------------------------


def _route_add(before: Snapshot, after: Snapshot, change: RouteAdd) -> Undo:
    added = next(
        route for route in known_section(after, change.netns, "routes") if same_route(route, change.route)
    )
    if change.replaces is None:
        return _tried(before, after, (RouteDelete(netns=change.netns, route=added),))
    return _tried(before, after, (RouteAdd(netns=change.netns, route=change.replaces, replaces=added),))


def _route_delete(before: Snapshot, after: Snapshot, change: RouteDelete) -> Undo:
    routes: tuple[Route, ...] = known_section(after, change.netns, "routes")
    if any(route_key(route) == route_key(change.route) for route in routes):
        return NoUndo(
            "other routes share its destination, TOS and metric, and their order cannot be restored"
        )
    return _tried(before, after, (RouteAdd(netns=change.netns, route=change.route),))


# --- devices ---------------------------------------------------------------------------


def _link(before: Snapshot, after: Snapshot, change: LinkSet) -> Undo:
    """
    Set the attribute back, then what went with it and does not come back by itself.

    Routes on the link come before those through gateways, which must be reachable when
    they are added.
    """
    netns = change.netns
    links: dict[str, Link] = {link.name: link for link in known_section(before, netns, "links")}
    was = _value_of(links[change.device], change.attribute)
    changes: list[Change] = [
        LinkSet(netns=netns, device=change.device, attribute=change.attribute, value=was)
    ]
    now = edit(after, changes[0])
    if change.attribute == "mtu":
        for link in known_section(now, netns, "links"):
            if link.mtu != links[link.name].mtu:
                mtu = str(links[link.name].mtu)
                changes.append(LinkSet(netns=netns, device=link.name, attribute="mtu", value=mtu))
    if change.attribute == "master":
        changes += _port_back(links[change.device], now, netns)
        changes += _neighbours_back(before, now, netns)
    if change.attribute == "address":
        changes += _neighbours_back(before, now, netns)
    if change.attribute == "up":
        changes += _routes_back(before, now, netns)
        changes += _neighbours_back(before, now, netns)
    undo = _tried(before, after, tuple(changes))
    unread = [
        name
        for name in ("neighbours", "fdb")
        if not isinstance(getattr(before.namespaces[netns], name), Known)
    ]
    if change.attribute == "up" and change.value == "off" and unread and isinstance(undo, Exact):
        return Rebuilds(undo.changes, f"permanent entries of {' and '.join(unread)}, which were not read")
    return undo


def _value_of(link: Link, attribute: str) -> str:
    """Return an attribute of a device as LinkSet writes it."""
    if attribute == "mtu":
        return str(link.mtu)
    if attribute == "master":
        return link.master or ""
    if attribute == "address":
        return link.mac
    if attribute == "state":
        return str(link.port.state) if link.port is not None else "0"
    on: bool = getattr(link.port if attribute in PORT_ATTRIBUTES else link, attribute)
    return "on" if on else "off"


def _port_back(was: Link, now: Snapshot, netns: str) -> list[Change]:
    """Return what gives a device that is put back into its bridge the port's attributes it had."""
    link = next(one for one in known_section(now, netns, "links") if one.name == was.name)
    if was.port is None or link.port is None:
        return []
    return [
        LinkSet(netns=netns, device=was.name, attribute=name, value=_value_of(was, name))
        for name in PORT_ATTRIBUTES
        if _value_of(was, name) != _value_of(link, name)
    ]


def _routes_back(before: Snapshot, now: Snapshot, netns: str) -> list[Change]:
    then: tuple[Route, ...] = known_section(before, netns, "routes")
    here: tuple[Route, ...] = known_section(now, netns, "routes")
    new = [route for route in here if not any(same_route(route, old) for old in then)]
    lost = [route for route in then if not any(same_route(route, other) for other in here)]
    # IPv6 keeps a device's own routes by itself, with the addresses that are lost too.
    lost = [route for route in lost if family_of(route.dst) == 4 or route.protocol != "kernel"]
    lost.sort(key=lambda route: any(hop.via for hop in route.nexthops))
    return [
        *(RouteDelete(netns=netns, route=route) for route in new),
        *(RouteAdd(netns=netns, route=route) for route in lost),
    ]


def _neighbours_back(before: Snapshot, now: Snapshot, netns: str) -> list[Change]:
    then, here = before.namespaces[netns].neighbours, now.namespaces[netns].neighbours
    if not isinstance(then, Known) or not isinstance(here, Known):
        return []
    lost: list[Neighbour] = [n for n in then.value if n.state == "permanent" and n not in here.value]
    return [NeighbourAdd(netns=netns, entry=entry) for entry in lost]


def _address(before: Snapshot, after: Snapshot, change: AddressAdd | AddressDelete) -> Undo:
    """Take the address away or put it back, then the routes that went with it and do not come back."""
    inverse: Change
    if isinstance(change, AddressAdd):
        inverse = AddressDelete(netns=change.netns, address=change.address)
    else:
        inverse = AddressAdd(netns=change.netns, address=change.address)
    now = edit(after, inverse)
    return _tried(before, after, (inverse, *_routes_back(before, now, change.netns)))


# --- forwarding entries and neighbours -------------------------------------------------


def _fdb(before: Snapshot, after: Snapshot, change: FdbAdd | FdbDelete) -> Undo:
    if isinstance(change, FdbDelete):
        return _tried(before, after, (FdbAdd(netns=change.netns, entry=change.entry),))
    entries = known_section(before, change.netns, "fdb")
    old = next((entry for entry in entries if same_fdb_key(entry, change.entry)), None)
    if old is not None and (old.permanent or old.static):
        return _tried(before, after, (FdbAdd(netns=change.netns, entry=old),))
    # One that was learned is learned again.
    return _tried(before, after, (FdbDelete(netns=change.netns, entry=change.entry),))


def _neighbour(before: Snapshot, after: Snapshot, change: NeighbourAdd | NeighbourDelete) -> Undo:
    if isinstance(change, NeighbourDelete):
        return _tried(before, after, (NeighbourAdd(netns=change.netns, entry=change.entry),))
    key = (change.entry.device, change.entry.address)
    entries = known_section(before, change.netns, "neighbours")
    old = next((entry for entry in entries if (entry.device, entry.address) == key), None)
    if old is not None and old.state == "permanent":
        return _tried(before, after, (NeighbourAdd(netns=change.netns, entry=old),))
    # One that was resolved is resolved again.
    return _tried(before, after, (NeighbourDelete(netns=change.netns, entry=change.entry),))


# --- IPVS ------------------------------------------------------------------------------


def _ipvs(
    before: Snapshot,
    after: Snapshot,
    change: IpvsServiceAdd | IpvsServiceDelete | IpvsDestAdd | IpvsDestDelete | IpvsDestSet,
) -> Undo:
    """Take it away, put it back, set it back; a real server that is put back stands in front."""
    netns, server = change.netns, change.server
    inverse: Change
    match change:
        case IpvsServiceAdd():
            inverse = IpvsServiceDelete(netns=netns, server=server)
        case IpvsServiceDelete():
            held = server_at(known_section(before, netns, "ipvs"), server)
            inverse = IpvsServiceAdd(netns=netns, server=held or server)
        case IpvsDestAdd():
            inverse = IpvsDestDelete(netns=netns, server=server, real=change.real)
        case IpvsDestDelete():
            inverse = IpvsDestAdd(netns=netns, server=server, real=change.real)
        case IpvsDestSet():
            inverse = IpvsDestSet(netns=netns, server=server, old=change.real, real=change.old)
    return _tried(before, after, (inverse,))


# --- ipsets ----------------------------------------------------------------------------


def _set_back(change: IpsetCreate | IpsetDestroy | IpsetEntryAdd | IpsetEntryDelete) -> Change:
    match change:
        case IpsetCreate():
            return IpsetDestroy(netns=change.netns, set=change.set, options=change.options)
        case IpsetDestroy():
            return IpsetCreate(netns=change.netns, set=change.set, options=change.options)
        case IpsetEntryAdd():
            return IpsetEntryDelete(netns=change.netns, name=change.name, entry=change.entry)
        case IpsetEntryDelete():
            return IpsetEntryAdd(netns=change.netns, name=change.name, entry=change.entry)
