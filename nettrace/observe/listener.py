"""
Listening to the rule traces of several namespaces at once.

Lives here: opening a namespace for watching (sockets, table, device names), and where the rules
that were met stand in their chains.
Not here: the thread that empties the sockets (drain), which packets (arming), the log of
iptables-legacy (legacy_log), what the events mean (trace_sorter).
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from nettrace.collect.failure import CollectError
from nettrace.collect.modules import has_module
from nettrace.collect.netns import Worker
from nettrace.collect.wire import NETLINK_NETFILTER, NetlinkSocket, attribute, attributes, be64, nfgenmsg
from nettrace.journal.book import DIRECTORY
from nettrace.model.errors import UserError
from nettrace.observe.drain import Drain, refusal
from nettrace.observe.legacy_log import (
    LegacyChain,
    LegacyEvent,
    LegacyLog,
    decode_log,
    has_legacy,
    legacy_chains,
)
from nettrace.observe.trace_event import TraceEvent, decode_events

__all__ = ["ChainKey", "LegacySeen", "Listener", "Seen"]

_GETRULE = 10 << 8 | 7
_RULE_HANDLE = 3
_NFNLGRP_NFTRACE = 9
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
_BUFFER = 8 << 20  # bytes
_NUMBERS = {"inet": 1, "ip": 2, "netdev": 5, "bridge": 7, "ip6": 10}

#: family, table, chain
ChainKey = tuple[str, str, str]


#: the socket of the trace, the owner of the table, iptables-legacy's log, device names by index
_Entered: TypeAlias = tuple[socket.socket, socket.socket, LegacyLog | None, dict[int, str]]


class Seen(NamedTuple):
    """An event, and the namespace it happened in."""

    netns: str
    event: TraceEvent


class LegacySeen(NamedTuple):
    """A rule of iptables-legacy that was met, the namespace, and when it was read (time.monotonic)."""

    netns: str
    event: LegacyEvent
    when: float


class _Open(NamedTuple):
    """One watched namespace."""

    worker: Worker
    trace: socket.socket
    owner: socket.socket
    legacy: LegacyLog | None
    devices: dict[int, str]


class Listener:
    """
    Watches from entering until leaving; the kernel forgets it all when the process dies.

    *namespaces* is name -> path; *arm* is called in each and returns the socket that owns the
    table there.  ``watched`` are the namespaces where that could be done, ``notes`` say why not
    in the others.  Where iptables-legacy has tables of this IP *version*, a sysctl is borrowed,
    which is written down below *journal*, the journal's directory.
    """

    def __init__(
        self,
        namespaces: Mapping[str, str],
        arm: Callable[[], socket.socket],
        *,
        version: int = 4,
        journal: Path = DIRECTORY,
    ) -> None:
        self._namespaces, self._arm = namespaces, arm
        self._version, self._journal = version, journal
        self._open: dict[str, _Open] = {}
        self._raw: list[tuple[str, bytes]] = []
        self._logged: list[tuple[str, bytes, float]] = []
        self._drain = Drain("rule trace")
        self._lost: set[str] = set()
        self._why: dict[str, list[str]] = {}

    @property
    def watched(self) -> tuple[str, ...]:
        """The namespaces that are watched."""
        return tuple(self._open)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is not seen."""
        said = [
            f"the rules that the probe met in {', '.join(names)} were not watched: {reason}"
            for reason, names in self._why.items()
        ]
        said += [f"{name}: the kernel had more to tell than was read in time" for name in sorted(self._lost)]
        return tuple(said)

    def __enter__(self) -> Self:
        if not has_module("nf_tables"):
            self._why["nf_tables is not loaded, so there are no rules of it"] = list(self._namespaces)
            return self
        workers = {name: Worker(path) for name, path in self._namespaces.items()}
        try:
            # All at once: each waits for the kernel, not for the others.
            entered = {name: worker.submit(self._enter_one, worker.path) for name, worker in workers.items()}
            for name, future in entered.items():
                self._watch(name, workers[name], future)
        except BaseException:
            self._close()
            raise
        self._drain.start(self._readers())
        return self

    def _watch(self, name: str, worker: Worker, entered: Future[_Entered]) -> None:
        try:
            trace, owner, legacy, devices = entered.result()
        except CollectError as error:
            reason = error.reason
        except UserError as error:
            reason = error.what
        except OSError as error:
            reason = refusal(error)
        else:
            self._open[name] = _Open(worker, trace, owner, legacy, devices)
            return
        worker.close()
        self._why.setdefault(reason, []).append(name)

    def _enter_one(self, path: str) -> _Entered:
        trace = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        legacy: LegacyLog | None = None
        try:
            trace.setblocking(False)
            trace.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            trace.bind((0, 0))
            trace.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTRACE)
            if has_legacy(self._version):
                # One bit of the packet serves both; without this, theirs end in the machine's log.
                legacy = LegacyLog.open(self._version, path, self._journal)
            return trace, self._arm(), legacy, dict(socket.if_nameindex())
        except BaseException:
            if legacy is not None:
                legacy.close()
            trace.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._drain.stop()
        open_ = list(self._open.values())
        # The kernel waits for its other CPUs before it removes a table.
        for future in [one.worker.submit(one.owner.close) for one in open_]:
            future.result()
        # Only then: what is still traced must not end in the machine's log.
        failed: list[OSError] = []
        for one in open_:
            one.trace.close()
            if one.legacy is not None:
                try:
                    one.worker.run(one.legacy.close)
                except OSError as error:
                    failed.append(error)
            one.worker.close()
        if failed:
            raise failed[0]

    def _readers(self) -> Iterator[tuple[socket.socket, Callable[[], None]]]:
        for name, one in self._open.items():
            yield one.trace, partial(self._read, one.trace, name, is_log=False)
            if one.legacy is not None:
                yield one.legacy.sock, partial(self._read, one.legacy.sock, name, is_log=True)

    def _read(self, sock: socket.socket, name: str, *, is_log: bool) -> None:
        while True:
            try:
                data = sock.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost.add(name)
                continue
            when = self._drain.heard()
            if is_log:
                self._logged.append((name, data, when))
            else:
                self._raw.append((name, data))

    def settle(self) -> tuple[Seen, ...]:
        """Wait until nothing comes any more, and stop; return what came, in order per namespace."""
        self._drain.settle()
        return tuple(Seen(name, event) for name, data in tuple(self._raw) for event in decode_events(data))

    def legacy(self) -> tuple[LegacySeen, ...]:
        """Return which rules of iptables-legacy were met, once settled: per namespace in order."""
        return tuple(
            LegacySeen(name, event, when)
            for name, data, when in tuple(self._logged)
            for event in decode_log(data)
        )

    def legacy_chains(self, netns: str, tables: Iterable[str]) -> dict[tuple[str, str], LegacyChain]:
        """Return what stands in the chains of iptables-legacy's *tables*."""
        return self._open[netns].worker.run(legacy_chains, self._version, frozenset(tables))

    def device(self, netns: str, index: int) -> str | None:
        """Return the name of a device."""
        return self._open[netns].devices.get(index) if index else None

    def handles(self, netns: str, chains: Iterable[ChainKey]) -> dict[ChainKey, tuple[int, ...]]:
        """Return the handles of the rules of *chains*, in order; none of a chain that is gone."""
        return self._open[netns].worker.run(_handles, frozenset(chains))


def _handles(chains: frozenset[ChainKey]) -> dict[ChainKey, tuple[int, ...]]:
    found: dict[ChainKey, tuple[int, ...]] = {}
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        for family, table, chain in chains:
            body = nfgenmsg(_NUMBERS.get(family, 0)) + _string(1, table) + _string(2, chain)
            try:
                rules = netfilter.dump(_GETRULE, body)
            except (OSError, CollectError):
                continue
            found[family, table, chain] = tuple(be64(attributes(rule, 4)[_RULE_HANDLE]) for rule in rules)
    return found


def _string(kind: int, text: str) -> bytes:
    return attribute(kind, struct.pack(f"{len(text) + 1}s", text.encode()))
