"""
Finding the namespaces of this machine or of a lab.

Lives here: handles, by name under /run/netns and by process, each namespace once.
Not here: guessing what a namespace is for (roles), reading it (reader).
"""

import re
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from nettrace.collect.netns import OWN_NETNS, netns_inode
from nettrace.collect.processes import Running, running
from nettrace.collect.roles import guess_roles
from nettrace.collect.workloads import Inside, insides
from nettrace.model.errors import UserError
from nettrace.model.lab import LAB_RECORD, LAB_ROOT, LabRecord

__all__ = ["Handle", "discover", "read_record"]

_NAMED = Path("/run/netns")
_CONTAINER = re.compile(r"[0-9a-f]{64}")


class Handle(Struct, frozen=True, kw_only=True):
    """
    How this machine reaches one namespace.

    ``name`` is unique in a snapshot, ``netns`` the name under /run/netns or "".  ``node`` is the
    name of the node it belongs to, ``role`` as in the snapshot, ``pod`` namespace/name,
    ``resolv_conf`` the file that a lab keeps for it.  ``containers`` are the ids of the containers in
    it, ``container_names`` what they are called, ``pod_uid`` the UID of their pod, as far as control groups
    and runtimes say them; the first handle's ``remarks`` tell which runtime did not, and why.
    """

    name: str
    path: str
    inode: int
    netns: str = ""
    node: str = ""
    role: str = "other"
    pod: str | None = None
    resolv_conf: str | None = None
    containers: tuple[str, ...] = ()
    container_names: tuple[str, ...] = ()
    pod_uid: str = ""
    remarks: tuple[str, ...] = ()


def discover(lab: str | None = None) -> list[Handle]:
    """
    Return the namespaces of the lab *lab*, or of this machine: its own first, then by name.

    Roles on this machine are guessed from links and routes; its own namespace is not read
    for that.  UserError if there is no such lab.
    """
    return _of_lab(read_record(lab)) if lab is not None else _of_machine()


def read_record(lab: str) -> LabRecord:
    """Read the record of a lab; UserError if there is none or it is no record."""
    path = Path(LAB_ROOT, lab, LAB_RECORD)
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabRecord)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no lab called {lab}", where=str(path), hint="nettrace lab list shows those there are"
        ) from error
    except PermissionError as error:
        raise UserError("the lab's record may not be read", where=str(path), hint="run it as root") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"the lab's record cannot be read: {error}", where=str(path)) from error


def _of_lab(record: LabRecord) -> list[Handle]:
    found: dict[str, Handle] = {}
    for entry in record.namespaces:
        path = _NAMED / entry.netns
        if entry.netns in found:
            continue  # the second container of a pod: one namespace
        try:
            inode = netns_inode(str(path))
        except OSError:
            inode = 0  # gone; whoever reads it says so
        found[entry.netns] = Handle(
            name=entry.name,
            path=str(path),
            inode=inode,
            netns=entry.netns,
            node=entry.node,
            role=entry.role,
            pod=entry.pod,
            resolv_conf=f"{record.root}/pods/{entry.pod}/etc/resolv.conf" if entry.pod else None,
        )
    return list(found.values())


def _of_machine() -> list[Handle]:
    own = netns_inode()
    found: dict[int, Handle] = {}
    for name, path, inode in _named():
        found.setdefault(inode, Handle(name=name, path=path, inode=inode, netns=name))
    host = _free(socket.gethostname() or "host", {handle.name for handle in found.values()})
    if own not in found:
        found[own] = Handle(name=host, path=OWN_NETNS, inode=own)
    first: dict[int, Running] = {}
    processes = running()
    for process in processes:
        first.setdefault(process.netns, process)
    for inode, process in first.items():
        if inode not in found:
            taken = {handle.name for handle in found.values()}
            # Inside `ip netns exec` the machine's namespace is another one, that of process 1.
            name = host if process.pid == 1 and host not in taken else _free(_process_name(process), taken)
            path = f"/proc/{process.pid}/ns/net"
            found[inode] = Handle(name=name, path=path, inode=inode)
    mine = found.pop(own)
    others = sorted(found.values(), key=lambda handle: handle.name)
    guessed = guess_roles(
        [(handle.name, handle.path, handle.inode) for handle in others], (mine.name, mine.path, mine.inode)
    )
    inside, remarks = insides(processes, own, {handle.path: handle.inode for handle in others})
    return [
        msgspec.structs.replace(mine, role="node", node=mine.name, remarks=remarks),
        *(
            _with_inside(handle, *guessed[handle.name], inside.get(handle.inode, Inside()), mine.name)
            for handle in others
            if handle.name in guessed  # those that vanished meanwhile are not
        ),
    ]


def _with_inside(handle: Handle, role: str, node: str, inside: Inside, machine: str) -> Handle:
    """Join what was guessed of a namespace with what lives there, which knows better."""
    if role in ("pod", "other") and (inside.uid or inside.pod):
        role = "pod"
    elif role in ("pod", "other") and inside.containers:
        role = "container"
    if role in ("pod", "container") and node == handle.name:
        node = machine  # nothing leads to another one
    return msgspec.structs.replace(
        handle,
        role=role,
        node=node,
        pod=inside.pod or None,
        containers=inside.containers,
        container_names=inside.names,
        pod_uid=inside.uid,
    )


def _named() -> Iterable[tuple[str, str, int]]:
    """Name, path and inode of what ip-netns(8) has named; a file that is no namespace is skipped."""
    device = Path(OWN_NETNS).stat().st_dev  # nsfs
    try:
        entries = sorted(_NAMED.iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            status = entry.stat()
        except OSError:
            continue
        if status.st_dev == device:
            yield entry.name, str(entry), status.st_ino


def _process_name(process: Running) -> str:
    try:
        match = _CONTAINER.search(Path("/proc", str(process.pid), "cgroup").read_text())
    except OSError:
        match = None
    return f"container-{match[0][:12]}" if match else f"pid-{process.pid}"


def _free(name: str, taken: Iterable[str]) -> str:
    """Return *name*, or with a number if it is taken."""
    names, candidate, number = set(taken), name, 2
    while candidate in names:
        candidate, number = f"{name}-{number}", number + 1
    return candidate
