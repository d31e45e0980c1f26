"""
IPv6's routing tables: the longest prefix, and of its routes the one that scores best.

Lives here: fib6_rule_lookup, fib6_table_lookup, the scores, what several next hops come to.
Not here: drawing one of them (routing), what the stages ask for (output6, arrive6).
Sources: net/ipv6/route.c (fib6_table_lookup, find_rr_leaf, rt6_score_route,
fib6_select_path), net/ipv6/fib6_rules.c.
Cached exceptions (a learned path MTU, a redirect) are not part of a snapshot.
"""

from typing import NamedTuple

from nettrace.model.addr import address_value, family_of, is_link_local, is_loopback, is_multicast
from nettrace.model.routes import TABLE_LOCAL, NextHop, PolicyRule, Route
from nettrace.walk.context import Run, undecided
from nettrace.walk.fib import RULE_ERRORS, Failed, FlowKey, Found, route_text, rule_matches
from nettrace.walk.memory import derived
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace

__all__ = ["has_anycast", "is_anycast", "lookup6"]

#: Route types that end a lookup (fib6_prop).
_ERRORS = {"blackhole": "EINVAL", "unreachable": "EHOSTUNREACH", "prohibit": "EACCES"}

#: ``pref`` as rt6_score_route counts it (IPV6_DECODE_PREF); medium is not written down.
_PREFERENCES = {"high": 3, "low": 1}
_MEDIUM = 2

#: Bits of an address, and of the prefix of a network of two (RFC 6164), which has no anycast address.
_WHOLE, _PAIR = 128, 127

_Prefixes = tuple[tuple[int, dict[int, tuple[Route, ...]]], ...]


class _Entry(NamedTuple):
    """One next hop of one route: what the kernel holds as a route of its own (struct fib6_info)."""

    route: Route
    hop: NextHop


def _tables(routes: tuple[Route, ...]) -> dict[int, _Prefixes]:
    """Sort routes by table, prefix length (longest first), network, and metric, as the kernel does."""
    grouped: dict[int, dict[int, dict[int, list[Route]]]] = {}
    for route in routes:
        if family_of(route.dst) != 6:
            continue
        network, _, length = route.dst.partition("/")
        place = grouped.setdefault(route.table, {}).setdefault(int(length or 128), {})
        place.setdefault(address_value(network), []).append(route)
    return {
        table: tuple(
            (
                bits,
                {
                    network: tuple(sorted(same, key=lambda one: one.metric))
                    for network, same in by_network.items()
                },
            )
            for bits, by_network in sorted(lengths.items(), reverse=True)
        )
        for table, lengths in grouped.items()
    }


