"""
What IPv4 and IPv6 share when a route is chosen: the question, the answers, the policy rules.

Lives here: struct flowi, the result, the selectors of a rule.
Not here: the tables (routing, routing6).
Sources: net/core/fib_rules.c, net/ipv4/fib_rules.c, net/ipv6/fib6_rules.c.
"""

from typing import NamedTuple

from nettrace.model.addr import in_prefix
from nettrace.model.packet import PortRange
from nettrace.model.routes import NextHop, PolicyRule, Route
from nettrace.walk.context import undecided
from nettrace.walk.namespace import Namespace

__all__ = ["RULE_ERRORS", "TOS", "Failed", "FlowKey", "Found", "route_text", "rule_matches"]

#: The actions of policy rules that end a lookup (fib4_rule_action, __fib6_rule_action).
RULE_ERRORS = {"blackhole": "EINVAL", "unreachable": "ENETUNREACH", "prohibit": "EACCES"}

#: What rules and routes see of the tos field: IPv4 (INET_DSCP_LEGACY_TOS_MASK), IPv6 (INET_DSCP_MASK).
TOS, _DSCP = 0x1C, 0xFC


class FlowKey(NamedTuple):
    """
    What a lookup is asked with (struct flowi4, flowi6); ``iif`` is ``lo`` for what a host sends itself.

    ``strict``: IPv6 takes no route by another device than ``oif`` (RT6_LOOKUP_F_IFACE); else it
    only prefers those.  ``again``: asked once more behind OUTPUT (ip_route_me_harder).
    """

    dst: str
    src: str = ""
    iif: str = "lo"
    oif: str | None = None
    mark: int = 0
    tos: int = 0
    proto: str | None = None
    sport: PortRange | None = None
    dport: PortRange | None = None
    strict: bool = False
    again: bool = False


class Found(NamedTuple):
    """
    A route; ``hop`` is its first usable next hop.

    ``options`` are, of an IPv6 route with several, the next hops that its draw comes to, and their
    weights.
    """

    route: Route
    hop: NextHop | None
    ref: str
    text: str
    options: tuple[tuple[NextHop, int], ...] = ()


class Failed(NamedTuple):
    """
    No route: the errno, and the state that says so.

    ``discards`` is a route that refuses without an error of the lookup: who sends by it learns that only
    behind OUTPUT, from an ICMPv6 error (ip6_pkt_discard_out).
    """

    errno: str
    ref: str
    text: str
    blackhole: bool = False
    discards: Found | None = None


def rule_matches(ns: Namespace, rule: PolicyRule, key: FlowKey) -> bool:
    """fib_rule_match, fib4_rule_match, fib6_rule_match; the invert flag turns the whole around."""
    return _selectors_match(ns, rule, key) != rule.invert


def _selectors_match(ns: Namespace, rule: PolicyRule, key: FlowKey) -> bool:
    if rule.iif is not None and rule.iif != key.iif:
        return False
    if rule.oif is not None and rule.oif != key.oif:
        return False
    if rule.fwmark is not None and (key.mark ^ rule.fwmark) & rule.fwmask:
        return False
    if rule.src is not None and not _source_fits(key.src, rule):
        return False
    if rule.dst is not None and not in_prefix(key.dst, rule.dst):
        return False
    if rule.tos is not None and rule.tos != key.tos & (TOS if rule.family == 4 else _DSCP):
        return False
    if rule.ipproto is not None and rule.ipproto != key.proto:
        return False
    for wanted, port, name in ((rule.sport, key.sport, "sport"), (rule.dport, key.dport, "dport")):
        if wanted is None:
            continue
        if port is None:
            return False
        inside = PortRange(*wanted)
        if port.disjoint(inside):
            return False
        if not port.inside(inside):
            undecided(
                f"rule {rule.priority} of {ns.name} tests {name}, which the kernel chooses from {port}",
                f"{ns.name}/rules/{rule.priority}",
            )
    if rule.unknown:
        undecided(
            f"rule {rule.priority} of {ns.name} tests {', '.join(rule.unknown)}, which is not understood",
            f"{ns.name}/rules/{rule.priority}",
        )
    return True


def _source_fits(src: str, rule: PolicyRule) -> bool:
    """A source that is not chosen yet is 0.0.0.0 to IPv4's rules, and to IPv6's no match at all."""
    if rule.src is None:
        return True
    if not src:
        return rule.family == 4 and in_prefix("0.0.0.0", rule.src)
    return in_prefix(src, rule.src)


def route_text(route: Route) -> str:
    """``10.244.1.0/24 via 10.244.1.0 dev flannel.1``."""
    kind = "" if route.type == "unicast" else f"{route.type} "
    hops = " ".join(
        f"{f'via {hop.via} ' if hop.via else ''}dev {hop.device}" for hop in route.nexthops if hop.device
    )
    table = "" if route.table in (254, 255) else f" table {route.table}"
    dst = "default" if route.dst in ("0.0.0.0/0", "::/0") else route.dst
    return f"{kind}{dst} {hops}".rstrip() + table
