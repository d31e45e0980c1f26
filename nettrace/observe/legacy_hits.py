"""
Rules of iptables-legacy put among those that nf_tables told of.

The two come by different sockets and without times, so only the hook tells their order: those of a
hook follow what nf_tables saw of the same packet there.
Not here: reading them (listener, legacy_log).
"""

from collections.abc import Mapping, Sequence

from nettrace.model.observation import Hit, LegSeen
from nettrace.observe.arming import CHAIN_KINDS
from nettrace.observe.legacy_log import verdict
from nettrace.observe.listener import LegacySeen, Listener
from nettrace.observe.recognise import Recogniser, Whose, read_packet

__all__ = ["with_legacy"]

#: Seconds after the first packet of a kind in a namespace in which it must have passed; what looks
#: the same later was sent again.
_PASSES = 0.5


def with_legacy(
    legs: Mapping[int, tuple[LegSeen, ...]], listener: Listener, recogniser: Recogniser
) -> dict[int, tuple[LegSeen, ...]]:
    """Return *legs*, by attempt, with what *listener* heard of iptables-legacy put in."""
    found: dict[tuple[int, str], list[Hit]] = {
        (attempt, leg.kind): list(leg.hits) for attempt, of_attempt in legs.items() for leg in of_attempt
    }
    told = listener.legacy()
    if not told:
        return dict(legs)
    tables: dict[str, set[str]] = {}
    for seen in told:
        tables.setdefault(seen.netns, set()).add(seen.event.table)
    chains = {netns: listener.legacy_chains(netns, names) for netns, names in tables.items()}
    for seen, whose in _first_ones(told, recogniser):
        event = seen.event
        rule, words = verdict(event, chains[seen.netns])
        if not words:
            continue
        hit = Hit(
            netns=seen.netns,
            hook=event.hook,
            family="ip6" if event.data[0] >> 4 == 6 else "ip",
            table=event.table,
            chain=event.chain,
            rule=rule,
            verdict=words,
            iif=listener.device(seen.netns, event.iif),
            oif=listener.device(seen.netns, event.oif),
            mark=event.mark,
            packet=read_packet(event.data, event.mark),
            tunnelled=whose.tunnelled,
            backend="legacy",
        )
        _insert(found.setdefault((whose.attempt, whose.kind), []), hit)
    return {
        attempt: tuple(
            LegSeen(kind=kind, hits=tuple(found[attempt, kind]))
            for kind in CHAIN_KINDS.values()
            if (attempt, kind) in found
        )
        for attempt in sorted({attempt for attempt, _ in found})
    }


def _first_ones(told: Sequence[LegacySeen], recogniser: Recogniser) -> Sequence[tuple[LegacySeen, Whose]]:
    """Leave out what is nobody's, and what was sent again."""
    first: dict[tuple[str, int, str, bool], tuple[bytes, float]] = {}
    found = []
    for seen in told:
        whose = recogniser.whose(seen.event.data, seen.event.mark)
        if whose is None:
            continue
        identification = _identification(seen.event.data)
        key = (seen.netns, whose.attempt, whose.kind, whose.tunnelled)
        its, when = first.setdefault(key, (identification, seen.when))
        if its == identification and seen.when - when < _PASSES:
            found.append((seen, whose))
    return found


def _identification(data: bytes) -> bytes:
    """
    Return what stays the same of one packet and differs between two of one kind.

    IPv4's identification; IPv6 has none, so its length, and sequence numbers and flags if it is TCP.
    """
    if data[0] >> 4 == 4:
        return data[4:6]
    tcp = data[44:54] if data[6:7] == b"\x06" else b""
    return data[4:6] + tcp


def _insert(hits: list[Hit], hit: Hit) -> None:
    """Put *hit* behind the last one of its namespace and hook, or behind all."""
    at = next(
        (
            index + 1
            for index in reversed(range(len(hits)))
            if (hits[index].netns, hits[index].hook, hits[index].tunnelled)
            == (hit.netns, hit.hook, hit.tunnelled)
        ),
        len(hits),
    )
    hits.insert(at, hit)
