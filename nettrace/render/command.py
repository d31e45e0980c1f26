"""
Changes as the shell commands that an engineer would type in the namespace.

Lives here: ``argv``, what nettrace.apply runs, and ``command``, the same as one line for a
POSIX shell.  Both come from one place, so what is printed is what is done.
Not here: running anything.
"""

import shlex

from msgspec import Struct

from nettrace.model.addr import family_of
from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
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
    PolicySet,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit_links import PORT_ATTRIBUTES
from nettrace.model.edit_tables import many_remotes
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.routes import TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, NextHop, Route
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.xt import XtRule
from nettrace.parse.ipset import save_ipset
from nettrace.parse.iptables import rule_args, rule_text
from nettrace.parse.ipvs import end_text, real_words, save_ipvsadm, server_words

__all__ = ["Argv", "argv", "command"]

#: Seconds that the legacy tools wait for the lock of other writers (/run/xtables.lock);
#: the nft ones have no lock and try again by themselves.
LOCK_WAIT = 10


class Argv(Struct, frozen=True):
    """A program with its arguments, and what it reads from its standard input, if anything."""

    args: tuple[str, ...]
    stdin: str | None = None


def command(change: Change) -> str:
    """Return *change* as one line for a POSIX shell inside the namespace."""
    run = argv(change)
    line = shlex.join(run.args)
    if run.stdin is None:
        return line
    return f"printf '%s\\n' {shlex.join(run.stdin.splitlines())} | {line}"


def argv(change: Change) -> Argv:
    """Return the program that makes *change*, without a shell."""
    match change:
        case SysctlSet():
            return Argv(("sysctl", "-w", f"{change.name}={change.value}"))
        case RuleInsert():
            return _iptables(change, "-I", change.chain, str(change.position), rule=change.rule)
        case RuleDelete():
            return _iptables(change, "-D", change.chain, str(change.position))
        case RuleReplace():
            return _iptables(change, "-R", change.chain, str(change.position), rule=change.rule)
        case PolicySet():
            return _iptables(change, "-P", change.chain, change.policy)
        case ChainSet():
            return _restore(
                change, *(f"-A {change.chain} {rule_text(rule)}".rstrip() for rule in change.rules)
            )
        case ChainDelete():
            return _restore(change, f"-X {change.chain}")
        case RouteAdd():
            verb = "add" if change.replaces is None else "replace"
            return Argv((*_ip(change.route.dst), "route", verb, *_route(change.route)))
        case RouteDelete():
            return Argv((*_ip(change.route.dst), "route", "del", *_route(change.route)))
        case LinkSet():
            return _link(change)
        case AddressAdd(address=address):
            return Argv(("ip", "addr", "add", *_address(address)))
        case AddressDelete(address=address):
            return Argv(("ip", "addr", "del", *_address(address)))
        case FdbAdd(entry=entry):
            return Argv(
                ("bridge", "fdb", "append" if many_remotes(entry) else "replace", *_fdb(entry), _age(entry))
            )
        case FdbDelete(entry=entry):
            return Argv(("bridge", "fdb", "del", *_fdb(entry)))
        case NeighbourAdd(entry=entry):
            return Argv((*_ip(entry.address), "neigh", "replace", *_neighbour(entry)))
        case NeighbourDelete(entry=entry):
            return Argv((*_ip(entry.address), "neigh", "del", entry.address, "dev", entry.device))
        case IpvsServiceAdd(server=server):
            return Argv(("ipvsadm", "-R"), save_ipvsadm([server]))
        case IpvsServiceDelete(server=server):
            return Argv(("ipvsadm", "-D", *server_words(server).split()))
        case IpvsDestAdd(server=server, real=real):
            return Argv(("ipvsadm", "-a", *server_words(server).split(), *real_words(real).split()))
        case IpvsDestDelete(server=server, real=real):
            end = end_text(real.address, real.port)
            return Argv(("ipvsadm", "-d", *server_words(server).split(), "-r", end))
        case IpvsDestSet(server=server, real=real):
            return Argv(("ipvsadm", "-e", *server_words(server).split(), *real_words(real).split()))
        case IpsetCreate():
            return Argv(("ipset", "restore"), save_ipset(change.set, change.options))
        case IpsetDestroy():
            return Argv(("ipset", "destroy", change.set.name))
        case IpsetEntryAdd():
            return Argv(("ipset", "add", change.name, change.entry))
        case IpsetEntryDelete():
            return Argv(("ipset", "del", change.name, change.entry))
        case ConntrackDelete(entry=connection):
            return Argv(("conntrack", "-D", *_connection(connection)))
        case RecentAdd() | RecentDelete():
            sign = "+" if isinstance(change, RecentAdd) else "-"
            return Argv(("tee", f"/proc/net/xt_recent/{change.name}"), f"{sign}{change.address}\n")


