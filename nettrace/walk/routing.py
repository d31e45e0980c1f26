"""
Choosing a route: policy rules, then the longest prefix of a table.

Lives here: fib_lookup of IPv4, the choice among several next hops.
Not here: IPv6's tables (routing6), policy rules' selectors (fib), what the stages ask it for
(arrive, send), source addresses (source).
Sources: net/ipv4/fib_rules.c, net/ipv4/fib_trie.c (fib_table_lookup),
net/ipv4/fib_semantics.c (fib_select_path).
"""

from collections.abc import Hashable
from fractions import Fraction

from nettrace.model.addr import address_value, family_of
from nettrace.model.packet import Packet
from nettrace.model.routes import TABLE_LOCAL, NextHop, PolicyRule, Route
from nettrace.walk.context import Run
from nettrace.walk.fib import RULE_ERRORS, TOS, Failed, FlowKey, Found, route_text, rule_matches
from nettrace.walk.memory import derived
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace
from nettrace.walk.routing6 import lookup6

__all__ = ["Failed", "FlowKey", "Found", "address_type", "flow_key", "lookup", "select_hop", "usable_hops"]

#: Route types that end a lookup (fib_props in net/ipv4/fib_semantics.c).
_ERRORS = {"blackhole": "EINVAL", "unreachable": "EHOSTUNREACH", "prohibit": "EACCES"}


_Prefixes = tuple[tuple[int, dict[int, tuple[Route, ...]]], ...]


def _tables(routes: tuple[Route, ...]) -> dict[int, _Prefixes]:
    """Sort routes by table, prefix length (longest first), network, and then as the kernel does."""
    grouped: dict[int, dict[int, dict[int, list[Route]]]] = {}
    for route in routes:
        if family_of(route.dst) != 4:
            continue
        network, _, length = route.dst.partition("/")
        bits = int(length) if length else 32
        place = grouped.setdefault(route.table, {}).setdefault(bits, {})
        place.setdefault(address_value(network), []).append(route)
    return {
        table: tuple(
            (
                bits,
                {
                    network: tuple(sorted(same, key=lambda r: (-r.tos, r.metric)))
                    for network, same in by_network.items()
                },
            )
            for bits, by_network in sorted(lengths.items(), reverse=True)
        )
        for table, lengths in grouped.items()
    }


def _custom_rules(rules: tuple[PolicyRule, ...]) -> bool:
    """Has anybody changed the three rules every namespace begins with (fib4_has_custom_rules)?"""
    rules = tuple(rule for rule in rules if rule.family == 4)
    plain = [(0, 255), (32766, 254), (32767, 253)]
    return [(rule.priority, rule.table) for rule in rules] != plain or any(
        rule != PolicyRule(priority=rule.priority, table=rule.table) for rule in rules
    )


def has_custom_rules(run: Run, ns: Namespace) -> bool:
    """Did anybody add or remove a policy rule, or a local route that belongs to no address?"""
    rules: tuple[PolicyRule, ...] = run.section(ns.name, "rules", along=NEIGHBOURHOOD)
    if derived(_custom_rules, rules):
        return True
    routes: tuple[Route, ...] = run.section(ns.name, "routes", along=NEIGHBOURHOOD)
    return derived(_custom_local, routes)


def _custom_local(routes: tuple[Route, ...]) -> bool:
    """fib_has_custom_local_routes: a local route with another protocol or scope than the kernel's own."""
    return any(
        route.type == "local" and route.protocol != "kernel" and family_of(route.dst) == 4 for route in routes
    )


def flow_key(packet: Packet, *, iif: str = "lo", oif: str | None = None, mark: int | None = None) -> FlowKey:
    """Return the key for a packet's own way."""
    return FlowKey(
        dst=packet.dst,
        src=packet.src,
        iif=iif,
        oif=oif,
        mark=packet.mark if mark is None else mark,
        tos=packet.tos,
        proto=packet.proto,
        sport=packet.sport,
        dport=packet.dport,
    )


def lookup(run: Run, ns: Namespace, key: FlowKey) -> Found | Failed:
    """
    Look *key* up as the kernel does: rule by rule, in each table the longest prefix.

    Undecided when a rule that would be reached tests what the walk cannot know.
    """
    if family_of(key.dst) == 6:
        return lookup6(run, ns, key)
    rules: tuple[PolicyRule, ...] = run.section(ns.name, "rules", along=NEIGHBOURHOOD)
    routes: tuple[Route, ...] = run.section(ns.name, "routes", along=NEIGHBOURHOOD)
    tables = derived(_tables, routes)
    skip_until = -1
    for rule in rules:
        if rule.priority < skip_until or rule.family != 4:
            continue
        if not rule_matches(ns, rule, key):
            continue
        if rule.action == "goto":
            skip_until = rule.goto if rule.goto is not None else -1
            continue
        if rule.action in RULE_ERRORS:
            text = f"rule {rule.priority} {rule.action}"
            return Failed(
                RULE_ERRORS[rule.action],
                f"{ns.name}/rules/{rule.priority}",
                text,
                blackhole=rule.action == "blackhole",
            )
        if rule.action != "lookup" or rule.table is None or rule.table not in tables:
            continue
        found = _in_table(ns, rule, tables[rule.table], key)
        if found is not None:
            return found
    return Failed("ENETUNREACH", f"{ns.name}/routes", f"no route to {key.dst}")


