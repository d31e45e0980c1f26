"""
A Blueprint made real.

Lives here: the order in which namespaces, devices, rules and processes come into being.
Not here: what they are (topologies), taking them down (teardown), the record (lifecycle).

The lab's own commands are few, since a process costs more than what it does: one ip(8) for
all namespaces, then one a namespace and stage, one bridge(8) and one iptables-restore a node, and
one ipset(8) or nft(8) where there are sets or native rules.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nettrace.collect.netns import in_netns
from nettrace.lab.blueprint import Attachment, Blueprint, Daemon
from nettrace.lab.cni import attach_all
from nettrace.lab.ipvs import restore_servers
from nettrace.lab.processes import await_settled, start
from nettrace.lab.programs import hang
from nettrace.lab.tools import (
    bridge_batch,
    ip_batch,
    netns_path,
    restore_native,
    restore_rules,
    restore_sets,
    run,
)
from nettrace.model.errors import UserError
from nettrace.model.lab import LabProcess

__all__ = ["build", "ensure_bridge_netfilter", "ensure_modules", "set_sysctls", "start_all", "write_files"]

Progress = Callable[[str], None]
T = TypeVar("T")

_BRIDGE_NF = Path("/proc/sys/net/bridge")
_MODULES = Path("/sys/module")
_WORKERS = 8

#: Sysctls that exist only with a module or a protocol of the kernel; the lab does without.
_OPTIONAL = ("net.ipv6.", "net.netfilter.")
_DOTS = str.maketrans("./", "/.")


def write_files(root: Path, files: dict[str, str]) -> None:
    """Write the nodes' files and the manifests below the lab's directory."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def build(blueprint: Blueprint, root: Path, lock: int, progress: Progress) -> tuple[LabProcess, ...]:
    """
    Make everything the blueprint names and return its processes, all of which answer.

    *lock* is the descriptor of store.locked.  Raises UserError at the first thing that fails
    and leaves the rest to the caller, who takes down what is there.
    """
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="lab") as pool:

        def each(items: Iterable[T], function: Callable[[T], object]) -> None:
            for future in [pool.submit(function, item) for item in items]:
                future.result()

        progress(f"{len(blueprint.namespaces)} namespaces")
        ip_batch(None, [f"netns add {entry.netns}" for entry in blueprint.namespaces], lock=lock)
        each(blueprint.sysctls.items(), lambda item: set_sysctls(*item))
        progress("devices, addresses, routes")
        for stage in blueprint.wiring:
            each(stage.items(), lambda item: ip_batch(item[0], item[1], lock=lock))
        if blueprint.attachments:
            progress(f"{len(blueprint.attachments)} pods by CNI plugins")
            nodes: dict[str, list[Attachment]] = {}
            for one in blueprint.attachments:
                nodes.setdefault(one.node, []).append(one)
            each(nodes.values(), lambda found: attach_all(found, root))
        each(blueprint.device_sysctls.items(), lambda item: set_sysctls(*item))
        each(blueprint.fdb.items(), lambda item: bridge_batch(item[0], item[1], lock=lock))
        progress("rules")
        each(blueprint.sets.items(), lambda item: restore_sets(item[0], item[1], lock=lock))
        each(blueprint.native.items(), lambda item: restore_native(item[0], item[1], lock=lock))
        each(blueprint.servers.items(), lambda item: restore_servers(item[0], item[1], lock=lock))
        each(blueprint.rules.items(), lambda item: restore_rules(item[0], item[1], lock=lock))
        each(blueprint.programs.items(), lambda item: hang(*item))
        progress(f"{len(blueprint.daemons)} processes")
        return start_all(blueprint.daemons, root, pool)


def start_all(daemons: Sequence[Daemon], root: Path, pool: ThreadPoolExecutor) -> tuple[LabProcess, ...]:
    """Start these processes, those that ask others after the others; all of them answer, and are settled."""
    for directory in {(root / daemon.pid_file).parent for daemon in daemons}:
        directory.mkdir(parents=True, exist_ok=True)
    found: list[LabProcess] = []
    for last in (False, True):
        found += pool.map(lambda one: start(one, root), [one for one in daemons if one.last is last])
    await_settled(daemons)
    return tuple(found)


def set_sysctls(netns: str, values: dict[str, str]) -> None:
    """
    Write sysctls in a namespace; those of a protocol that the kernel lacks are left out.

    A device's own dots are written as ``/``, as sysctl(8) does.
    """
    in_netns(netns_path(netns), _write_sysctls, netns, tuple(values.items()))


def _write_sysctls(netns: str, values: Sequence[tuple[str, str]]) -> None:
    for name, value in values:
        path = f"/proc/sys/{name.translate(_DOTS)}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if name.startswith(_OPTIONAL):
                continue
            raise UserError(f"this kernel has no {name}", where=netns) from None
        try:
            os.write(descriptor, value.encode())
        except OSError as error:
            raise UserError(f"{name} = {value}: {(error.strerror or '').lower()}", where=netns) from error
        finally:
            os.close(descriptor)


def ensure_modules(names: Sequence[str], progress: Progress) -> None:
    """
    Load modules that a lab cannot do without; UserError where the kernel has them not.

    They are the whole machine's, and do nothing by themselves (ipip: a device tunl0 that is down).
    """
    for name in names:
        if (_MODULES / name).exists():
            continue
        progress(f"loads the kernel module {name}")
        try:
            run(["modprobe", name])
        except UserError as error:
            raise UserError(
                f"this kernel has no {name}: {error.what}",
                hint=f"build it on a kernel with {name}: from a checkout, scripts/vm nettrace lab ...",
            ) from error


def ensure_bridge_netfilter(progress: Progress) -> None:
    """
    Load br_netfilter, without which no bridge shows its frames to iptables.

    A module is the whole machine's.  Loading it turns it on for the machine's own bridges too,
    so that is turned off again at once: they are to go on as they did.
    """
    if _BRIDGE_NF.exists():
        return
    progress("loads the kernel module br_netfilter, switched off for this machine's own bridges")
    try:
        run(["modprobe", "br_netfilter"])
    except UserError as error:
        raise UserError(
            f"the kernel module br_netfilter is needed: {error.what}",
            hint="load it: modprobe br_netfilter",
        ) from error
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"):
        (_BRIDGE_NF / name).write_text("0")
