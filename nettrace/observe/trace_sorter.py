"""
The kernel's trace events of a probe, sorted into attempts, legs and hits.

Lives here: whose packet an event is about, and at which hook.  Of each kind of packet the first
counts: what is sent again meets other rules, since its connection is known by then.
Not here: making the kernel tell (arming, listener), reading one event (trace_event), the
connections (rule_trace).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.observation import Hit, LegSeen
from nettrace.model.packet import Packet, PortRange
from nettrace.observe.arming import ARMING, CHAIN_KINDS, CHECKPOINTS, ENDS, TABLE
from nettrace.observe.listener import ChainKey, Listener, Seen
from nettrace.observe.trace_event import TraceEvent

__all__ = ["Sorter"]


class _Whose(NamedTuple):
    """Which packet an event is about; not *counts*: not the first of its kind."""

    attempt: int
    kind: str
    tunnelled: bool
    counts: bool


class _Looks(NamedTuple):
    """What tells one packet from others of its kind: the id survives NAT, ports tell where it is 0."""

    ip_id: int
    src: str
    dst: str
    sport: PortRange | None
    dport: PortRange | None


class _Place:
    """What is known of one namespace while its events are read."""

    def __init__(self) -> None:
        self.packets: dict[int, _Whose | None] = {}  # by the id of the trace; None: not of the probe
        self.hooks: dict[int, str] = {}
        self.armed: set[int] = set()  # those whose arming chain is not left yet
        self.latest: dict[tuple[int, str, bool], _Whose] = {}
        self.last: _Whose | None = None
        self.looks: dict[_Whose, _Looks] = {}  # as it was seen last
        self.passed: set[tuple[object, ...]] = set()


class Sorter:
    """Sorts the events of one batch of attempts; *table* is the probe's own."""

    def __init__(
        self, listener: Listener, table: str, proto: str, tags: Sequence[bytes], replies: Sequence[Packet]
    ) -> None:
        self._listener, self._table = listener, table
        self._proto, self._tags = proto, tags
        self._answers = {(one.src, one.dst) for one in replies}
        self._places: dict[str, _Place] = {}
        self._hits: dict[int, dict[str, list[Hit]]] = {}
        self._sequence = (
            {int.from_bytes(tag, "big"): n for n, tag in enumerate(tags)} if proto == "tcp" else {}
        )

    def take(self, seen: Seen) -> None:
        """Sort one event."""
        event = seen.event
        place = self._places.setdefault(seen.netns, _Place())
        if event.table == self._table:
            self._ours(seen.netns, place, event)
            return
        if event.table.startswith(TABLE):
            return  # of another probe
        whose = self._whose(place, event)
        if whose is not None and whose.counts and event.verdict:
            self._hit(seen.netns, place, event, whose)

    def _ours(self, netns: str, place: _Place, event: TraceEvent) -> None:
        """An event of the own table: a packet is recognised, or passes a hook."""
        name = event.chain
        armed = _jumped_to(event)
        if armed:
            # Traced before already, over lo: the rule that jumps there tells it.
            self._arrival(netns, place, event._replace(chain=armed))
            return
        if name not in CHECKPOINTS and name not in ENDS:
            if event.id not in place.armed and event.packet is not None and name[1:].isdigit():
                self._arrival(netns, place, event)
            return
        if event.id in place.armed:
            if event.verdict.startswith("policy"):
                place.armed.discard(event.id)
            return  # of this hook the arrival told
        if name in ARMING:
            place.packets[event.id] = None  # traced for somebody else
        whose = self._whose(place, event)
        place.hooks[event.id] = ENDS.get(name, name)
        if whose is not None and whose.counts and event.packet is not None:
            self._passed(netns, place, event, whose)

    def _arrival(self, netns: str, place: _Place, event: TraceEvent) -> None:
        packet = event.packet
        if packet is None:
            return
        attempt, kind = int(event.chain[1:]), CHAIN_KINDS[event.chain[0]]
        tunnelled = self._is_tunnelled(event, kind)
        hook = "output" if event.oif and not event.iif else "prerouting"
        again = (attempt, kind, tunnelled, hook, event.iif, packet.src, packet.dst, packet.dport, packet.ttl)
        whose = _Whose(attempt, kind, tunnelled, counts=again not in place.passed)
        place.passed.add(again)
        place.looks[whose] = _looks(event)
        place.armed.add(event.id)
        place.packets[event.id] = place.last = place.latest[attempt, kind, tunnelled] = whose
        place.hooks[event.id] = hook
        if whose.counts:
            self._passed(netns, place, event, whose)

    def _is_tunnelled(self, event: TraceEvent, kind: str) -> bool:
        """Is the probe's packet inside this one?"""
        packet = event.packet
        if packet is None:
            return False
        if kind == "error":
            return not packet.is_icmp_error
        if packet.proto != self._proto:
            return True
        if self._proto != "udp":
            return False
        if kind == "reply":
            return (packet.src, packet.dst) not in self._answers
        return all(not event.payload.startswith(tag[: len(event.payload)]) for tag in self._tags)

    def _whose(self, place: _Place, event: TraceEvent) -> _Whose | None:
        """
        Tell whose packet an event is about.

        The kernel's id changes where a bridge hands a packet to its own device
        (nft_trace_init(), net/netfilter/nf_tables_trace.c), and a later packet may get it again:
        then the header tells.
        """
        if event.packet is not None:
            told = self._by_header(place, event)
            known = place.packets.get(event.id)
            another = known is not None and _is_another(place.looks[known], _looks(event))
            if told is not None:
                place.packets[event.id] = told
            elif another or event.id not in place.packets:
                place.packets.pop(event.id, None)
                for whose in (place.last, *reversed(place.looks)):
                    if whose is not None and self._may_be(place, whose, event):
                        place.packets[event.id] = whose
                        break
        found = place.packets.get(event.id)
        if found is not None and event.packet is not None:
            place.looks[found] = _looks(event)
        return found

    def _may_be(self, place: _Place, whose: _Whose, event: TraceEvent) -> bool:
        """May this be the packet of *whose*, seen under another id?  Other probes have theirs on the way."""
        packet, before, looks = event.packet, place.looks.get(whose), _looks(event)
        if packet is None or before is None:
            return False
        if looks.ip_id != before.ip_id or (not looks.ip_id and looks != before):
            return False
        if whose.tunnelled or whose.kind == "error":
            return packet.proto != "tcp"
        return packet.proto == self._proto != "tcp"  # of TCP the header tells

    def _by_header(self, place: _Place, event: TraceEvent) -> _Whose | None:
        if self._proto != "tcp" or event.packet is None or event.packet.proto != "tcp":
            return None
        number = self._sequence.get(event.sequence)
        if number is not None:
            return place.latest.get((number, "request", False))
        number = self._sequence.get((event.sequence - 1) & 0xFFFFFFFF)
        if number is not None:
            return place.latest.get((number, "ack", False))
        number = self._sequence.get((event.acknowledged - 1) & 0xFFFFFFFF)
        return place.latest.get((number, "reply", False)) if number is not None else None

    def _passed(self, netns: str, place: _Place, event: TraceEvent, whose: _Whose) -> None:
        self._add(netns, place, event, whose, family="", table="", chain="", verdict="seen")

    def _hit(self, netns: str, place: _Place, event: TraceEvent, whose: _Whose) -> None:
        self._add(
            netns,
            place,
            event,
            whose,
            family=event.family,
            table=event.table,
            chain=event.chain,
            verdict=event.verdict,
        )

    def _add(
        self,
        netns: str,
        place: _Place,
        event: TraceEvent,
        whose: _Whose,
        *,
        family: str,
        table: str,
        chain: str,
        verdict: str,
    ) -> None:
        hit = Hit(
            netns=netns,
            hook=place.hooks.get(event.id, ""),
            family=family,
            table=table,
            chain=chain,
            handle=event.handle if table else None,
            verdict=verdict,
            iif=self._listener.device(netns, event.iif),
            oif=self._listener.device(netns, event.oif),
            mark=event.mark,
            packet=event.packet,
            tunnelled=whose.tunnelled,
        )
        self._hits.setdefault(whose.attempt, {}).setdefault(whose.kind, []).append(hit)

    def legs(self) -> dict[int, tuple[LegSeen, ...]]:
        """Return the legs by attempt, with the rules' positions instead of only their handles."""
        every = [hit for kinds in self._hits.values() for hits in kinds.values() for hit in hits]
        positions: dict[str, dict[ChainKey, tuple[int, ...]]] = {}
        for netns in {hit.netns for hit in every}:
            chains = {
                (hit.family, hit.table, hit.chain) for hit in every if hit.netns == netns and hit.handle
            }
            positions[netns] = self._listener.handles(netns, chains)
        return {
            attempt: tuple(
                LegSeen(kind=kind, hits=tuple(_placed(hit, positions[hit.netns]) for hit in kinds[kind]))
                for kind in CHAIN_KINDS.values()
                if kind in kinds
            )
            for attempt, kinds in self._hits.items()
        }


def _jumped_to(event: TraceEvent) -> str:
    """Return the chain of a kind of packet that a rule of the own table sends a packet to."""
    verdict, _, chain = event.verdict.partition(" ")
    is_kind = chain[:1] in CHAIN_KINDS and chain[1:].isdigit()
    return chain if event.packet is not None and verdict == "jump" and is_kind else ""


def _is_another(before: _Looks, now: _Looks) -> bool:
    """Is this certainly another packet?  Where there is no id, NAT may have changed the rest."""
    return bool(before.ip_id and now.ip_id and before.ip_id != now.ip_id)


def _looks(event: TraceEvent) -> _Looks:
    packet = event.packet
    if packet is None:
        return _Looks(event.ip_id, "", "", None, None)
    return _Looks(event.ip_id, packet.src, packet.dst, packet.sport, packet.dport)


def _placed(hit: Hit, positions: Mapping[ChainKey, tuple[int, ...]]) -> Hit:
    if hit.handle is None:
        return replace(hit, rule=0) if hit.verdict.startswith("policy") else hit
    handles = positions.get((hit.family, hit.table, hit.chain), ())
    return replace(hit, rule=handles.index(hit.handle) + 1) if hit.handle in handles else hit
