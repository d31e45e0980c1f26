"""
What is there now, of the few things that changes are about.

Lives here: reading one chain, the routes, entries, a sysctl of one namespace, right before or
after a change.
Not here: whole snapshots (nettrace.collect.reader).
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nettrace.apply.tool import Refused, run
from nettrace.collect.ipsets import read_ipsets
from nettrace.collect.ipvs import read_ipvs
from nettrace.collect.neighbours import read_addresses, read_fdb, read_neighbours
from nettrace.collect.netns import in_netns
from nettrace.collect.nf_tables import list_tables
from nettrace.collect.recent import read_recent
from nettrace.collect.routes import read_routes
from nettrace.collect.session import Session
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import VirtualServer
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.routes import Route
from nettrace.model.xt import XtChain, XtRule
from nettrace.parse.iptables import parse_chain, parse_rule, rule_text
from nettrace.render.command import Argv

__all__ = [
    "addresses_now",
    "chain_now",
    "devices_now",
    "fdb_now",
    "neighbours_now",
    "normal",
    "recent_now",
    "routes_now",
    "servers_now",
    "sets_now",
    "sysctl_now",
]

T = TypeVar("T")


def chain_now(path: str, backend: str, table: str, chain: str, keep: tuple[int, ...] = ()) -> XtChain | None:
    """Return a chain without counters, None if it is not there; Refused if iptables cannot print it."""
    wait = ("-w", "10") if backend == "legacy" else ()
    call = Argv((f"iptables-{backend}", *wait, "-t", table, "-S", chain))
    try:
        text = run(path, call, " ".join(call.args), keep=keep)
    except Refused as error:
        if "No chain/target/match by that name" in error.what:
            return None
        # iptables-nft 1.8.9 calls a chain that does not exist incompatible, as it does native rules.
        if backend == "nft" and "incompatible" in error.what and not _has_chain(path, table, chain):
            return None
        raise
    return parse_chain(text, chain)


def _has_chain(path: str, table: str, chain: str) -> bool:
    tables = _read(path, list_tables)
    return any(
        one.family == "ip" and one.name == table and any(seen.name == chain for seen in one.chains)
        for one in tables
    )


def normal(rule: XtRule) -> XtRule:
    """Return *rule* as it is read back from its own text, so that two spellings compare equal."""
    return parse_rule(rule_text(rule))


def routes_now(path: str) -> tuple[Route, ...]:
    """Return the routes of all tables."""
    return _read(path, read_routes)


def addresses_now(path: str) -> tuple[Address, ...]:
    """Return the addresses of all devices."""
    return _read(path, read_addresses)


def fdb_now(path: str) -> tuple[FdbEntry, ...]:
    """Return the forwarding entries of bridges and VXLAN devices."""
    return _read(path, read_fdb)


def neighbours_now(path: str) -> tuple[Neighbour, ...]:
    """Return the neighbours of all devices."""
    return _read(path, read_neighbours)


def recent_now(path: str, name: str) -> set[str]:
    """Return the addresses in a list of -m recent; none where there is no such list."""
    lists = in_netns(path, read_recent)
    return {entry.address for one in lists if one.name == name for entry in one.entries}


def sets_now(path: str) -> tuple[IpSet, ...]:
    """Return the ipsets with their entries."""
    return _read(path, read_ipsets)


def servers_now(path: str) -> tuple[VirtualServer, ...]:
    """Return IPVS's virtual servers."""
    return in_netns(path, read_ipvs)


def devices_now(path: str) -> set[str]:
    """Return the names of the devices."""
    return {name for _, name in in_netns(path, socket.if_nameindex)}


def sysctl_now(path: str, name: str) -> str | None:
    """Return a sysctl by its dotted name; None if its device or module is gone."""
    file = Path("/proc/sys") / name.translate(str.maketrans("./", "/."))

    def inside() -> str | None:
        try:
            return " ".join(file.read_text().split())
        except FileNotFoundError:
            return None

    return in_netns(path, inside)


def _read(path: str, how: Callable[[Session], T]) -> T:
    def inside() -> T:
        session = Session()
        try:
            return how(session)
        finally:
            session.close()

    return in_netns(path, inside)