# --- iptables --------------------------------------------------------------------------


def _iptables(
    change: RuleInsert | RuleDelete | RuleReplace | PolicySet, *words: str, rule: XtRule | None = None
) -> Argv:
    """
    Return a call of iptables of the change's back end.

    ``iptables`` alone is whichever one this machine's alternatives point to; the names with
    the back end are exact everywhere.
    """
    wait = ("-w", str(LOCK_WAIT)) if change.backend == "legacy" else ()
    spec = rule_args(rule) if rule is not None else ()
    return Argv((f"iptables-{change.backend}", *wait, "-t", change.table, *words, *spec))


def _restore(change: ChainSet | ChainDelete, *lines: str) -> Argv:
    """
    Return one transaction on one chain; its first line makes or empties the chain.

    iptables-restore(8): with ``--noflush`` all other chains stay.
    """
    wait = ("-w", str(LOCK_WAIT)) if change.backend == "legacy" else ()
    text = "".join(f"{line}\n" for line in (f"*{change.table}", f":{change.chain} - [0:0]", *lines, "COMMIT"))
    return Argv((f"iptables-{change.backend}-restore", "--noflush", *wait), text)


# --- routes ----------------------------------------------------------------------------


def _ip(address: str) -> tuple[str, ...]:
    return ("ip", "-6") if family_of(address) == 6 else ("ip",)


def _route(route: Route) -> list[str]:
    """
    Return the words of ip-route(8) for a route; what ip assumes by itself is left out.

    A deletion takes the first route that fits them; all that make a key are among them.
    """
    words = [] if route.type == "unicast" else [route.type]
    words.append("default" if route.dst in ("0.0.0.0/0", "::/0") else _bare(route.dst))
    grouped = "nhid" in route.more
    if len(route.nexthops) == 1 and not grouped:
        words += _way(route, route.nexthops[0])
    if route.prefsrc is not None:
        words += ["src", route.prefsrc]
    if route.table != _default_table(route):
        words += [
            "table",
            {TABLE_MAIN: "main", TABLE_LOCAL: "local", TABLE_DEFAULT: "default"}.get(
                route.table, str(route.table)
            ),
        ]
    if route.metric and not (family_of(route.dst) == 6 and route.metric == 1024):
        words += ["metric", str(route.metric)]
    if route.tos:
        words += ["tos", f"0x{route.tos:02x}"]
    if route.protocol != "boot":
        words += ["proto", route.protocol]
    if family_of(route.dst) == 4 and route.scope != _default_scope(route):
        words += ["scope", route.scope]
    words += _attributes(route)
    if len(route.nexthops) > 1 and not grouped:
        for hop in route.nexthops:
            words += ["nexthop", *_way(route, hop), "weight", str(hop.weight)]
    return words


def _bare(prefix: str) -> str:
    """Return a prefix as people write it: a single address without its length."""
    address, _, length = prefix.partition("/")
    return address if length == ("128" if ":" in address else "32") else prefix


def _way(route: Route, hop: NextHop) -> list[str]:
    words = []
    if hop.via is not None:
        other = family_of(hop.via) != family_of(route.dst)
        words += ["via", *(["inet6"] if other else []), hop.via]
    if hop.device is not None:
        words += ["dev", hop.device]
    if hop.onlink:
        words.append("onlink")
    return words


