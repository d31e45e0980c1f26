"""
Owed against found: what an owner has to have put on a node and is not there.

Lives here: the comparison, and the Changes that would restore each difference.  Only sections
that were read are compared: a section that nobody read differs from nothing.
Not here: who owes what (nettrace.kube, plugins), whether a difference matters (search.py).
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from nettrace.diagnose.difference_ipset import set_differences
from nettrace.diagnose.difference_ipvs import virtual_differences
from nettrace.diagnose.difference_xt import OwedIndex, chain_differences, rule_difference
from nettrace.diagnose.restored import Restored
from nettrace.model.change import AddressAdd, FdbAdd, LinkSet, NeighbourAdd, RouteAdd, SysctlSet
from nettrace.model.links import FdbEntry, Link, Neighbour
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedIpset,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["Difference", "differences", "route_text"]

#: Attributes of LinkSet that are fields of Link itself; the others belong to its bridge port.
_OWN_ATTRIBUTES = ("up", "promisc")


class Difference(Struct, frozen=True, kw_only=True):
    """
    One owed thing that is not there.

    ``restored`` says what stands there instead, and the changes that would put it right;
    no changes where nettrace knows none.
    """

    owed: Owed
    restored: Restored

    @property
    def subject(self) -> str:
        """The object that it serves; that of the single rule where the owner says so."""
        note = self.restored.note
        return note.subject if note is not None else self.owed.subject

    @property
    def about(self) -> str:
        """The thing in words."""
        note = self.restored.note
        return (note.about if note is not None else "") or self.owed.about

    @property
    def source(self) -> str:
        """Which object says that it is owed."""
        note = self.restored.note
        return note.source if note is not None else self.owed.source


def differences(
    snapshot: Snapshot,
    owed: Sequence[Owed],
    *,
    where: Collection[str] | None = None,
    subjects: Collection[str] | None = None,
) -> tuple[Difference, ...]:
    """
    Compare *owed* with what the snapshot holds, in the order given.

    *where* narrows it to namespaces, *subjects* to Services (``svc/NAMESPACE/NAME``), of which there may
    be thousands; what serves no particular Service is always compared.
    """
    wanted = [item for item in owed if where is None or item.netns in where]
    index = OwedIndex(snapshot, wanted)
    found: list[Difference] = []
    for item in wanted:
        if subjects is not None and item.subject.startswith("svc/") and item.subject not in subjects:
            continue
        for restored in _compare(index, item, subjects):
            found.append(Difference(owed=item, restored=restored))
    return tuple(found)


def _compare(index: OwedIndex, item: Owed, subjects: Collection[str] | None) -> list[Restored]:
    snapshot = index.snapshot
    match item:
        case OwedChain():
            return chain_differences(index, item, subjects)
        case OwedJump() | OwedRule():
            return _listed(rule_difference(index, item))
        case OwedRoute():
            return _listed(_route(snapshot, item))
        case OwedNeighbour():
            return _listed(_neighbour(snapshot, item))
        case OwedFdb():
            return _listed(_fdb(snapshot, item))
        case OwedSysctl():
            return _listed(_sysctl(snapshot, item))
        case OwedLink():
            return _listed(_link(snapshot, item))
        case OwedAddress():
            return _listed(_address(snapshot, item))
        case OwedVirtualServer():
            return virtual_differences(snapshot, item)
        case OwedIpset():
            return set_differences(snapshot, item, subjects)


def _listed(restored: Restored | None) -> list[Restored]:
    return [] if restored is None else [restored]


# --- routes ----------------------------------------------------------------------------


def route_text(route: Route) -> str:
    """Write a route as ``ip route`` does, its protocol, scope and metric left out."""
    words = [route.dst if route.type == "unicast" else f"{route.type} {route.dst}"]
    for hop in route.nexthops:
        if len(route.nexthops) > 1:
            words.append("nexthop")
        words += [f"via {hop.via}"] if hop.via else []
        words += [f"dev {hop.device}"] if hop.device else []
        words += ["onlink"] if hop.onlink else []
    return " ".join(words)


def _ways(route: Route) -> tuple[object, ...]:
    """What of a route decides where a packet goes; ``onlink`` only decides what may be written."""
    return route.type, route.tos, tuple((hop.device, hop.via) for hop in route.nexthops)


def _route(snapshot: Snapshot, item: OwedRoute) -> Restored | None:
    routes = snapshot.section(SectionKey(item.netns, "routes"))
    if not isinstance(routes, Known):
        return None
    same = [r for r in routes.value if (r.dst, r.table) == (item.route.dst, item.route.table)]
    if any(_ways(route) == _ways(item.route) for route in same):
        return None
    ref = f"{item.netns}/routes/{item.route.table}/{item.route.dst}"
    if not same:
        return Restored(
            ref=ref,
            found=f"no route to {item.route.dst}",
            owed=route_text(item.route),
            changes=(RouteAdd(netns=item.netns, route=item.route),),
            absent=True,
        )
    key = (item.route.metric, item.route.tos)
    old = next((r for r in same if (r.metric, r.tos) == key), None)
    return Restored(
        ref=ref,
        found=route_text(same[0]),
        owed=route_text(item.route),
        changes=(RouteAdd(netns=item.netns, route=item.route, replaces=old),),
    )


# --- neighbours, forwarding database ---------------------------------------------------


def _neighbour(snapshot: Snapshot, item: OwedNeighbour) -> Restored | None:
    neighbours = snapshot.section(SectionKey(item.netns, "neighbours"))
    if not isinstance(neighbours, Known):
        return None
    entry = item.entry
    old: Neighbour | None = next(
        (n for n in neighbours.value if (n.device, n.address) == (entry.device, entry.address)), None
    )
    if old is not None and old.mac == entry.mac and old.state not in ("failed", "incomplete"):
        return None
    said = f"{entry.address} dev {entry.device}"
    return Restored(
        ref=f"{item.netns}/neighbours/{entry.device}/{entry.address}",
        found=f"{said} lladdr {old.mac} {old.state}" if old else f"no neighbour {said}",
        owed=f"{said} lladdr {entry.mac} {entry.state}",
        changes=(NeighbourAdd(netns=item.netns, entry=entry),),
        absent=old is None,
    )


def _fdb(snapshot: Snapshot, item: OwedFdb) -> Restored | None:
    fdb = snapshot.section(SectionKey(item.netns, "fdb"))
    if not isinstance(fdb, Known):
        return None
    entry = item.entry
    same: list[FdbEntry] = [e for e in fdb.value if (e.device, e.mac) == (entry.device, entry.mac)]
    if any(e.dst == entry.dst for e in same):
        return None
    said = f"{entry.mac} dev {entry.device}"
    return Restored(
        ref=f"{item.netns}/fdb/{entry.device}/{entry.mac}",
        found=f"{said} dst {same[0].dst}" if same else f"no entry {said}",
        owed=f"{said} dst {entry.dst}",
        changes=(FdbAdd(netns=item.netns, entry=entry),),
        absent=not same,
    )


# --- sysctls, devices ------------------------------------------------------------------


def _sysctl(snapshot: Snapshot, item: OwedSysctl) -> Restored | None:
    sysctls = snapshot.section(SectionKey(item.netns, "sysctls"))
    if not isinstance(sysctls, Known):
        return None
    value = sysctls.value.get(item.name)
    if value in item.values:
        return None
    there = value is not None
    return Restored(
        ref=f"{item.netns}/sysctls/{item.name}",
        found=f"{item.name} = {value}" if there else f"this kernel has no {item.name} here",
        owed=f"{item.name} = {' or '.join(item.values)}",
        changes=(SysctlSet(netns=item.netns, name=item.name, value=item.values[0]),) if there else (),
    )


def _address(snapshot: Snapshot, item: OwedAddress) -> Restored | None:
    addresses = snapshot.section(SectionKey(item.netns, "addresses"))
    if not isinstance(addresses, Known):
        return None
    wanted = item.address
    if any((one.device, one.address) == (wanted.device, wanted.address) for one in addresses.value):
        return None
    said = f"{wanted.address}/{wanted.prefixlen}"
    return Restored(
        ref=f"{item.netns}/addresses",
        found=f"{wanted.device} has no {said}",
        owed=f"{said} dev {wanted.device}",
        changes=(AddressAdd(netns=item.netns, address=wanted),),
        absent=True,
    )


def _link(snapshot: Snapshot, item: OwedLink) -> Restored | None:
    links = snapshot.section(SectionKey(item.netns, "links"))
    if not isinstance(links, Known):
        return None
    link: Link | None = next((one for one in links.value if one.name == item.device), None)
    ref = f"{item.netns}/links/{item.device}"
    owed = f"{item.device} {item.attribute} {item.value}"
    if link is None:
        return Restored(ref=ref, found=f"no device {item.device}", owed=owed, changes=())
    value = _attribute(link, item.attribute)
    if value == item.value:
        return None
    change = LinkSet(netns=item.netns, device=item.device, attribute=item.attribute, value=item.value)
    return Restored(
        ref=ref,
        found=f"{item.device} {item.attribute} {value}" if value else f"{item.device} is no bridge port",
        owed=owed,
        changes=(change,) if value else (),
    )


def _attribute(link: Link, attribute: str) -> str:
    """Return the value as LinkSet writes it, "" where the device has no such attribute."""
    if attribute == "mtu":
        return str(link.mtu)
    if attribute == "address":
        return link.mac
    holder = link if attribute in _OWN_ATTRIBUTES else link.port
    value = getattr(holder, attribute, None)
    return "" if value is None else "on" if value else "off"
