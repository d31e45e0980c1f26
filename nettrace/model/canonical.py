"""
What "the same state" means: the one definition, for digests, undo and tests.

Set aside: counters, handles, interface indexes, process ids, ages and timeouts; what comes
and goes by itself (learned forwarding entries, neighbours that are not permanent, conntrack,
ephemeral sockets, ``nf_conntrack_count``, the states of IPsec); the order of things
whose order decides nothing; and a built-in chain that is empty with policy ACCEPT, which passes
everything just as one that does not exist (iptables cannot delete it again).
Kept: everything else: rules with their order and position, policies, chains, sets, routes with
all attributes, permanent neighbours and forwarding entries, sysctls, attributes of devices.
Not here: reading any of it.
"""

import hashlib
from typing import Any

import msgspec
from msgspec.structs import replace

from nettrace.model.edit_tables import route_key
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import VirtualServer
from nettrace.model.late import changed
from nettrace.model.links import Address, FdbEntry, Link, Neighbour
from nettrace.model.nft import NftElement, NftRule, NftRuleset, NftSet
from nettrace.model.offloads import DeviceOffloads
from nettrace.model.packet import EPHEMERAL
from nettrace.model.routes import PolicyRule, Route
from nettrace.model.section import NOT_READ, Known, Missing, Section, SectionKey
from nettrace.model.snapshot import Netns, Process, Snapshot
from nettrace.model.sockets import Socket
from nettrace.model.xfrm import Xfrm
from nettrace.model.xt import XT_SECTIONS, XtChain, XtRuleset, XtTable

__all__ = ["canonical", "canonical_netns", "difference", "digest", "snapshot_difference"]

#: Sysctls that count rather than configure.
_VOLATILE_SYSCTLS = frozenset({"net.netfilter.nf_conntrack_count"})

#: Schedulers of IPVS that fill their table in the order of the real servers.
_ORDERED_SCHEDULERS = ("sh", "dh")

#: Fields of Netns that are sections; the others say whose it is.
_SECTIONED = tuple(field.name for field in msgspec.structs.fields(Netns) if field.default is NOT_READ)


def canonical(name: str, value: Any) -> Any:
    """
    Return the value of a section as plain data that is equal for equal states.

    *name* is the section's name as in SectionKey (``routes``, ``xt/nft/nat/KUBE-SERVICES``,
    ``kube/services``); *value* what its Known holds, None for a chain or table that does not
    exist.  Only dict, list, str, int, bool, float and None come out.
    """
    head = name.split("/", 1)[0]
    if head in XT_SECTIONS:
        return _xt(value)
    how = _SECTIONS.get(head, _plain)
    return how(value)


def canonical_netns(netns: Netns) -> dict[str, Any]:
    """Return all sections of a namespace in canonical form; one without a value as ``{"missing": kind}``."""
    found: dict[str, Any] = {}
    for name in _SECTIONED:
        found[name] = _section(_key_name(name), getattr(netns, name))
    return found


def digest(key: SectionKey, section: Section[Any]) -> str:
    """Return 16 hex digits that are equal for equal states of the section *key*."""
    data = msgspec.json.encode([str(key), _section(key.name, section)], order="deterministic")
    return hashlib.sha256(data).hexdigest()[:16]


def difference(one: Any, other: Any, path: str = "") -> list[str]:
    """
    Return what differs between two canonical values, a line each: ``path: this, was that``.

    *one* is the state looked at, *other* the state it is held against.
    """
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        lines: list[str] = []
        for name in sorted({*one, *other}):
            below = f"{path}/{name}" if path else name
            if name not in one:
                lines.append(f"{below}: gone, was {_short(other[name])}")
            elif name not in other:
                lines.append(f"{below}: new, {_short(one[name])}")
            else:
                lines += difference(one[name], other[name], below)
        return lines
    if isinstance(one, list) and isinstance(other, list):
        gone = [item for item in other if item not in one]
        new = [item for item in one if item not in other]
        if not gone and not new:
            return [f"{path}: another order or number, {_short(one)}, was {_short(other)}"]
        return [f"{path}: gone {_short(item)}" for item in gone] + [f"{path}: new {_short(i)}" for i in new]
    return [f"{path}: {_short(one)}, was {_short(other)}"]


def snapshot_difference(one: Snapshot, other: Snapshot) -> list[str]:
    """
    Return what differs between the namespaces of two snapshots, as ``difference`` does.

    Sections that are the same object are not looked into, so this is quick after an edit.
    """
    lines: list[str] = []
    for name in sorted({*one.namespaces, *other.namespaces}):
        here, there = one.namespaces.get(name), other.namespaces.get(name)
        if here is None or there is None:
            lines.append(f"{name}: {'gone' if here is None else 'new'}")
            continue
        for field in _SECTIONED:
            now, then = getattr(here, field), getattr(there, field)
            if now is then:
                continue
            key = _key_name(field)
            if key.startswith(("xt/", "xt6/")):
                now, then = _narrowed(now, then), _narrowed(then, now)
                lines += difference(_chains(key, now), _chains(key, then), f"{name}/{key}")
            else:
                lines += difference(_section(key, now), _section(key, then), f"{name}/{key}")
    return lines


