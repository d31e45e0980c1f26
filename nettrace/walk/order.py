"""
Those who hang on a hook, one after another, by priority.

Lives here: what follows when several have the same priority.
Not here: who they are (hooks).
Source: net/netfilter/core.c (nf_hook_entries_grow): of equal priorities the one registered last
runs first, and which that was is in no dump (a kernel with NETFILTER_NETLINK_HOOK lists the hooks in
their order, net/netfilter/nfnetlink_hook.c, but for those inside the nat hook).  Inside one table of
nftables it is known.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from nettrace.model.step import Verdict
from nettrace.walk.context import Ended, Run, Undecided, undecided
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Conn, Skb

__all__ = ["Party", "in_order"]

#: More orders than this are not tried.
_MOST = 24


class Party(NamedTuple):
    """
    Somebody at a hook.

    Of two with the same *origin* and priority the order is known: as they stand.
    """

    priority: int
    origin: str
    name: str
    go: Callable[[], None]


def in_order(run: Run, skb: Skb, point: HookPoint, parties: Iterable[Party]) -> None:
    """Let them all see the packet; undecided if an order matters that nobody knows."""
    ordered = sorted(parties, key=lambda one: one.priority)
    for _, same in groupby(ordered, key=lambda one: one.priority):
        group = tuple(same)
        if len({one.origin for one in group}) == 1:
            _walk(group)
        else:
            _any_order(run, skb, point, group)


def _walk(order: Iterable[Party]) -> None:
    for party in order:
        party.go()


def _orders(group: Sequence[Party]) -> Iterator[tuple[Party, ...]]:
    """All ways to mix them that keep the order of those of one origin."""
    if not group:
        yield ()
        return
    seen: set[str] = set()
    for index, party in enumerate(group):
        if party.origin in seen:
            continue
        seen.add(party.origin)
        for rest in _orders([*group[:index], *group[index + 1 :]]):
            yield (party, *rest)


def _any_order(run: Run, skb: Skb, point: HookPoint, group: tuple[Party, ...]) -> None:
    """
    Walk several of equal priority in every order; undecided if the order matters.

    A draw is made once for all orders.
    """
    begin = _state(run, skb)
    replayed = run.replaying
    run.replaying = {}
    first: tuple[tuple[Any, ...], Ended | Undecided | None] | None = None
    same = True
    seen: tuple[Any, ...] = ()
    try:
        for number, order in enumerate(_orders(group)):
            _restore(run, skb, begin)
            end = _attempt(order)
            here = _seen(end, skb, _state(run, skb))
            if first is None:
                first, seen = (_state(run, skb), end), here
            same = same and here == seen
            if isinstance(end, Undecided):
                raise end
            if not same or number >= _MOST:
                break
    finally:
        run.replaying = replayed
    if not same or number >= _MOST:
        names = " and ".join(party.name for party in group)
        undecided(
            f"{names} have the same priority at {point.hook}, and which of them runs first decides",
            f"{point.ns.name}/nft",
        )
    if first is not None:
        _restore(run, skb, first[0])
        if first[1] is not None:
            raise first[1]


def _attempt(order: Iterable[Party]) -> Ended | Undecided | None:
    try:
        _walk(order)
    except (Ended, Undecided) as end:
        return end
    return None


def _state(run: Run, skb: Skb) -> tuple[Any, ...]:
    held = skb.conn
    return (
        skb.packet,
        skb.mss,
        skb.state,
        skb.reply,
        skb.route,
        (skb.source_mac, skb.dest_mac),
        held,
        copy.copy(held),
        list(run.steps),
        list(run.answers),
        {place: dict(inside) for place, inside in run.elements.items()},
        skb.template,
        skb.ipvs,
        skb.spoiled,
        run.drawn,
    )


def _restore(run: Run, skb: Skb, state: tuple[Any, ...]) -> None:
    skb.packet, skb.mss, skb.state, skb.reply, skb.route, macs, held, conn, steps, answers, elements = state[
        :11
    ]
    skb.template, skb.ipvs, skb.spoiled, run.drawn = state[11:]
    skb.source_mac, skb.dest_mac = macs
    skb.conn = held
    if held is not None and conn is not None:
        for name in Conn.__slots__:
            setattr(held, name, getattr(conn, name))
    run.steps[:] = steps
    run.answers[:] = answers
    run.elements = {place: dict(inside) for place, inside in elements.items()}


def _seen(end: Ended | Undecided | None, skb: Skb, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """What of an order's result is the same to everybody else."""
    packet, mss, tracked, reply, route, macs, _, conn, _, answers, elements, template, _, spoiled, _ = state
    held = None if conn is None else (conn.original, conn.reply, conn.mark, conn.src_done, conn.dst_done)
    if isinstance(end, Ended) and end.verdict in (Verdict.DROPPED_BY_RULE, Verdict.DENIED):
        return (end.verdict,)
    verdict = end.verdict if isinstance(end, Ended) else end
    told = tuple(one.packet for one in answers)
    return verdict, packet, mss, tracked, reply, route, macs, held, told, elements, template, spoiled
