"""
A netfilter hook: everybody who registered there, in the order of priorities.

Lives here: which tables a hook has, both iptables back ends, native nftables chains, the one
nat hook, where conntrack comes in.
Not here: the rules of a chain (rules), connections (conntrack), translation (nat).
Sources: include/uapi/linux/netfilter_ipv4.h (priorities), net/netfilter/core.c
(nf_hook_slow), net/netfilter/nf_nat_core.c (nf_nat_inet_fn).
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.step import Stage, Verdict
from nettrace.model.xt import BACKENDS, BUILTIN_CHAINS, NftBaseChain, XtRuleset
from nettrace.walk.conntrack import confirm, track
from nettrace.walk.context import Ended, Run, Undecided, Wanted, undecided
from nettrace.walk.memory import derived
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace
from nettrace.walk.nat import MANIP_OF, leave_alone, needs_rules, translate
from nettrace.walk.point import HookPoint
from nettrace.walk.rules import dropped, run_chain
from nettrace.walk.skb import Conn, Skb
from nettrace.walk.targets import Place

__all__ = ["netdev_hook", "run_hook"]

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
    _rulesets(run, point.ns)
    native = _native(run, point)
    for priority, table in _ORDER[point.hook]:
        native = _pass_native(run, skb, point, native, below=priority)
        if table == _TRACK:
            track(run, skb, point.hook)
        elif table == "nat":
            before = skb.packet
            _nat(run, skb, point)
            if reroute is not None and skb.packet.dst != before.dst:
                reroute(run, skb)
        else:
            before = skb.packet
            _table(run, skb, point, table)
            after = skb.packet
            if reroute is not None and table == "mangle" and _other_way(before, after):
                reroute(run, skb)
    _pass_native(run, skb, point, native, below=None)
    if point.hook in ("input", "postrouting"):
        confirm(run, skb)


def _other_way(before: Any, after: Any) -> bool:
    """Did anything change that a route depends on?"""
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


def _rulesets(run: Run, ns: Namespace) -> frozenset[str]:
    """
    Return the built-in chains that may do anything, as ``BACKEND/table/CHAIN``.

    Asks at once for all built-in chains that were not read.
    """
    if ns.standing is None:
        wanted: list[SectionKey] = []
        active: list[str] = []
        for backend in BACKENDS:
            standing = derived(_standing, run.section(ns.name, f"xt/{backend}", along=NEIGHBOURHOOD))
            wanted += [SectionKey(ns.name, f"xt/{backend}/{path}") for path in standing.unread]
            active += [f"{backend}/{path}" for path in standing.active]
        if wanted:
            raise Wanted(wanted)
        ns.standing = frozenset(active)
    found: frozenset[str] = ns.standing
    return found


# --- native nftables ---------------------------------------------------------------------


def _by_hook(chains: tuple[NftBaseChain, ...]) -> dict[str, tuple[NftBaseChain, ...]]:
    found: dict[str, list[NftBaseChain]] = {}
    for chain in sorted(chains, key=lambda one: one.priority):
        if not chain.empty or chain.policy != "accept":
            found.setdefault(f"{chain.family}/{chain.hook}", []).append(chain)
    return {hook: tuple(ones) for hook, ones in found.items()}


def _native(run: Run, point: HookPoint) -> list[NftBaseChain]:
    """Return the native base chains that the hook has and that do something, in order."""
    chains: tuple[NftBaseChain, ...] = run.section(point.ns.name, "nft", along=NEIGHBOURHOOD)
    if not chains:
        return []
    by_hook = derived(_by_hook, chains)
    found = [one for family in ("ip", "inet") for one in by_hook.get(f"{family}/{point.hook}", ())]
    return sorted(found, key=lambda one: one.priority)


def _pass_native(
    run: Run, skb: Skb, point: HookPoint, chains: list[NftBaseChain], *, below: int | None
) -> list[NftBaseChain]:
    """
    Pass the native chains up to priority *below*, that one included.

    At equal priority nobody knows who is first, and a chain with rules is unknown anyway.
    nat chains are left to the nat hook.  An empty chain can only drop, by its policy.
    """
    left = []
    for chain in chains:
        if chain.type == "nat" or (below is not None and chain.priority > below):
            left.append(chain)
        else:
            _native_chain(run, skb, point, chain)
    return left


def _native_chain(run: Run, skb: Skb, point: HookPoint, chain: NftBaseChain) -> None:
    name = f"{chain.family} {chain.table} {chain.chain}"
    ref = f"{point.ns.name}/nft/{chain.family}/{chain.table}/{chain.chain}"
    if not chain.empty:
        undecided(f"nftables chain {name} at {chain.hook} has rules, which are not walked yet", ref, name)
    run.step(
        skb,
        Stage.HOOK,
        "policy DROP",
        device=point.device,
        hook=point.hook,
        backend="nft",
        table=f"{chain.family} {chain.table}",
        chain=chain.chain,
        rule=0,
        ref=ref,
        text=f"policy {chain.policy}",
        stops=True,
    )
    dropped(run, skb, point, f"the policy of nftables chain {name} is drop")


def netdev_hook(run: Run, ns: Namespace, device: str) -> None:
    """Undecided if a native chain hangs on the device itself (netdev family, ingress)."""
    chains: tuple[NftBaseChain, ...] = run.section(ns.name, "nft", along=NEIGHBOURHOOD)
    for chain in chains:
        if chain.family != "netdev" or chain.empty or chain.device not in (None, device):
            continue
        undecided(
            f"nftables chain netdev {chain.table} {chain.chain} on {device} has rules, "
            "which are not walked yet",
            f"{ns.name}/nft/netdev/{chain.table}/{chain.chain}",
        )


# --- tables ------------------------------------------------------------------------------


def _places(run: Run, point: HookPoint, table: str) -> list[Place]:
    """Return the back ends' built-in chains of a table that can do anything at this hook."""
    active = _rulesets(run, point.ns)
    if not active:
        return []
    chain = point.hook.upper()
    return [Place(backend, table, chain, 0) for backend in BACKENDS if f"{backend}/{table}/{chain}" in active]


