"""
Programs on cgroups: BPF that decides about the sockets of processes.

Lives here: which cgroups the processes of a namespace are in, and what is run for their sockets.
Not here: programs on devices (programs), bpf(2) itself (bpf).
Source: include/uapi/linux/bpf.h, kernel/bpf/cgroup.c, Documentation/admin-guide/cgroup-v2.rst.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from nettrace.collect.bpf import attached, described
from nettrace.collect.failure import CollectError
from nettrace.collect.machine_bpf import MachineBpf
from nettrace.collect.processes import Running
from nettrace.model.bpf import BpfProgram
from nettrace.model.section import MissingKind

__all__ = ["read_socket_programs"]

#: enum bpf_attach_type: hooks at which a program sees sockets or their packets.
_HOOKS = {
    0: "ingress",
    1: "egress",
    2: "sock_create",
    3: "sock_ops",
    8: "bind4",
    9: "bind6",
    10: "connect4",
    11: "connect6",
    12: "post_bind4",
    13: "post_bind6",
    14: "sendmsg4",
    15: "sendmsg6",
    19: "recvmsg4",
    20: "recvmsg6",
    29: "getpeername4",
    30: "getpeername6",
    31: "getsockname4",
    32: "getsockname6",
    34: "sock_release",
}


def read_socket_programs(
    inode: int, processes: Iterable[Running], machine: MachineBpf
) -> tuple[BpfProgram, ...]:
    """
    Return the programs that are run for sockets of the processes in the namespace *inode*.

    Those of the cgroups above are among them.  Where no process lives there, those that would be run
    for nettrace's own.  OSError: EPERM without CAP_SYS_ADMIN; CollectError where such programs are
    loaded and the cgroups that they may be on cannot be seen.
    """
    if not machine.any_for_sockets():
        return ()
    mounted = _mounted()
    paths = {path for one in processes if one.netns == inode if (path := _cgroup_of(str(one.pid)))}
    if not paths and (own := _cgroup_of("self")):
        paths = {own}
    found: list[BpfProgram] = []
    for path in sorted(paths):
        found += _on(mounted, path)
    return tuple(found)


def _mounted() -> tuple[Path, str]:
    """Where cgroup2 is mounted, and which cgroup that shows as its root."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ")[0] == "cgroup2":
            root, place = before.split(" ")[3:5]
            return Path(place), root
    raise CollectError(
        MissingKind.FAILED, "programs for cgroups are loaded, and no cgroup2 is mounted to see on which"
    )


def _cgroup_of(process: str) -> str:
    """Return the path of a process in the unified hierarchy; "" if it is gone."""
    try:
        lines = Path("/proc", process, "cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _on(mounted: tuple[Path, str], path: str) -> list[BpfProgram]:
    place, root = mounted
    below = path if root == "/" else path.removeprefix(root)
    if below.startswith("/../") or (root != "/" and not path.startswith(root)):
        reason = f"the cgroup {path} is outside of what is mounted at {place}"
        raise CollectError(MissingKind.FAILED, reason)
    try:
        descriptor = os.open(f"{place}{below}", os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return []  # its last process ended meanwhile
    try:
        found = []
        for attach_type, hook in _HOOKS.items():
            try:
                numbers = attached(descriptor, attach_type, effective=True)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    continue  # the kernel has no such hook
                raise
            found += [described(hook, number, cgroup=path) for number in numbers]
    finally:
        os.close(descriptor)
    return found
