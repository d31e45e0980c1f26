"""
Watch: what is being dropped right now, and what the walk says of it.

Lives here: the use case behind `nettrace watch`: reading drops at a bounded rate, naming their
places, walking their headers, tracing the rules for the next one.
Not here: which drops are alike (drop_groups), what a walk explains (nettrace.align.explain_drop).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nettrace.align.explain_drop import explain, flow_of, is_interesting
from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.drop_groups import Groups
from nettrace.app.remember import state_directory
from nettrace.collect.discover import Handle
from nettrace.kube.resolve import Ends, ends_of
from nettrace.model.dropped import DropSeen, Predicted
from nettrace.model.errors import UserError
from nettrace.model.packet import Packet
from nettrace.model.section import Known, SectionKey
from nettrace.observe.bpf import BpfError
from nettrace.observe.btf import BtfError
from nettrace.observe.drop_events import DropEvents, EventsError
from nettrace.observe.drop_filter import address_filter
from nettrace.observe.drops import IP_TYPES, Dropped, DropWatch
from nettrace.observe.headers import packet_of
from nettrace.observe.watch_rules import RuleWatch
from nettrace.walk import walk

__all__ = ["Wish", "watch"]

#: Seconds a turn takes at least, drops that are looked at in one, and lines that are told.
_TURN, _MOST_READ, _MOST_TOLD = 0.1, 2000, 10
#: Of the time, the share that walks may take, and the seconds that may be saved up for it.
_WALKING, _SAVED = 0.5, 2.0
#: Seconds after which state is read anew, the machine is searched anew for namespaces, a trace of
#: rules is given up, and more news of what was lost is told.
_FRESH, _SEARCH, _PATIENCE, _AGAIN = 1.0, 5.0, 10.0, 5.0


class Wish(Struct, frozen=True, kw_only=True):
    """
    What is asked for.

    ``target``: only packets from or to it; ``count`` drops or ``seconds`` until the end, None:
    none; ``everything``: also what nobody misses; ``confirm``: trace the rules for the next packet.
    """

    target: str | None = None
    count: int | None = None
    seconds: float | None = None
    everything: bool = False
    confirm: bool = False


def watch(
    context: Context,
    wish: Wish,
    *,
    reopen: Callable[[], Context] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[DropSeen | str]:
    """
    Yield drops as they are to be told, and sentences about what is not seen.

    *reopen* opens the same source again when a namespace turns up that it does not know; with None
    only those that are known are watched.  It ends soon after *stop* says so.
    KeyboardInterrupt is raised again after what is left was yielded.  UserError where drops cannot
    be watched at all.
    """
    if not context.live:
        raise UserError(
            f"{context.label} drops nothing now", hint="watch the node itself, or a lab with --lab"
        )
    yield from _Watch(context, wish, reopen, stop).run()


class _Watch:
    """One run."""

    def __init__(
        self,
        context: Context,
        wish: Wish,
        reopen: Callable[[], Context] | None,
        stop: Callable[[], bool],
    ) -> None:
        self._context, self._wish, self._reopen, self._stop = context, wish, reopen, stop
        self._ends = self._resolved()
        self._handles: dict[int, Handle] = {}
        self._take_handles()
        self._groups = Groups()
        self._predictions: dict[tuple[object, ...], Predicted | None] = {}
        self._devices: dict[tuple[str, int], str | None] = {}
        self._budget, self._budget_at = _SAVED, time.monotonic()
        self._state_read = self._searched = time.monotonic()
        self._lost = self._lost_told = 0
        self._lost_at = float("-inf")
        self._total = 0
        self._confirming: _Confirming | None = None
        self._confirmed: set[tuple[object, ...]] = set()

    def _resolved(self) -> Ends | None:
        target = self._wish.target
        if target is None:
            return None
        found = ask(self._context, lambda snapshot: ends_of(snapshot, target))
        if not found.addresses:
            raise UserError(f"{target} has no address to watch for", where=target)
        return found

    def _take_handles(self) -> None:
        self._handles = {handle.inode: handle for handle in self._context.handles.values() if handle.inode}

    # --- the loop ------------------------------------------------------------------------

    def run(self) -> Iterator[DropSeen | str]:
        """Watch until the wish is fulfilled or somebody interrupts."""
        with ExitStack() as stack:
            stack.callback(self._end_confirming)
            watching, note = self._begin(stack)
            if note:
                yield note
            began = time.monotonic()
            interrupted = False
            try:
                while not self._over(began):
                    turn = time.monotonic()
                    watching.wait(self._patience(began))
                    self._read(watching)
                    yield from self._news(watching)
                    time.sleep(max(0.0, min(turn + _TURN - time.monotonic(), self._patience(began))))
            except KeyboardInterrupt:
                interrupted = True
            yield from (self._traced(self._explained(one)) for one in self._groups.rest(time.monotonic()))
            if self._lost > self._lost_told:
                yield _lost_text(self._lost - self._lost_told)
            if interrupted:
                raise KeyboardInterrupt

    def _begin(self, stack: ExitStack) -> tuple[DropWatch | DropEvents, str]:
        wanted = address_filter(sorted(self._ends.addresses)) if self._ends is not None else None
        inodes = None if self._reopen is not None else tuple(self._handles)
        try:
            return stack.enter_context(DropWatch(wanted, inodes)), ""
        except (BpfError, BtfError) as error:
            why = str(error)
        if self._ends is None and self._reopen is not None:
            try:
                events = stack.enter_context(DropEvents())
            except EventsError as error:
                why = f"{why}; {error}"
            else:
                lost = "reasons are all that is seen: not which packet, and not in which namespace"
                return events, f"{lost} ({why})"
        raise UserError(
            f"drops cannot be watched here: {why}",
            hint="that needs CAP_BPF and CAP_PERFMON, as root has them, and a kernel with BTF;"
            " `nettrace doctor` tells",
        )

    def _over(self, began: float) -> bool:
        wish = self._wish
        if wish.count is not None and self._total >= wish.count:
            return True
        if self._stop():
            return True
        return wish.seconds is not None and time.monotonic() >= began + wish.seconds

    def _patience(self, began: float) -> float:
        if self._wish.seconds is None:
            return 2 * _TURN
        return max(0.0, min(2 * _TURN, began + self._wish.seconds - time.monotonic()))

    def _read(self, watching: DropWatch | DropEvents) -> None:
        for dropped in watching.read(_MOST_READ):
            if self._wish.count is not None and self._total >= self._wish.count:
                return
            seen = self._seen(dropped)
            if seen is not None:
                self._total += 1
                self._groups.add(seen)
        self._lost += watching.lost()

    def _news(self, watching: DropWatch | DropEvents) -> Iterator[DropSeen | str]:
        now = time.monotonic()
        for seen in self._groups.due(now, _MOST_TOLD):
            told = self._explained(seen)
            yield self._traced(told)
            yield from self._trace_next(told)
        if self._confirming is not None and time.monotonic() >= self._confirming.until:
            yield f"no further packet {self._confirming.what} came within {_PATIENCE:.0f} s to trace"
            self._end_confirming()
        if self._lost > self._lost_told and now - self._lost_at >= _AGAIN:
            yield _lost_text(self._lost - self._lost_told)
            self._lost_told, self._lost_at = self._lost, now

    # --- one drop ------------------------------------------------------------------------

    def _seen(self, dropped: Dropped) -> DropSeen | None:
        """Give a drop its names; None for what was not asked for."""
        if not dropped.header and not dropped.inodes:
            return self._nameless(dropped)
        packet = packet_of(dropped.header, dropped.mark) if dropped.ethertype in IP_TYPES else None
        if packet is None or (self._ends is not None and not _concerns(packet, self._ends)):
            return None
        if not self._wish.everything and not is_interesting(dropped.reason, dropped.function, packet):
            return None
        handle = self._handle(dropped.inodes)
        if handle is None and self._reopen is None:
            return None
        netns = handle.name if handle is not None else ""
        if handle is None and dropped.inodes:
            netns = f"net:[{dropped.inodes[0]}]"
        iif: str | None = None
        if dropped.iif:
            iif = dropped.device if dropped.iif == dropped.ifindex else self._device(netns, dropped.iif)
        return DropSeen(
            time=time.time() - (time.monotonic() - dropped.time),
            netns=netns,
            node=(handle.node or handle.name) if handle is not None else "",
            device=dropped.device or None,
            iif=iif or None,
            sent=not dropped.iif,
            reason=dropped.reason,
            function=dropped.function,
            packet=packet,
        )

    def _nameless(self, dropped: Dropped) -> DropSeen | None:
        if dropped.ethertype not in IP_TYPES:
            return None
        return DropSeen(
            time=time.time() - (time.monotonic() - dropped.time),
            netns="",
            node="",
            device=None,
            iif=None,
            sent=False,
            reason=dropped.reason,
            function=dropped.function,
            packet=None,
        )

    def _handle(self, inodes: tuple[int, ...]) -> Handle | None:
        """Return the first namespace that is known, after a new search of the machine if none is."""
        found = next((self._handles[inode] for inode in inodes if inode in self._handles), None)
        if found is None and self._reopen is not None and time.monotonic() - self._searched > _SEARCH:
            old, self._context = self._context, self._reopen()
            old.close()
            self._take_handles()
            self._devices.clear()
            self._searched = self._state_read = time.monotonic()
            found = next((self._handles[inode] for inode in inodes if inode in self._handles), None)
        return found

    def _device(self, netns: str, index: int) -> str | None:
        """Return a device's name; read once for each number."""
        if (netns, index) not in self._devices:
            if netns in self._context.handles:
                self._context.read([SectionKey(netns, "links")])
                links = self._context.snapshot.namespaces[netns].links
                for link in links.value if isinstance(links, Known) else ():
                    self._devices[netns, link.index] = link.name
            self._devices.setdefault((netns, index), None)
        return self._devices[netns, index]

    # --- what the walk says --------------------------------------------------------------

    def _explained(self, seen: DropSeen) -> DropSeen:
        """Add what the walk says, as far as there is time for walks."""
        what = _what(seen)
        now = time.monotonic()
        self._budget = min(_SAVED, self._budget + (now - self._budget_at) * _WALKING)
        self._budget_at = now
        if self._budget > 0 and seen.netns in self._context.handles and seen.packet is not None:
            self._predictions[what] = self._predict(seen, seen.packet)
            self._budget -= time.monotonic() - now
            if len(self._predictions) > _MOST_READ:
                self._predictions.clear()
        return replace(seen, predicted=self._predictions.get(what))

    def _predict(self, seen: DropSeen, packet: Packet) -> Predicted | None:
        if not seen.sent and (seen.iif or seen.device) is None:
            return None
        if time.monotonic() - self._state_read > _FRESH:
            self._context = self._context.again()
            self._state_read = time.monotonic()
        flow = flow_of(seen, packet)
        return explain(ask(self._context, lambda snapshot: walk(snapshot, flow)), seen)

    # --- tracing the next one ------------------------------------------------------------

    def _traced(self, seen: DropSeen) -> DropSeen:
        """Add the rule that dropped this packet, if its trace was waited for."""
        running = self._confirming
        if running is None or _what(seen) != running.kind:
            return seen
        hit = running.watching.dropped_by()
        if hit is None:
            return seen
        self._end_confirming()
        return replace(seen, confirmed=hit)

    def _trace_next(self, seen: DropSeen) -> Iterator[str]:
        """Begin to trace rules for the next packet like this one; one trace at a time, one for each kind."""
        what, packet = _what(seen), seen.packet
        if not self._wish.confirm or self._confirming is not None or what in self._confirmed:
            return
        if packet is None or seen.reason != "NETFILTER_DROP" or seen.netns not in self._context.handles:
            return
        self._confirmed.add(what)
        paths = {seen.netns: self._context.path(seen.netns)}
        watching = RuleWatch(paths, packet, journal=state_directory() / "journal")
        watching.__enter__()
        if watching.armed:
            until = time.monotonic() + _PATIENCE
            self._confirming = _Confirming(what, f"{packet.ends()} in {seen.netns}", watching, until)
        else:
            watching.__exit__(None, None, None)
            yield from watching.notes

    def _end_confirming(self) -> None:
        if self._confirming is not None:
            self._confirming.watching.__exit__(None, None, None)
            self._confirming = None


class _Confirming(NamedTuple):
    """A trace of rules that waits for a packet."""

    kind: tuple[object, ...]
    what: str
    watching: RuleWatch
    until: float


def _what(seen: DropSeen) -> tuple[object, ...]:
    packet = seen.packet
    ends = (packet.src, packet.dst, packet.proto, packet.tcp_flags) if packet is not None else ()
    return (seen.netns, seen.iif, seen.reason, seen.function, *ends)


def _concerns(packet: Packet, ends: Ends) -> bool:
    """Is the packet, or one that it carries, from or to these ends?"""
    if packet.inner is not None and _concerns(packet.inner, ends):
        return True
    if ends.proto is not None and packet.proto.removesuffix("v6") != ends.proto.removesuffix("v6"):
        return False
    return any(
        address in ends.addresses and (not ends.ports or (port is not None and port.lo in ends.ports))
        for address, port in ((packet.src, packet.sport), (packet.dst, packet.dport))
    )


def _lost_text(count: int) -> str:
    return f"{count} more drops came faster than they could be looked at"
