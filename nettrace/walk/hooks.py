"""
A netfilter hook: everybody who registered there, in the order of priorities.

Lives here: which tables a hook has, both iptables back ends, native nftables chains, the one
nat hook, where conntrack and IPVS come in.
Not here: the rules of a chain (rules), connections (conntrack), translation (nat), virtual servers (ipvs).
Sources: include/uapi/linux/netfilter_ipv4.h (priorities), net/netfilter/core.c
(nf_hook_slow), net/netfilter/nf_nat_core.c (nf_nat_inet_fn).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.step import Stage
from nettrace.model.xt import BACKENDS, BUILTIN_CHAINS, XtRuleset
from nettrace.walk.conntrack import clashes, confirm, track
from nettrace.walk.context import Run, Wanted
from nettrace.walk.ipvs import ipvs_turns
from nettrace.walk.memory import derived
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace
from nettrace.walk.nat import MANIP_OF, leave_alone, needs_rules, translate
from nettrace.walk.native import native_chains
from nettrace.walk.nft_chain import NativeChain, walk_native
from nettrace.walk.nft_header import ARP
from nettrace.walk.nft_read import native_ruleset
from nettrace.walk.order import Party, in_order
from nettrace.walk.point import HookPoint
from nettrace.walk.programs import at_hook, hook_decides
from nettrace.walk.rules import dropped, run_chain
from nettrace.walk.skb import Conn, Skb
from nettrace.walk.targets import Place

__all__ = ["arp_hook", "bridge_hook", "netdev_hook", "run_hook"]

_TRACK = "track"

#: Hook -> (priority, table or the conntrack itself), in order.
_ORDER: dict[str, tuple[tuple[int, str], ...]] = {
    "prerouting": ((-300, "raw"), (-200, _TRACK), (-150, "mangle"), (-100, "nat")),
    "input": ((-150, "mangle"), (0, "filter"), (50, "security"), (100, "nat")),
    "forward": ((-150, "mangle"), (0, "filter"), (50, "security")),
    "output": (
        (-300, "raw"),
        (-200, _TRACK),
        (-150, "mangle"),
        (-100, "nat"),
        (0, "filter"),
        (50, "security"),
    ),
    "postrouting": ((-150, "mangle"), (100, "nat")),
}

#: Where iptables-nft registers a nat chain (libnftnl's NF_IP_PRI_NAT_DST and _SRC).
_NAT_PRIORITY = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}

Reroute = Callable[[Run, Skb], None]


def run_hook(run: Run, skb: Skb, point: HookPoint, *, reroute: Reroute | None = None) -> None:
    """
    Pass a packet through a hook; returns if it may go on.

    *reroute* is called in OUTPUT where the kernel routes again: after mangle changed the
    addresses or the mark, after destination NAT changed the address.
    """
    point = point._replace(family=skb.packet.family)
    _rulesets(run, point)
    in_order(run, skb, point, _parties(run, skb, point, reroute))
    if point.hook in ("input", "postrouting"):
        if clashes(run, skb):
            reason = f"answers to it would be taken for an old connection's of {point.ns.name}"
            ref = f"{point.ns.name}/conntrack"
            run.step(skb, Stage.CONNTRACK, "drop", hook=point.hook, ref=ref, text=reason, stops=True)
            dropped(run, skb, point, reason)
        confirm(run, skb)


def _parties(run: Run, skb: Skb, point: HookPoint, reroute: Reroute | None) -> list[Party]:
    """Everybody at the hook who may do something; nat chains are all inside the nat hook."""
    found: list[Party] = []
    for priority, table in _ORDER[point.hook]:
        if table == _TRACK:
            found.append(Party(priority, "conntrack", "conntrack", lambda: track(run, skb, point.hook)))
        elif table == "nat":

            def nat() -> None:
                dst = skb.packet.dst
                _nat(run, skb, point)
                if skb.packet.dst == dst:
                    return
                if reroute is not None:
                    reroute(run, skb)
                elif point.hook == "prerouting":
                    skb.route = None  # one that came with it over lo (nf_nat_ipv4_pre_routing)

            found.append(Party(priority, "nat", "nat", nat))
        else:
            again = reroute if table == "mangle" else None
            found += [
                _xt_party(run, skb, point, place, priority, again) for place in _places(run, point, table)
            ]
    found += [Party(turn.priority, "ipvs", turn.name, turn.go) for turn in ipvs_turns(run, skb, point)]
    found += [
        Party(one.priority, f"bpf {one.id}", str(one), partial(hook_decides, point.ns, one))
        for one in at_hook(run, point.ns, point.family, point.hook)
    ]
    for chain in _native(run, skb, point):
        if chain.type != "nat":
            found.append(_native_party(run, skb, point, chain, reroute if chain.type == "route" else None))
    return found


def _xt_party(
    run: Run, skb: Skb, point: HookPoint, place: Place, priority: int, reroute: Reroute | None = None
) -> Party:
    def go() -> None:
        before = skb.packet
        run_chain(run, skb, point, place)
        if reroute is not None and _other_way(before, skb.packet):
            reroute(run, skb)

    name = (
        f"{place.table} {place.chain} of {'ip6tables' if point.family == 6 else 'iptables'}-{place.backend}"
    )
    return Party(priority, f"{place.backend}/{place.table}", name, go)


def _native_party(
    run: Run, skb: Skb, point: HookPoint, chain: NativeChain, reroute: Reroute | None = None
) -> Party:
    def go() -> None:
        before = skb.packet
        walk_native(run, skb, point, chain, pf=_pf(skb))
        if reroute is not None and _other_way(before, skb.packet):
            reroute(run, skb)

    return Party(chain.priority, chain.title, f"{chain.name} of table {chain.title}", go)


def _pf(skb: Skb) -> int:
    return 2 if skb.packet.family == 4 else 10


def _other_way(before: Any, after: Any) -> bool:
    """Did anything change that a route depends on?  Of IPv6 the hop limit counts too (ip6t_mangle_out)."""
    if after.family == 6 and before.ttl != after.ttl:
        return True
    return (before.src, before.dst, before.mark, before.tos) != (after.src, after.dst, after.mark, after.tos)


class _Standing(NamedTuple):
    """Built-in chains of a rule set as ``table/CHAIN``: those never asked for, those that may do anything."""

    unread: tuple[str, ...]
    active: frozenset[str]


def _standing(ruleset: XtRuleset) -> _Standing:
    unread: list[str] = []
    active: list[str] = []
    for table, section in ruleset.tables.items():
        if isinstance(section, Missing):
            unread += [table] if section.kind is MissingKind.NOT_READ else []
            active += [f"{table}/{chain}" for chain in BUILTIN_CHAINS.get(table, ())]
            continue
        for chain in BUILTIN_CHAINS.get(table, ()):
            held = section.value.chains.get(chain)
            if isinstance(held, Missing):
                unread += [f"{table}/{chain}"] if held.kind is MissingKind.NOT_READ else []
                active.append(f"{table}/{chain}")
            elif held is not None and (held.value.rules or held.value.policy not in (None, "ACCEPT")):
                active.append(f"{table}/{chain}")
    return _Standing(tuple(unread), frozenset(active))


def _rulesets(run: Run, point: HookPoint) -> frozenset[str]:
    """
    Return the built-in chains that may do anything, as ``BACKEND/table/CHAIN``.

    Asks at once for all built-in chains that were not read.
    """
    ns = point.ns
    standings: dict[str, frozenset[str]] = ns.standing
    if point.xt not in standings:
        wanted: list[SectionKey] = []
        active: list[str] = []
        for backend in BACKENDS:
            standing = derived(_standing, run.section(ns.name, f"{point.xt}/{backend}", along=NEIGHBOURHOOD))
            wanted += [SectionKey(ns.name, f"{point.xt}/{backend}/{path}") for path in standing.unread]
            active += [f"{backend}/{path}" for path in standing.active]
        if wanted:
            raise Wanted(wanted)
        standings[point.xt] = frozenset(active)
    return standings[point.xt]


# --- native nftables ---------------------------------------------------------------------


def _native(run: Run, skb: Skb, point: HookPoint) -> tuple[NativeChain, ...]:
    """Return the native base chains that the hook has and that do something, in order."""
    family = "ip" if skb.packet.family == 4 else "ip6"
    return native_chains(run, point.ns, (family, "inet"), point.hook)


def netdev_hook(run: Run, skb: Skb, ns: Namespace, device: str, hook: str) -> None:
    """Pass the native chains that hang on the device itself; *hook* is ``ingress`` or ``egress``."""
    # what is no IP passes by the family inet (nft_do_chain_inet_ingress)
    families = ("netdev",) if skb.packet.proto == ARP else ("netdev", "inet")
    chains = native_chains(run, ns, families, hook, device)
    if chains:
        inward = hook == "ingress"
        point = HookPoint(ns, hook, device if inward else None, None if inward else device)
        pfs = {"netdev": 5, "inet": _pf(skb)}
        parties = [_layer2_party(run, skb, point, one, pfs[one.table.family]) for one in chains]
        in_order(run, skb, point, parties)


def arp_hook(run: Run, skb: Skb, point: HookPoint) -> None:
    """Pass an ARP packet through the native chains of the family arp; what arptables has is not read."""
    chains = native_chains(run, point.ns, ("arp",), point.hook)
    if chains:
        in_order(run, skb, point, [_layer2_party(run, skb, point, chain, 3) for chain in chains])


def bridge_hook(run: Run, skb: Skb, point: HookPoint, *, beside: Party | None = None) -> None:
    """Pass the native chains of the bridge family at a hook of a bridge, and *beside* among them."""
    chains = native_chains(run, point.ns, ("bridge",), point.hook)
    parties = [_layer2_party(run, skb, point, chain, 7) for chain in chains]
    if beside is not None:
        parties.append(beside)
    if parties:
        in_order(run, skb, point, parties)


def _layer2_party(run: Run, skb: Skb, point: HookPoint, chain: NativeChain, pf: int) -> Party:
    return Party(
        chain.priority,
        chain.title,
        f"{chain.name} of table {chain.title}",
        lambda: walk_native(run, skb, point, chain, pf=pf),
    )


# --- tables ------------------------------------------------------------------------------


def _places(run: Run, point: HookPoint, table: str) -> list[Place]:
    """Return the back ends' built-in chains of a table that can do anything at this hook."""
    active = _rulesets(run, point)
    if not active:
        return []
    chain = point.hook.upper()
    return [Place(backend, table, chain, 0) for backend in BACKENDS if f"{backend}/{table}/{chain}" in active]


