"""
Packets that the kernel drops, as they are dropped.

Lives here: running the program (drop_program) at kfree_skb while something is watched, and reading
what it took down.
Not here: which are a probe's (drop_filter), another way of watching (drop_events), what a drop means
(nettrace.align.drops).
Source: include/trace/events/skb.h (kfree_skb).
"""

import socket
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from nettrace.observe.bpf import Bpf, BpfError, Ring
from nettrace.observe.btf import BtfError
from nettrace.observe.drop_filter import Filter
from nettrace.observe.drop_layout import Layout, kernel_layout
from nettrace.observe.drop_program import KEY_BYTES, RECORD, Maps, drop_program
from nettrace.observe.symbols import function_at

__all__ = ["IP_TYPES", "DropWatch", "Dropped", "now", "unavailable"]

#: Of Ethernet: IPv4 and IPv6.
IP_TYPES = frozenset({0x0800, 0x86DD})

_RING = 4 << 20  # bytes
_TRACEPOINT = "kfree_skb"
#: Inodes of namespaces are numbered from here down (fs/proc/generic.c, include/linux/proc_ns.h).
_LEAST_INODE = 0xEFFFFF00


class Dropped(NamedTuple):
    """
    One packet that was dropped.

    ``time`` is that of time.monotonic().  ``inodes`` are its namespaces: that of the socket that was
    to receive it, of its device, of the socket that sent it, of its route, where there are such.
    ``device`` is where it was last, ``iif`` the index of the device that it came in by, 0 for one
    that was made here.  ``header`` begins at the network header.
    """

    time: float
    inodes: tuple[int, ...]
    device: str
    ifindex: int
    iif: int
    ethertype: int
    mark: int
    length: int
    sent_here: bool
    reason: str
    function: str
    header: bytes


class DropWatch:
    """
    Watches from entering until leaving; the kernel forgets it all when the process dies.

    *inodes* are those of the namespaces whose drops are wanted, None for all.  Entering raises
    BpfError or BtfError where the kernel does not allow it or does not describe itself.
    """

    def __init__(self, wanted: Filter | None = None, inodes: Collection[int] | None = None) -> None:
        self._wanted, self._inodes = wanted, inodes
        self._stack = ExitStack()
        self._bpf: Bpf | None = None
        self._ring: Ring | None = None
        self._lost_map = -1
        self._lost_before = 0
        self._layout: Layout | None = None

    def __enter__(self) -> Self:
        self._layout = layout = kernel_layout()
        with ExitStack() as stack:
            bpf = stack.enter_context(Bpf())
            ring = bpf.ring(_RING)
            stack.callback(ring.close)
            lost = bpf.array(8, 1)
            keys = namespaces = None
            if self._wanted is not None and self._wanted.places:
                keys = bpf.hash(KEY_BYTES, 4, len(self._wanted.keys))
                for one in self._wanted.keys:
                    bpf.put(keys, one, bytes(4))
            if self._inodes is not None:
                namespaces = bpf.hash(4, 4, len(self._inodes))
                for inode in self._inodes:
                    bpf.put(namespaces, inode.to_bytes(4, "little"), bytes(4))
            places = self._wanted.places if self._wanted is not None else ()
            bpf.attach(
                _TRACEPOINT, drop_program(layout, Maps(ring.descriptor, lost, keys, namespaces), places)
            )
            self._stack = stack.pop_all()
        self._bpf, self._ring, self._lost_map = bpf, ring, lost
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._bpf = self._ring = None

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to read."""
        return self._ring is not None and self._ring.wait(seconds)

    def read(self, most: int | None = None) -> Iterator[Dropped]:
        """Yield what was dropped since the last call, at most *most* of it, in the order of time."""
        if self._ring is None or self._layout is None:
            return
        found = [_decoded(record, self._layout) for record in self._ring.read(most)]
        yield from sorted(found, key=lambda one: one.time)

    def lost(self) -> int:
        """Return how many drops did not fit into the ring buffer since the last call."""
        if self._bpf is None:
            return 0
        total = int.from_bytes(self._bpf.get(self._lost_map, bytes(4), 8), "little")
        fresh, self._lost_before = total - self._lost_before, total
        return fresh


def _decoded(record: bytes, layout: Layout) -> Dropped:
    (
        nanoseconds,
        location,
        reason,
        length,
        mark,
        ifindex,
        iif,
        of_device,
        of_socket,
        of_receiver,
        of_route,
        network,
        tail,
        ethertype,
        has_socket,
        name,
    ) = RECORD.unpack_from(record)
    inodes = (of_receiver, of_device, of_socket, of_route)
    device = name.split(b"\0", 1)[0]
    # Queues of sockets keep other things where the device stood (struct sk_buff: rbnode, dev_scratch).
    there = of_device >= _LEAST_INODE and device.isascii()
    return Dropped(
        time=nanoseconds / 1e9,
        inodes=tuple(dict.fromkeys(one for one in inodes if one >= _LEAST_INODE)),
        device=device.decode() if there else "",
        ifindex=ifindex if there else 0,
        iif=iif,
        ethertype=socket.ntohs(ethertype),
        mark=mark,
        length=length,
        sent_here=bool(has_socket) and not iif,
        reason=layout.reasons.get(reason, str(reason)),
        function=function_at(location),
        header=record[RECORD.size :][: max(tail - network, 0)],
    )


def unavailable() -> str:
    """Return why drops cannot be watched here; "" if they can."""
    try:
        with DropWatch(Filter((), frozenset()), inodes=(1,)):
            return ""
    except (BpfError, BtfError) as error:
        return str(error)


def now() -> float:
    """Return the time that ``Dropped.time`` is in."""
    return time.monotonic()
