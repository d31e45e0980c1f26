"""
Which pods and containers live in a machine's namespaces, and what they are called.

Lives here: control groups of processes, and asking those who know names: the CNI cache of the container
runtime, Docker's API at its socket, crictl.  All of it only reads.
Not here: what they say means (nettrace.parse.cgroup, runtimes, cni), Docker's API (docker_api),
namespaces themselves (discover).
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import which

from msgspec import Struct

from nettrace.collect.netns import netns_inode
from nettrace.collect.processes import Running
from nettrace.parse.cgroup import container_id, pod_uid
from nettrace.parse.cni import parse_sandbox
from nettrace.parse.runtimes import Workload, crictl_workloads

__all__ = ["CNI_CACHE", "CRI_SOCKETS", "DOCKER_SOCKETS", "Inside", "insides", "told"]

DOCKER_SOCKETS = (Path("/run/docker.sock"), Path("/var/run/docker.sock"))
#: Where containerd, CRI-O and cri-dockerd listen; crictl finds out which by its own configuration.
CRI_SOCKETS = tuple(
    Path("/run", name) for name in ("containerd/containerd.sock", "crio/crio.sock", "cri-dockerd.sock")
)
CNI_CACHE = Path("/var/lib/cni/results")

_PATIENCE = 5.0  # seconds for one answer


class Inside(Struct, frozen=True, kw_only=True):
    """What lives in one namespace: container ids, their names, the pod (namespace/name) and its UID."""

    containers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    pod: str = ""
    uid: str = ""


def insides(
    processes: Iterable[Running], own: int, paths: Mapping[str, int]
) -> tuple[dict[int, Inside], tuple[str, ...]]:
    """
    Return inode -> what lives there, for all namespaces but *own*, and why a runtime did not say.

    *paths* maps the paths by which namespaces are known here to their inodes.
    """
    ids: dict[int, dict[str, None]] = {}
    uids: dict[int, str] = {}
    by_pid: dict[int, int] = {}
    for process in processes:
        by_pid[process.pid] = process.netns
        if process.netns == own:
            continue
        try:
            text = Path("/proc", str(process.pid), "cgroup").read_text()
        except OSError:
            continue  # gone
        if found := container_id(text):
            ids.setdefault(process.netns, {})[found] = None
        if uid := pod_uid(text):
            uids.setdefault(process.netns, uid)
    workloads, remarks = told()
    holder = {container: inode for inode, containers in ids.items() for container in containers}
    by_uid = {uid: inode for inode, uid in uids.items()}
    names: dict[int, dict[str, None]] = {}
    pods: dict[int, str] = {}
    for one in workloads:
        inode = (
            holder.get(one.container)
            or _inode(one.netns, paths)
            or by_pid.get(one.pid)
            or (by_uid.get(one.uid) if one.uid else None)
        )
        if inode is None or inode == own:
            continue
        ids.setdefault(inode, {})[one.container] = None
        if one.name:
            names.setdefault(inode, {})[one.name] = None
        if one.pod:
            pods.setdefault(inode, one.pod)
        if one.uid:
            uids.setdefault(inode, one.uid)
    everywhere = {*ids, *uids, *names, *pods}
    return {
        inode: Inside(
            containers=tuple(ids.get(inode, ())),
            names=tuple(names.get(inode, ())),
            pod=pods.get(inode, ""),
            uid=uids.get(inode, ""),
        )
        for inode in everywhere
    }, remarks


def _inode(path: str, paths: Mapping[str, int]) -> int | None:
    if not path:
        return None
    plain = path.removeprefix("/var") if path.startswith("/var/run/") else path
    if plain in paths:
        return paths[plain]
    try:
        return netns_inode(path)
    except OSError:
        return None  # of a sandbox that is gone


def told() -> tuple[list[Workload], tuple[str, ...]]:
    """Return what runtimes say of their containers, and the reasons of those that would not."""
    found: list[Workload] = list(_cached())
    remarks: list[str] = []
    for path in DOCKER_SOCKETS:
        if path.exists():
            from nettrace.collect.docker_api import containers  # noqa: PLC0415  (HTTP, only where Docker is)

            try:
                found += containers(path)
            except (OSError, ValueError) as error:
                remarks.append(f"containers of Docker have no names here: {path}: {_words(error)}")
            break
    if any(path.exists() for path in CRI_SOCKETS) and (crictl := which("crictl")):
        try:
            found += crictl_workloads(_crictl(crictl))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            remarks.append(f"containers of the CRI have no names here: crictl ps: {_words(error)}")
    return found, tuple(remarks)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).partition("\n")[0] or type(error).__name__


def _cached() -> Iterable[Workload]:
    try:
        entries = sorted(CNI_CACHE.iterdir())
    except OSError:
        return
    for path in entries:
        try:
            found = parse_sandbox(str(path), path.read_text(errors="replace"))
        except OSError:
            continue
        if found is not None:
            yield Workload(container=found.container, pod=found.pod, uid=found.uid, netns=found.netns)


def _crictl(path: str) -> str:
    return subprocess.run(
        [path, "--timeout", f"{_PATIENCE:g}s", "ps", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * _PATIENCE,
        stdin=subprocess.DEVNULL,
    ).stdout