def _table(run: Run, skb: Skb, point: HookPoint, table: str) -> None:
    places = _places(run, point, table)
    if len(places) == 1:
        run_chain(run, skb, point, places[0])
    elif places:

        def walk_them(order: Iterable[Place]) -> None:
            for place in order:
                run_chain(run, skb, point, place)

        _either_order(run, skb, point, places, walk_them)


def _nat(run: Run, skb: Skb, point: HookPoint) -> None:
    """One hook for all nat chains; the first that binds ends it (nf_nat_inet_fn)."""
    manip = MANIP_OF[point.hook]
    conn = skb.conn
    if conn is not None and needs_rules(skb, manip):
        _nat_rules(run, skb, point, conn, manip)
        if not _done(conn, manip):
            leave_alone(run, conn, manip)
    translate(run, skb, point.hook)


def _done(conn: Conn, manip: str) -> bool:
    return conn.src_done if manip == "src" else conn.dst_done


def _nat_rules(run: Run, skb: Skb, point: HookPoint, conn: Conn, manip: str) -> None:
    places = _places(run, point, "nat")
    native = [one for one in _native(run, point) if one.type == "nat"]
    here = _NAT_PRIORITY[point.hook]
    for chain in native:
        if chain.priority <= here:
            _native_chain(run, skb, point, chain)

    def walk_them(order: Iterable[Place]) -> None:
        for place in order:
            if not _done(conn, manip):
                run_chain(run, skb, point, place)

    if len(places) == 1:
        walk_them(places)
    elif places:
        _either_order(run, skb, point, places, walk_them)
    if not _done(conn, manip):
        for chain in native:
            if chain.priority > here:
                _native_chain(run, skb, point, chain)


# --- two back ends at one priority ---------------------------------------------------------


def _either_order(
    run: Run, skb: Skb, point: HookPoint, places: list[Place], walk_them: Callable[[Iterable[Place]], None]
) -> None:
    """
    Walk two chains of equal priority in both orders; undecided if the order matters.

    Which registered last, and so runs first, is in no dump.
    """
    begin = _state(run, skb)
    replayed = run.replaying
    run.replaying = {}
    try:
        first = _attempt(run, walk_them, places)
        middle = _state(run, skb)
        _restore(run, skb, begin)
        second = _attempt(run, walk_them, places[::-1])
        same = _seen(first, run, skb, middle) == _seen(second, run, skb, _state(run, skb))
    finally:
        run.replaying = replayed
    _restore(run, skb, middle)
    for end in (first, second):
        if isinstance(end, Undecided):
            raise end
    if not same:
        undecided(
            f"iptables-nft and iptables-legacy both have {places[0].table} rules for this packet at "
            f"{point.hook}, and which of them runs first decides",
            f"{point.ns.name}/xt/legacy/{places[0].table}/{places[0].chain}",
        )
    if first is not None:
        raise first


def _attempt(
    run: Run, walk_them: Callable[[Iterable[Place]], None], order: Iterable[Place]
) -> Ended | Undecided | None:
    try:
        walk_them(order)
    except (Ended, Undecided) as end:
        return end
    return None


def _state(run: Run, skb: Skb) -> tuple[Any, ...]:
    conn = copy.copy(skb.conn)
    return skb.packet, skb.mss, skb.state, conn, list(run.steps), list(run.answers)


def _restore(run: Run, skb: Skb, state: tuple[Any, ...]) -> None:
    skb.packet, skb.mss, skb.state, conn, steps, answers = state
    if skb.conn is not None and conn is not None:
        for name in Conn.__slots__:
            setattr(skb.conn, name, getattr(conn, name))
    run.steps[:] = steps
    run.answers[:] = answers


def _seen(end: Ended | Undecided | None, run: Run, skb: Skb, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """What of an order's result is the same to everybody else."""
    packet, mss, tracked, conn, _, answers = state
    held = None if conn is None else (conn.original, conn.reply, conn.mark)
    verdict = end.verdict if isinstance(end, Ended) else end
    if isinstance(end, Ended) and end.verdict in (Verdict.DROPPED_BY_RULE, Verdict.DENIED):
        return (end.verdict,)
    return verdict, packet, mss, tracked, held, tuple(one.packet for one in answers)