def _narrowed(one: Section[Any], other: Section[Any]) -> Section[Any]:
    """Leave out of a rule set the tables and chains that are the same objects in *other*."""
    if isinstance(one, Missing) or isinstance(other, Missing) or type(one.value) is not type(other.value):
        return one
    if isinstance(one.value, XtRuleset):
        mine, others = one.value.tables, other.value.tables
        kept = {name: _narrowed(table, others.get(name, NOT_READ)) for name, table in mine.items()}
        return Known(XtRuleset({n: t for n, t in kept.items() if mine[n] is not others.get(n)}))
    if isinstance(one.value, XtTable):
        return Known(XtTable(changed(one.value.chains, other.value.chains)))
    return one


def _chains(name: str, section: Section[Any]) -> Any:
    """Return a rule set flat, ``table/chain`` to chain, so that differences are told by chain."""
    plain = _section(name, section)
    if isinstance(section, Missing):
        return plain
    return {f"{table}/{chain}": value for table, chains in plain.items() for chain, value in chains.items()}


# --- one function a kind of section ----------------------------------------------------


def _key_name(field: str) -> str:
    head, _, backend = field.partition("_")
    return f"{head}/{backend}" if head in XT_SECTIONS else field


def _section(name: str, section: Section[Any]) -> Any:
    if isinstance(section, Missing):
        return {"missing": str(section.kind)}
    return canonical(name, section.value)


def _plain(value: Any) -> Any:
    # By way of JSON: to_builtins leaves tuples, which never equal the lists of a decoded file.
    return msgspec.json.decode(msgspec.json.encode(value, order="deterministic"))


def _short(value: Any) -> str:
    text = msgspec.json.encode(value, order="deterministic").decode()
    return text if len(text) <= 200 else text[:197] + "..."


def _text_key(plain: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in plain.values())


def _without(value: Any, *names: str) -> Any:
    plain = _plain(value)
    for name in names:
        plain.pop(name, None)
    return plain


def _links(links: tuple[Link, ...]) -> dict[str, Any]:
    found = {}
    for link in links:
        plain = _without(link, "index", "promiscuity")  # the sum of all who ask for it; the flag is kept
        if link.peer is not None:
            plain["peer"] = link.peer.netns
        found[link.name] = plain
    return found


def _addresses(addresses: tuple[Address, ...]) -> Any:
    # The order of one device's addresses chooses the source address; that of devices does not.
    return _plain(sorted(addresses, key=lambda address: address.device))


def _routes(routes: tuple[Route, ...]) -> Any:
    # Routes of one key stand in the kernel's order, which decides; sorted() is stable.
    found = []
    for route in sorted(routes, key=route_key):
        # Whether a next hop is dead follows from its device, which is among the links.
        hops = tuple(replace(hop, dead=False) for hop in route.nexthops)
        found.append(_plain(replace(route, nexthops=hops, metric=route_key(route)[3])))
    return found


def _rules(rules: tuple[PolicyRule, ...]) -> Any:
    return _plain(sorted(rules, key=lambda rule: rule.priority))


def _neighbours(entries: tuple[Neighbour, ...]) -> Any:
    kept = [entry for entry in entries if entry.state in ("permanent", "proxy")]
    return _plain(sorted(kept, key=lambda entry: (entry.device, entry.address)))


def _fdb(entries: tuple[FdbEntry, ...]) -> Any:
    kept = [_plain(entry) for entry in entries if entry.permanent or entry.static]
    return sorted(kept, key=_text_key)


def _sysctls(values: dict[str, str]) -> dict[str, str]:
    # net.ipv6.conf.DEVICE.mtu follows from the device, which is among the links
    return {
        k: " ".join(v.split())
        for k, v in sorted(values.items())
        if k not in _VOLATILE_SYSCTLS and not (k.startswith("net.ipv6.conf.") and k.endswith(".mtu"))
    }


def _sockets(sockets: tuple[Socket, ...]) -> Any:
    ephemeral = range(EPHEMERAL.lo, EPHEMERAL.hi + 1)
    kept = [
        _without(replace(socket, pid=None), "pid")
        for socket in sockets
        if socket.state == "listen"
        or (socket.state == "unconn" and socket.remote is None and socket.port not in ephemeral)
    ]
    return sorted(
        kept, key=lambda s: (s["proto"], s["port"], s["address"], str(s["process"]), str(s["device"]))
    )


