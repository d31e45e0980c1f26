"""
Where the kernel dropped the packets of a probe.

Lives here: watching drops while connections are made, and sorting them by attempt and leg.
Not here: the watch itself (drops), comparing with a walk (nettrace.align.drops).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from nettrace.collect.netns import netns_inode
from nettrace.model.observation import Drop, Observed
from nettrace.model.packet import Packet
from nettrace.observe.bpf import BpfError
from nettrace.observe.btf import BtfError
from nettrace.observe.drop_events import DropEvents, EventsError
from nettrace.observe.drop_filter import ProbeFilter
from nettrace.observe.drops import IP_TYPES, DropWatch, now
from nettrace.observe.headers import packet_of

__all__ = ["ProbeDrops"]

#: Reasons that a note lists.
_MOST_NAMED = 5


class ProbeDrops:
    """
    Watches from entering until added_to().

    *namespaces*: name -> path, by which namespaces are named; a drop elsewhere has the namespace's
    number.
    """

    def __init__(
        self,
        proto: str,
        version: int,
        tags: Sequence[bytes],
        replies: Sequence[Packet],
        namespaces: Mapping[str, str],
    ) -> None:
        self._filter = ProbeFilter(proto, version, tags, replies)
        self._names: dict[int, str] = {}
        for name, path in namespaces.items():
            try:
                self._names[netns_inode(path)] = name
            except OSError:
                continue  # gone: entering it will say so
        self._stack = ExitStack()
        self._watch: DropWatch | None = None
        self._events: DropEvents | None = None
        self._why = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        try:
            self._watch = self._stack.enter_context(DropWatch(self._filter.filter()))
        except (BpfError, BtfError) as error:
            self._why = str(error)
            try:
                self._events = self._stack.enter_context(DropEvents())
            except EventsError as further:
                self._why = f"{error}; {further}"
        self._began = now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._watch = self._events = None

    @property
    def watching(self) -> bool:
        """Are drops seen with their packets?"""
        return self._watch is not None

    def added_to(self, observed: Observed) -> Observed:
        """Return *observed* with what was dropped until now."""
        if self._watch is None:
            return replace(observed, notes=(*observed.notes, self._reasons_alone()))
        found: dict[int, dict[tuple[object, ...], Drop]] = {}
        for attempt, drop in self._drops(self._watch):
            same = found.setdefault(attempt, {})
            what = (drop.leg, drop.netns, drop.device, drop.reason, drop.function, drop.tunnelled)
            before = same.get(what)
            same[what] = replace(before, count=before.count + 1) if before is not None else drop
        notes = observed.notes
        lost = self._watch.lost()
        if lost:
            notes = (*notes, f"{lost} drops were more than could be taken down")
        return replace(
            observed,
            attempts=tuple(
                replace(attempt, drops=tuple(found.get(number, {}).values()))
                for number, attempt in enumerate(observed.attempts)
            ),
            drops_watched=not lost,
            notes=notes,
        )

    def _reasons_alone(self) -> str:
        """Say what is lost without BPF, and what there is instead."""
        if self._events is None:
            return f"where the kernel drops packets, and why, was not watched: {self._why}"
        counted = Counter(
            f"{one.reason} ({one.function})" for one in self._events.read() if one.ethertype in IP_TYPES
        )
        listed = ", ".join(f"{what} {count} times" for what, count in counted.most_common(_MOST_NAMED))
        return (
            f"where the probe's packets were dropped was not watched: {self._why}; "
            f"of all packets of this machine meanwhile: {listed or 'none was dropped'}"
        )

    def _drops(self, watch: DropWatch) -> list[tuple[int, Drop]]:
        found = []
        for one in watch.read():
            whose = self._filter.whose(one.header)
            if whose is None:
                continue
            inode = next((inode for inode in one.inodes if inode in self._names), None)
            name = self._names[inode] if inode is not None else ""
            if inode is None and one.inodes:
                name = f"net:[{one.inodes[0]}]"
            drop = Drop(
                leg=whose.kind,
                netns=name,
                device=one.device or None,
                reason=one.reason,
                function=one.function,
                packet=packet_of(one.header, one.mark),
                time=max(one.time - self._began, 0.0),
                tunnelled=whose.tunnelled,
            )
            found.append((whose.attempt, drop))
        return found