def _rules(rules: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
    return tuple(rule for rule in rules if rule.family == 6)


def lookup6(run: Run, ns: Namespace, key: FlowKey) -> Found | Failed:
    """
    Look *key* up as fib6_rule_lookup does.

    Undecided when a rule or a route that would be reached tests what the walk cannot know.
    """
    rules: tuple[PolicyRule, ...] = run.section(ns.name, "rules", along=NEIGHBOURHOOD)
    routes: tuple[Route, ...] = run.section(ns.name, "routes", along=NEIGHBOURHOOD)
    tables = derived(_tables, routes)
    skip_until = -1
    for rule in derived(_rules, rules):
        if rule.priority < skip_until or not rule_matches(ns, rule, key):
            continue
        if rule.action == "goto":
            skip_until = rule.goto if rule.goto is not None else -1
            continue
        if rule.action in RULE_ERRORS:
            return Failed(
                RULE_ERRORS[rule.action],
                f"{ns.name}/rules/{rule.priority}",
                f"rule {rule.priority} {rule.action}",
                blackhole=rule.action == "blackhole",
            )
        if rule.action != "lookup" or rule.table is None or rule.table not in tables:
            continue
        found = _in_table(run, ns, rule, tables[rule.table], key)
        if found is not None:
            return found
    return Failed("ENETUNREACH", f"{ns.name}/routes", f"no route to {key.dst}")


def _in_table(
    run: Run, ns: Namespace, rule: PolicyRule, table: _Prefixes, key: FlowKey
) -> Found | Failed | None:
    """
    ip6_pol_route: the best of the longest prefix, of a shorter one where none of those is usable.

    A host (forwarding off) first passes over routers that are known not to answer.
    """
    value = address_value(key.dst)
    nodes = [
        (bits, same)
        for bits, networks in table
        if (same := networks.get(value >> (128 - bits) << (128 - bits))) is not None
    ]
    forwarding = ns.conf("all", "forwarding", family=6)[0]
    for reachable in (False,) if forwarding else (True, False):
        for bits, same in nodes:
            entries = _usable(ns, same)
            chosen = _select(run, ns, entries, key, reachable=reachable)
            if chosen is None:
                continue
            return _result(run, ns, rule, bits, entries, chosen, key, reachable=reachable)
    return None


def _usable(ns: Namespace, routes: tuple[Route, ...]) -> list[_Entry]:
    """
    Return the next hops that are not dead, each as the kernel's own route.

    An address that was given to a device that is down is this host's all the same
    (addrconf_f6i_alloc: fc_ignore_dev_down), as on kube-ipvs0.
    """
    found: list[_Entry] = []
    for route in routes:
        if "from" in route.more:
            undecided(
                f"route {route_text(route)} of {ns.name} asks for a source, which is not evaluated",
                f"{ns.name}/routes/{route.table}/{route.dst}",
            )
        for hop in route.nexthops or (NextHop(device="lo"),):
            if hop.device is not None and hop.device != "lo":
                link = ns.link(hop.device)
                if not link.up and route.type not in ("local", "anycast"):
                    continue
                ignored = ns.conf_max(hop.device, "ignore_routes_with_linkdown", family=6)[0]
                if hop.dead and (link.carrier or ignored):
                    continue
            found.append(_Entry(route, hop))
    return found


def _score(run: Run, ns: Namespace, entry: _Entry, key: FlowKey, *, reachable: bool) -> int | None:
    """rt6_score_route; None if it cannot be taken."""
    route, hop = entry
    device = key.oif if key.oif is not None else key.iif if key.iif != "lo" else None
    score = 2 if device is None or hop.device == device else 0
    if not score and _strict(key):
        return None
    preference = route.more[route.more.index("pref") + 1] if "pref" in route.more else ""
    score |= _PREFERENCES.get(preference, _MEDIUM) << 2
    if reachable and hop.via is not None and hop.device is not None:
        entry_there = ns.neighbour(hop.device, hop.via)
        learned = (ns.name, hop.device, hop.via) in run.neighbours
        if entry_there is not None and entry_there.state == "failed" and not learned:
            return None
    return score


def _strict(key: FlowKey) -> bool:
    """RT6_LOOKUP_F_IFACE (rt6_need_strict): some addresses, and a device without a source, allow no other."""
    if is_link_local(key.dst) or is_multicast(key.dst) or is_loopback(key.dst):
        return True
    return key.strict or (key.oif is not None and not key.src)


def _select(
    run: Run, ns: Namespace, entries: list[_Entry], key: FlowKey, *, reachable: bool
) -> _Entry | None:
    """find_rr_leaf: the best score of the smallest metric; where that has none, of all others."""
    if not entries:
        return None
    first = entries[0].route.metric
    for group in (
        [one for one in entries if one.route.metric == first],
        [one for one in entries if one.route.metric != first],
    ):
        best: tuple[int, _Entry] | None = None
        for entry in group:
            score = _score(run, ns, entry, key, reachable=reachable)
            if score is not None and (best is None or score > best[0]):
                best = score, entry
        if best is not None:
            return best[1]
    return None


def _result(
    run: Run,
    ns: Namespace,
    rule: PolicyRule,
    bits: int,
    entries: list[_Entry],
    chosen: _Entry,
    key: FlowKey,
    *,
    reachable: bool,
) -> Found | Failed | None:
    route = chosen.route
    ref = f"{ns.name}/routes/{route.table}/{route.dst}"
    if route.type in _ERRORS:
        return Failed(_ERRORS[route.type], ref, route_text(route), blackhole=route.type == "blackhole")
    if route.type == "throw":
        return None
    if rule.suppress_prefixlen is not None and bits <= rule.suppress_prefixlen:
        return None
    if chosen.hop.device == "lo" and _refuses(route):
        held = Found(route, chosen.hop, ref, route_text(route))
        return Failed("ENETUNREACH", ref, route_text(route), discards=held)
    siblings = [one for one in entries if one.route is route]
    options: tuple[tuple[NextHop, int], ...] = ()
    if len(siblings) > 1:
        # fib6_select_path: a sibling that cannot be taken leaves it at the one that scored best
        options = tuple(
            (
                one.hop if _score(run, ns, one, key, reachable=reachable) is not None else chosen.hop,
                one.hop.weight,
            )
            for one in siblings
        )
    return Found(route, chosen.hop, ref, route_text(route), options)


def _refuses(route: Route) -> bool:
    """fib6_is_reject: by the loopback all routes do but local ones and those of the kernel's own anycast."""
    if route.type == "local" or is_loopback(route.dst.partition("/")[0]):
        return False
    return not _kept_anycast(route)


def _kept_anycast(route: Route) -> bool:
    """RTF_ANYCAST: the kernel's own route to an anycast address, not one that somebody wrote."""
    return route.type == "anycast" and route.protocol == "kernel"


def is_anycast(found: Found, address: str) -> bool:
    """ipv6_anycast_destination: what was found is for an anycast address, or the first of a network here."""
    route = found.route
    network, _, length = route.dst.partition("/")
    if _kept_anycast(route):
        return True
    on_link = found.hop is not None and found.hop.via is None
    return on_link and int(length or 128) < _PAIR and address_value(network) == address_value(address)


def has_anycast(run: Run, ns: Namespace, address: str, device: str | None = None) -> bool:
    """ipv6_chk_acast_addr: does the namespace, or one *device*, have this anycast address?"""
    routes: tuple[Route, ...] = run.section(ns.name, "routes", along=NEIGHBOURHOOD)
    held = dict(derived(_tables, routes).get(TABLE_LOCAL, ())).get(_WHOLE, {}).get(address_value(address), ())
    return any(
        _kept_anycast(route) and (device is None or any(hop.device == device for hop in route.nexthops))
        for route in held
    )
