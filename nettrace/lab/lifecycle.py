"""
Labs from ``up`` to ``down``.

Lives here: what is written before and after, and that nothing stays behind when building
fails, is interrupted, or is killed: the record names every namespace before the first is made.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from msgspec.structs import replace

from nettrace.lab import store
from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.build import build, ensure_bridge_netfilter, ensure_modules, write_files
from nettrace.lab.ipvs import ensure_ipvs
from nettrace.lab.names import check_lab_name
from nettrace.lab.teardown import leftovers, tear_down
from nettrace.lab.tools import IPTABLES_RESTORE, need_tools
from nettrace.lab.topologies import describer
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord

__all__ = ["down", "up"]


def up(
    topology: str,
    *,
    name: str | None = None,
    nodes: int = 2,
    manifests: Path | None = None,
    pod_cidr: str = Options().pod_cidr,
    service_cidr: str = Options().service_cidr,
    node_net: str = Options().node_net,
    docker_net: str = Options().docker_net,
    publish: int = Options().publish,
    proxy: str = Options().proxy,
    progress: Callable[[str], None] | None = None,
) -> LabRecord:
    """
    Build a lab and return its record.

    Without *name* it gets the first free of ``lab1``, ``lab2`` ...  The others are the fields
    of blueprint.Options.  *progress* is called with a few words before each stage.  UserError
    if it cannot be built; then, and when interrupted, nothing of it is left.
    """
    say = progress or (lambda _: None)
    _need_root("building a lab")
    describe = describer(topology)
    options = Options(
        nodes=nodes,
        manifests=manifests,
        pod_cidr=pod_cidr,
        service_cidr=service_cidr,
        node_net=node_net,
        docker_net=docker_net,
        publish=publish,
        proxy=proxy,
    )
    need_tools(("ip", "bridge", IPTABLES_RESTORE))
    with _interruptible():
        name, root = _claim(name)
        try:
            return _build(name, root, topology, describe(name, root, options), say)
        except BaseException:
            with _undisturbed():
                tear_down(name)
            raise


def _build(
    name: str, root: Path, topology: str, blueprint: Blueprint, say: Callable[[str], None]
) -> LabRecord:
    record = LabRecord(
        name=name,
        topology=topology,
        root=str(root),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        namespaces=blueprint.namespaces,
        manifests=str(root / "manifests") if blueprint.has_manifests else None,
        options=blueprint.options,
    )
    need_tools({daemon.argv[0] for daemon in blueprint.daemons if "/" not in daemon.argv[0]})
    with store.locked(name) as lock:
        store.write(record)
        for note in blueprint.notes:
            say(note)
        write_files(root, blueprint.files)
        ensure_modules(blueprint.modules, say)
        ensure_bridge_netfilter(say)
        if blueprint.servers:
            ensure_ipvs(say)
        processes = build(blueprint, root, lock, say)
        store.write_blueprint(record, blueprint)
        record = replace(
            record, state="up", processes=processes, pids=tuple(process.pid for process in processes)
        )
        store.write(record)
    return record


def down(name: str | None = None) -> str:
    """
    Take a lab down and return its name; with one lab the name may be left out.

    Works from a half-built lab, from one whose record is damaged, and from namespaces whose
    record is gone.  UserError if there is no such lab.
    """
    _need_root("taking a lab down")
    if name is None:
        names = store.lab_names()
        if len(names) != 1:
            raise UserError(
                f"there are {len(names)} labs: {', '.join(names)}" if names else "there is no lab",
                hint="say which one" if names else "",
            )
        name = names[0]
    check_lab_name(name)
    if name not in store.lab_names() and leftovers(name):
        tear_down(name)
        return name
    with store.locked(name), _undisturbed():
        tear_down(name)
    return name


def _claim(name: str | None) -> tuple[str, Path]:
    """Take a name: the one given, or the first free one."""
    while name is None:
        candidate = store.free_name()
        try:
            return candidate, store.claim(candidate)
        except UserError:  # somebody was faster
            continue
    root = store.claim(check_lab_name(name))
    if leftovers(name):
        store.remove(name)
        raise UserError(
            f"namespaces of an earlier lab called {name!r} are left",
            where=", ".join(leftovers(name)),
            hint=f"remove them with `nettrace lab down {name}`",
        )
    return name, root


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise UserError(f"{what} needs root", hint="run it as root: sudo nettrace lab ...")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM unwind as SIGINT does, so that what was built is taken down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep SIGINT and SIGTERM from breaking off the taking down; it takes a fraction of a second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