def _default_table(route: Route) -> int:
    """Return the table that ip takes for the route's type (iproute2, ip/iproute.c, iproute_modify)."""
    return TABLE_LOCAL if route.type in ("local", "broadcast", "anycast", "nat") else TABLE_MAIN


def _default_scope(route: Route) -> str:
    """Return the scope that ip takes for a new IPv4 route (iproute2, ip/iproute.c, iproute_modify)."""
    if route.type in ("local", "nat"):
        return "host"
    if route.type in ("broadcast", "multicast", "anycast"):
        return "link"
    one = len(route.nexthops) <= 1 and "nhid" not in route.more
    if route.type == "unicast" and one and not any(hop.via for hop in route.nexthops):
        return "link"
    return "global"


def _attributes(route: Route) -> list[str]:
    """Return the metrics: the MTU with its lock, and those that the model keeps as words."""
    more = list(route.more)
    words: list[str] = []
    if more[:2] == ["mtu", "lock"]:
        more = more[2:]
        words += ["mtu", "lock", str(route.mtu or 0)]
    elif route.mtu is not None:
        words += ["mtu", str(route.mtu)]
    for place, word in enumerate(more):
        # RTAX_FEATURE_ECN is the one feature that ip-route(8) can write.
        words.append("ecn" if more[place - 1 : place] == ["features"] and word == "1" else word)
    return words


# --- devices and their entries ---------------------------------------------------------


def _link(change: LinkSet) -> Argv:
    if change.attribute in PORT_ATTRIBUTES:
        return Argv(("bridge", "link", "set", "dev", change.device, change.attribute, change.value))
    if change.attribute == "up":
        return Argv(("ip", "link", "set", "dev", change.device, "up" if change.value == "on" else "down"))
    if change.attribute == "master" and not change.value:
        return Argv(("ip", "link", "set", "dev", change.device, "nomaster"))
    return Argv(("ip", "link", "set", "dev", change.device, change.attribute, change.value))


def _address(one: Address) -> list[str]:
    scope = [] if one.scope == "global" else ["scope", one.scope]
    return [f"{one.address}/{one.prefixlen}", "dev", one.device, *scope]


def _fdb(entry: FdbEntry) -> list[str]:
    words = [entry.mac, "dev", entry.device]
    if entry.dst is not None:
        words += ["dst", entry.dst]
    if entry.via is not None:
        words += ["via", entry.via]
    words.append("master" if entry.master is not None else "self")
    if entry.vlan is not None:
        words += ["vlan", str(entry.vlan)]
    return words


def _age(entry: FdbEntry) -> str:
    if entry.permanent:
        return "permanent"
    return "static" if entry.static else "dynamic"


def _neighbour(entry: Neighbour) -> list[str]:
    mac = ["lladdr", entry.mac] if entry.mac is not None else []
    return [entry.address, *mac, "dev", entry.device, "nud", entry.state]


def _connection(entry: ConntrackEntry) -> list[str]:
    """Return the filter that fits this one entry: both tuples, conntrack(8)."""
    one, other = entry.original, entry.reply
    words = ["-f", "ipv6"] if family_of(one.src) == 6 else []
    words += ["-p", entry.proto, "--orig-src", one.src, "--orig-dst", one.dst]
    words += ["--reply-src", other.src, "--reply-dst", other.dst]
    for option, value in (
        ("--orig-port-src", one.sport),
        ("--orig-port-dst", one.dport),
        ("--reply-port-src", other.sport),
        ("--reply-port-dst", other.dport),
        ("--icmp-type", one.icmp_type),
        ("--icmp-code", one.icmp_code),
        ("--icmp-id", one.icmp_id),
    ):
        if value is not None:
            words += [option, str(value)]
    if entry.zone:
        option = {"original": "--orig-zone", "reply": "--reply-zone"}.get(entry.zone_side or "", "--zone")
        words += [option, str(entry.zone)]
    return words