def _nat(run: Run, skb: Skb, point: HookPoint) -> None:
    """One hook for all nat chains; the first that binds ends it (nf_nat_inet_fn)."""
    manip = MANIP_OF[point.hook]
    conn = skb.conn
    if conn is not None and needs_rules(skb, manip) and _translates(run, point):
        _nat_rules(run, skb, point, conn, manip)
        if not _done(conn, manip):
            leave_alone(run, conn, manip)
    if conn is None or not conn.listed or _translates(run, point):
        translate(run, skb, point.hook)


def _translates(run: Run, point: HookPoint) -> bool:
    """
    Does the namespace have a nat chain of the family at any hook?

    The first one registers all four nat hooks (nf_nat_register_fn); without any, what the table of
    connections says of NAT is not done.
    """
    for backend in BACKENDS:
        ruleset: XtRuleset = run.section(point.ns.name, f"{point.xt}/{backend}", along=NEIGHBOURHOOD)
        if "nat" in ruleset.tables:
            return True
    native = native_ruleset(run, point.ns.name)
    family = "ip" if point.family == 4 else "ip6"
    return any(
        chain.base is not None and chain.base.type == "nat"
        for table in native.tables.values()
        if table.family in (family, "inet") and not table.dormant
        for chain in table.chains.values()
    )


def _done(conn: Conn, manip: str) -> bool:
    return conn.src_done if manip == "src" else conn.dst_done


def _nat_rules(run: Run, skb: Skb, point: HookPoint, conn: Conn, manip: str) -> None:
    here = _NAT_PRIORITY[point.hook]
    parties = [_xt_party(run, skb, point, place, here) for place in _places(run, point, "nat")]
    parties += [
        _native_party(run, skb, point, chain) for chain in _native(run, skb, point) if chain.type == "nat"
    ]
    in_order(run, skb, point, [_unless_done(party, conn, manip) for party in parties])


def _unless_done(party: Party, conn: Conn, manip: str) -> Party:
    def go() -> None:
        if not _done(conn, manip):
            party.go()

    return party._replace(go=go)