def _conntrack(_entries: Any) -> list[Any]:
    return []


def _offloads(devices: tuple[DeviceOffloads, ...]) -> dict[str, Any]:
    return {one.device: _plain(one) for one in devices}


def _ipsets(sets: tuple[IpSet, ...]) -> dict[str, Any]:
    return {one.name: {**_plain(one), "members": sorted(one.members)} for one in sets}


def _ipvs(servers: tuple[VirtualServer, ...]) -> dict[str, Any]:
    # The kernel lists servers by hash.  Where each real server stands says when it came, and decides
    # only where connections are chosen by a table that is filled in this order.
    found: dict[str, Any] = {}
    for one in servers:
        plain = _without(one, "real_servers")
        reals = [_without(real, "active", "inactive") for real in one.real_servers]
        if one.scheduler not in _ORDERED_SCHEDULERS:
            reals.sort(key=lambda real: (real["address"], real["port"]))
        plain["real_servers"] = reals
        found[f"{one.proto} {one.address} {one.port} {one.fwmark} {one.family}"] = plain
    return dict(sorted(found.items()))


def _nft(value: NftRuleset | tuple[Any, ...] | None) -> Any:
    """Set aside: handles, uses, the names of anonymous sets, elements that packets put in."""
    if value is None:
        return None
    if not isinstance(value, NftRuleset):
        return [_nft_entry(one, {}) for one in value]
    found: dict[str, Any] = {}
    for key, table in sorted(value.tables.items()):
        sets = {name: _nft_set(one) for name, one in table.sets.items()}
        hidden = {name: plain for name, plain in sets.items() if "anonymous" in plain["flags"]}
        found[key] = {
            "dormant": table.dormant,
            "sets": {name: plain for name, plain in sorted(sets.items()) if name not in hidden},
            "chains": {
                name: {
                    "base": _plain(chain.base),
                    "rules": _nft_entries(chain.rules, hidden),
                }
                for name, chain in sorted(table.chains.items())
            },
        }
    return found


def _nft_set(one: NftSet) -> Any:
    plain = _without(one, "handle", "elements")
    volatile = "dynamic" in one.flags
    return {**plain, "elements": [] if volatile else _nft_entries(one.elements, {}, ordered=False)}


def _nft_entries(section: Section[Any], hidden: dict[str, Any], *, ordered: bool = True) -> Any:
    if isinstance(section, Missing):
        return {"missing": str(section.kind)}
    found = [_nft_entry(one, hidden) for one in section.value]
    return found if ordered else sorted(found, key=msgspec.json.encode)


def _nft_entry(one: NftRule | NftElement, hidden: dict[str, Any]) -> Any:
    if isinstance(one, NftElement):
        return _without(one, "expires")
    plain = _without(one, "handle")
    for expression in plain["expressions"]:
        if expression.get("set") in hidden:
            expression["set"] = hidden[expression["set"]]
    return plain


def _processes(processes: tuple[Process, ...]) -> Any:
    kept = [_without(process, "pid") for process in processes]
    return sorted(kept, key=lambda p: (p["name"], p["cmdline"]))


def _xt(value: XtRuleset | XtTable | XtChain | None) -> Any:
    match value:
        case None:
            return None
        case XtRuleset(tables=tables):
            found = {name: _xt_section(section) for name, section in tables.items()}
            return {name: table for name, table in sorted(found.items()) if table is not None}
        case XtTable(chains=chains):
            found = {name: _xt_section(section) for name, section in chains.items()}
            return {name: chain for name, chain in sorted(found.items()) if chain is not None} or None
        case XtChain(policy="ACCEPT", rules=()):
            return None
        case XtChain():
            return {"policy": value.policy, "rules": _plain(value.rules)}


def _xt_section(section: Section[Any]) -> Any:
    return {"missing": str(section.kind)} if isinstance(section, Missing) else _xt(section.value)


def _xfrm(value: Xfrm) -> Any:
    """The states of IPsec come and go as daemons renew them; a policy's index is the kernel's choice."""
    return {
        "policies": [_plain(replace(one, index=0)) for one in value.policies],
        "blocks": sorted(value.blocks),
    }


_SECTIONS: dict[str, Any] = {
    "links": _links,
    "addresses": _addresses,
    "routes": _routes,
    "rules": _rules,
    "neighbours": _neighbours,
    "fdb": _fdb,
    "sysctls": _sysctls,
    "sockets": _sockets,
    "conntrack": _conntrack,
    "ipsets": _ipsets,
    "ipvs": _ipvs,
    "ipvs_connections": _conntrack,
    "recent": _conntrack,
    "offloads": _offloads,
    "nft": _nft,
    "xfrm": _xfrm,
    "processes": _processes,
}
