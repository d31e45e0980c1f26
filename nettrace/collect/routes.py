"""
Routes of all tables and policy rules: rtnetlink to model types.

Lives here: RTM_GETROUTE and RTM_GETRULE of both families.
Not here: choosing a route.
"""

import errno
import socket
from typing import Any

from nettrace.collect.session import Session
from nettrace.model.addr import ANY4, ANY6
from nettrace.model.routes import NextHop, PolicyRule, Route

__all__ = ["read_routes", "read_rules"]

# include/uapi/linux/rtnetlink.h
_TYPES = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
    10: "nat",
    11: "xresolve",
}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_RTNH_F_DEAD, _RTNH_F_ONLINK = 0x01, 0x04
_RTM_F_CLONED = 0x200

#: rtm_protocol, as /etc/iproute2/rt_protos names them; others stay numbers.
_PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    18: "keepalived",
    42: "babel",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}

#: RTAX_* metrics beside the MTU, as ip-route(8) spells them.
_METRICS = {
    "RTAX_WINDOW": "window",
    "RTAX_RTT": "rtt",
    "RTAX_RTTVAR": "rttvar",
    "RTAX_SSTHRESH": "ssthresh",
    "RTAX_CWND": "cwnd",
    "RTAX_ADVMSS": "advmss",
    "RTAX_REORDERING": "reordering",
    "RTAX_HOPLIMIT": "hoplimit",
    "RTAX_INITCWND": "initcwnd",
    "RTAX_FEATURES": "features",
    "RTAX_RTO_MIN": "rto_min",
    "RTAX_INITRWND": "initrwnd",
    "RTAX_QUICKACK": "quickack",
}

# include/uapi/linux/fib_rules.h
_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_FIB_RULE_INVERT = 0x02
_NONE32 = 0xFFFFFFFF

#: Selectors of rules that the model has no field for.
_UNKNOWN = {
    "FRA_FLOW": "realms",
    "FRA_TUN_ID": "tun_id",
    "FRA_L3MDEV": "l3mdev",
    "FRA_UID_RANGE": "uidrange",
    "FRA_DSCP": "dscp",
    "FRA_FLOWLABEL": "flowlabel",
    "UNKNOWN": "a selector newer than this nettrace",
}


def read_routes(session: Session) -> tuple[Route, ...]:
    """Read the routes of all tables of IPv4 and IPv6, in the kernel's order."""
    messages = session.dump("get_routes")
    names = dict(socket.if_nameindex())
    return tuple(
        _route(message, names)
        for message in messages
        if message["family"] in (socket.AF_INET, socket.AF_INET6) and not message["flags"] & _RTM_F_CLONED
    )


def _route(message: Any, names: dict[int, str]) -> Route:
    metrics = message.get_attr("RTA_METRICS")
    kind = message["type"]
    return Route(
        dst=_destination(message),
        table=message.get_attr("RTA_TABLE") or message["table"],
        type=_TYPES.get(kind, str(kind)),
        nexthops=_nexthops(message, names),
        prefsrc=message.get_attr("RTA_PREFSRC"),
        metric=message.get_attr("RTA_PRIORITY") or 0,
        tos=message["tos"],
        scope=_SCOPES.get(message["scope"], str(message["scope"])),
        protocol=_PROTOCOLS.get(message["proto"], str(message["proto"])),
        mtu=metrics.get_attr("RTAX_MTU") if metrics else None,
        more=_more(message, metrics),
    )


def _destination(message: Any) -> str:
    address = message.get_attr("RTA_DST")
    if address is None:
        return ANY4 if message["family"] == socket.AF_INET else ANY6
    return f"{address}/{message['dst_len']}"


def _nexthops(message: Any, names: dict[int, str]) -> tuple[NextHop, ...]:
    several = message.get_attr("RTA_MULTIPATH")
    if several:
        return tuple(_nexthop(hop, hop["oif"], hop["hops"] + 1, names) for hop in several)
    index = message.get_attr("RTA_OIF")
    gateway = _gateway(message)
    if index is None and gateway is None:
        return ()  # blackhole, unreachable, prohibit, throw
    return (_nexthop(message, index, 1, names),)


def _nexthop(part: Any, index: int | None, weight: int, names: dict[int, str]) -> NextHop:
    flags = part["flags"]
    return NextHop(
        device=names.get(index or 0),
        via=_gateway(part),
        weight=weight,
        onlink=bool(flags & _RTNH_F_ONLINK),
        # The kernel sets DEAD in a dump also for a link without carrier where
        # ignore_routes_with_linkdown says so: fib_nexthop_info(), net/ipv4/fib_semantics.c
        dead=bool(flags & _RTNH_F_DEAD),
    )


