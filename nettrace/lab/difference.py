"""
In what two blueprints of a lab differ.

Lives here: which namespaces go and come, which lines of ip(8) and bridge(8) lead from one to the
other, which processes start anew where what they run or read is other.  Pure.
Not here: carrying it out (nettrace.lab.reconcile).
"""

from collections.abc import Container, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from nettrace.lab.blueprint import Blueprint, Daemon

__all__ = ["Difference", "difference", "end_of", "port_of"]

_UNDO = {"route add": "route del", "addr add": "addr del", "neigh replace": "neigh del"}


class Difference(Struct, frozen=True, kw_only=True):
    """What to do to come from one blueprint to another; mappings are by names under /run/netns."""

    gone: tuple[str, ...]
    made: tuple[str, ...]
    wiring: tuple[dict[str, tuple[str, ...]], ...]
    undone: dict[str, tuple[str, ...]]
    device_sysctls: dict[str, dict[str, str]]
    fdb: dict[str, tuple[str, ...]]
    ended: tuple[Daemon, ...]
    started: tuple[Daemon, ...]
    files: dict[str, str]
    dropped: tuple[str, ...]


def difference(old: Blueprint, new: Blueprint, running: Container[tuple[str, str]]) -> Difference:
    """Compare two blueprints of a lab; what is not *running*, (namespace, name), is started too.  Pure."""
    homes, wanted = ({entry.netns: entry for entry in one.namespaces} for one in (old, new))
    # A namespace that is somebody else's now (a pod that moved) is made anew.
    stays = {netns for netns, entry in wanted.items() if _same_place(homes.get(netns), entry)}
    gone = tuple(netns for netns in homes if netns not in stays)
    made = tuple(netns for netns in wanted if netns not in stays)
    renewed = {f" netns {netns}" for netns in (*gone, *made)}

    def lines(
        there: Mapping[str, tuple[str, ...]], here: Mapping[str, tuple[str, ...]]
    ) -> dict[str, tuple[str, ...]]:
        found = {}
        for netns, after in here.items():
            before = set(there.get(netns, ())) if netns in stays else set()
            ports = {port_of(line) for line in after if end_of(line) in renewed}
            fresh = tuple(
                line
                for line in after
                if line not in before or end_of(line) in renewed or port_of(line) in ports - {""}
            )
            if fresh:
                found[netns] = fresh
        return found

    was = {daemon.pid_file: daemon for daemon in old.daemons}
    now = {daemon.pid_file: daemon for daemon in new.daemons}
    same = {
        name
        for name, daemon in now.items()
        if was.get(name) == daemon
        and daemon.netns in stays
        and (daemon.netns, daemon.name) in running
        and all(old.files.get(file) == new.files.get(file) for file in daemon.reads)
    }
    undone: dict[str, tuple[str, ...]] = {}
    for stage in old.wiring:
        for netns, before in stage.items():
            after = {line for one in new.wiring for line in one.get(netns, ())}
            back = [_undo(line) for line in before if line not in after]
            if netns in stays and any(back):
                undone[netns] = (*undone.get(netns, ()), *(line for line in back if line))
    remade = {
        port_of(line)
        for stage in new.wiring
        for here in stage.values()
        for line in here
        if end_of(line) in renewed
    }
    empty: dict[str, tuple[str, ...]] = {}
    stages = [(*old.wiring, *[empty] * len(new.wiring))[index] for index in range(len(new.wiring))]
    return Difference(
        gone=gone,
        made=made,
        wiring=tuple(lines(there, here) for there, here in zip(stages, new.wiring, strict=True)),
        undone=undone,
        device_sysctls={
            netns: {
                name: value
                for name, value in values.items()
                if old.device_sysctls.get(netns, {}).get(name) != value
                or remade.intersection(name.split("."))
            }
            for netns, values in new.device_sysctls.items()
        },
        fdb=lines(old.fdb, new.fdb),
        ended=tuple(daemon for name, daemon in was.items() if name not in same),
        started=tuple(daemon for name, daemon in now.items() if name not in same),
        files={name: text for name, text in new.files.items() if old.files.get(name) != text},
        dropped=tuple(name for name in old.files if name not in new.files),
    )


def _same_place(before: Any, after: Any) -> bool:
    return before is not None and replace(before, name=after.name) == after


def end_of(line: str) -> str:
    """`` netns NAME`` of a line that makes a veth whose other end is in that namespace, else ""."""
    head, found, netns = line.rpartition(" netns ")
    return f" netns {netns}" if found and " type veth " in head else ""


def port_of(line: str) -> str:
    """The device that a line makes or sets, or leads a route to, "" for another line."""
    words = line.split()
    if words[:2] in (["link", "add"], ["link", "set"]):
        return words[2]
    return words[words.index("dev") + 1] if words[:2] == ["route", "add"] and "dev" in words else ""


def _undo(line: str) -> str:
    """The line of ip(8) that takes back another; "" for a device, which goes with its namespace."""
    for prefix, back in _UNDO.items():
        if line.startswith(prefix):
            return line.replace(prefix, back, 1)
    return ""