def _in_table(ns: Namespace, rule: PolicyRule, table: _Prefixes, key: FlowKey) -> Found | Failed | None:
    """fib_table_lookup: a shorter prefix is tried where no route of the longer one is usable."""
    value = address_value(key.dst)
    for bits, networks in table:
        same = networks.get(value >> (32 - bits) << (32 - bits) if bits else 0)
        for route in same or ():
            if route.tos and route.tos != key.tos & TOS:
                continue
            ref = f"{ns.name}/routes/{route.table}/{route.dst}"
            if route.type in _ERRORS:
                return Failed(
                    _ERRORS[route.type], ref, route_text(route), blackhole=route.type == "blackhole"
                )
            if route.type == "throw":
                return None
            hops = usable_hops(ns, route, oif=key.oif)
            if route.nexthops and not hops:
                continue
            if rule.suppress_prefixlen is not None and bits <= rule.suppress_prefixlen:
                return None
            return Found(route, hops[0] if hops else None, ref, route_text(route))
    return None


def usable_hops(ns: Namespace, route: Route, *, oif: str | None = None) -> list[NextHop]:
    """
    Return the next hops that a lookup may take.

    A hop whose device is down is dead; one whose device only lacks its carrier is used unless
    ``ignore_routes_with_linkdown`` says otherwise.  Local routes never die.
    """
    found: list[NextHop] = []
    for hop in route.nexthops:
        if oif is not None and hop.device != oif and hop.device is not None:
            continue
        if hop.device is not None and route.type != "local":
            link = ns.link(hop.device)
            if not link.up:
                continue
            if hop.dead and not link.carrier:
                if ns.conf_max(hop.device, "ignore_routes_with_linkdown")[0]:
                    continue
            elif hop.dead:
                continue
        found.append(hop)
    return found


def select_hop(run: Run, ns: Namespace, found: Found, key: FlowKey) -> NextHop | None:
    """
    Pick the next hop; several draw lots by weight, once for each flow (fib_select_multipath).

    The kernel hashes the flow with a secret of its own, so every share is possible, but the
    same flow always takes the same way.  IPv4 prefers a way that has the flow's source, so that the lookup
    with it repeats the one without; IPv6 hashes what it is asked with (rt6_multipath_hash).
    """
    if found.options:
        hops, weights = [hop for hop, _ in found.options], [weight for _, weight in found.options]
    else:
        hops = usable_hops(ns, found.route, oif=key.oif)
        weights = [hop.weight for hop in hops]
        if len(hops) < 2 or key.oif is not None or family_of(key.dst) == 6:
            return found.hop
    asked: tuple[Hashable, ...] = (key.src if key.iif != "lo" else "",)
    if family_of(key.dst) == 6:
        asked = (key.src, key.again and not _dissects(run, ns))
    same_flow = (ns.name, found.route.table, found.route.dst, key.dst, *asked)
    if same_flow in run.remembered:
        return hops[run.remembered[same_flow]]
    total = sum(weights)
    index = run.choose(
        [
            (
                Fraction(weight, total),
                f"next hop {hop.via or hop.device} {weight}/{total} in {ns.name}",
            )
            for hop, weight in zip(hops, weights, strict=True)
        ],
        key=f"{found.ref} hop {key.src} {key.dst}{' again' if key.again else ''}",
    )
    run.remembered[same_flow] = index
    return hops[index]


def _dissects(run: Run, ns: Namespace) -> bool:
    """Does a rule of IPv6 ask for protocol or ports, which a lookup behind OUTPUT is asked with only then?"""
    rules: tuple[PolicyRule, ...] = run.section(ns.name, "rules")
    return any(one.family == 6 and (one.ipproto or one.sport or one.dport) for one in rules)


def address_type(run: Run, ns: Namespace, address: str, device: str | None = None) -> str:
    """
    Return what an IPv4 address is to this namespace: ``LOCAL``, ``BROADCAST``, ``UNICAST`` ...

    inet_dev_addr_type asks the local table only; *device* narrows it to one device.
    """
    first = int(address.partition(".")[0])
    if first == 0 or address == "255.255.255.255":
        return "BROADCAST"
    if 224 <= first <= 239:
        return "MULTICAST"
    routes: tuple[Route, ...] = run.section(ns.name, "routes", along=NEIGHBOURHOOD)
    table = derived(_tables, routes).get(TABLE_LOCAL, ())
    value = address_value(address)
    for bits, networks in table:
        for route in networks.get(value >> (32 - bits) << (32 - bits) if bits else 0, ()):
            if device is None or any(hop.device == device for hop in route.nexthops):
                return route.type.upper()
            return "UNICAST"
    return "UNICAST"