def _gateway(part: Any) -> str | None:
    gateway = part.get_attr("RTA_GATEWAY")
    if gateway is None:
        via = part.get_attr("RTA_VIA")  # an IPv6 next hop of an IPv4 route
        gateway = via["addr"] if via else None
    return str(gateway) if gateway is not None else None


def _more(message: Any, metrics: Any) -> tuple[str, ...]:
    """What the model has no field for, as words of ip-route(8)."""
    words: list[str] = []
    if metrics:
        locked = metrics.get_attr("RTAX_LOCK") or 0
        if locked & 1 << 2:  # RTAX_MTU
            words += ["mtu", "lock"]
        for name, word in _METRICS.items():
            value = metrics.get_attr(name)
            if value is not None:
                words += [word, str(value)]
    source = message.get_attr("RTA_SRC")
    if source is not None:
        words += ["from", f"{source}/{message['src_len']}"]
    realms = message.get_attr("RTA_FLOW")
    if realms:
        words += ["realms", f"{realms >> 16}/{realms & 0xFFFF}" if realms >> 16 else str(realms)]
    group = message.get_attr("RTA_NH_ID")
    if group:
        words += ["nhid", str(group)]
    preference = message.get_attr("RTA_PREF")
    if preference:
        words += ["pref", {1: "high", 3: "low"}.get(preference, str(preference))]
    hops = message.get_attr("RTA_MULTIPATH") or ()
    if any(part.get_attr("RTA_ENCAP_TYPE") for part in (message, *hops)):
        words += ["encap", "?"]
    return tuple(words)


def read_rules(session: Session) -> tuple[PolicyRule, ...]:
    """Read the policy rules, those of IPv4 first, each family in the kernel's order."""
    rules = [_rule(message) for message in session.dump("get_rules", family=socket.AF_INET)]
    try:
        rules += [_rule(message) for message in session.dump("get_rules", family=socket.AF_INET6)]
    except OSError as error:
        # A kernel without IPv6 has no rules for it: rtnl_dump_all() knows no such family.
        if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise
    return tuple(rules)


def _rule(message: Any) -> PolicyRule:
    action = message["action"]
    mark, mask = message.get_attr("FRA_FWMARK"), message.get_attr("FRA_FWMASK")
    if mark is None and mask:
        mark = 0  # "fwmark 0/0xff": the kernel leaves a zero out
    suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    unknown = [word for name, word in _UNKNOWN.items() if message.get_attr(name) is not None]
    if message.get_attr("FRA_SUPPRESS_IFGROUP") not in (None, _NONE32):
        unknown.append("suppress_ifgroup")
    if action not in _ACTIONS:
        unknown.append(f"action {action}")
    table = message.get_attr("FRA_TABLE") or message["table"]
    return PolicyRule(
        priority=message.get_attr("FRA_PRIORITY") or 0,
        family=4 if message["family"] == socket.AF_INET else 6,
        action=_ACTIONS.get(action, str(action)),
        table=table if action == 1 else None,
        goto=message.get_attr("FRA_GOTO") if action == 2 else None,
        invert=bool(message["flags"] & _FIB_RULE_INVERT),
        src=_prefix(message, "FRA_SRC", "src_len"),
        dst=_prefix(message, "FRA_DST", "dst_len"),
        iif=message.get_attr("FRA_IIFNAME"),
        oif=message.get_attr("FRA_OIFNAME"),
        fwmark=mark,
        fwmask=mask if mask is not None else _NONE32,
        tos=message["tos"] or None,
        ipproto=_protocol(message.get_attr("FRA_IP_PROTO")),
        sport=_ports(message.get_attr("FRA_SPORT_RANGE")),
        dport=_ports(message.get_attr("FRA_DPORT_RANGE")),
        suppress_prefixlen=suppress if suppress not in (None, _NONE32) else None,
        unknown=tuple(unknown),
    )


def _prefix(message: Any, name: str, length: str) -> str | None:
    address = message.get_attr(name)
    return f"{address}/{message[length]}" if address is not None else None


def _protocol(number: int | None) -> str | None:
    if number is None:
        return None
    return {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}.get(number, str(number))


def _ports(found: str | None) -> tuple[int, int] | None:
    """``80:90``, as pyroute2 writes a range."""
    if found is None:
        return None
    start, _, end = found.partition(":")
    return int(start), int(end)
