"""
BPF of the whole machine, which all namespaces of one collection share.

Lives here: programs at netfilter hooks, and whether any are loaded for sockets; each is asked for
once, by whichever namespace is read first.
Not here: of which namespace they are (hook_programs), for whose sockets (cgroups), bpf(2) (bpf).
"""

import errno
from threading import Lock

from nettrace.collect.bpf import HookLink, described, hook_links, program_ids, program_info
from nettrace.model.bpf import BpfProgram

__all__ = ["MachineBpf"]

#: NFPROTO_IPV4 and _IPV6, of which alone there are such programs, as nftables calls them.
_FAMILIES = {2: "ip", 10: "ip6"}
#: enum nf_inet_hooks
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
#: enum bpf_prog_type: CGROUP_SKB, CGROUP_SOCK, SOCK_OPS, CGROUP_SOCK_ADDR
_OF_SOCKETS = frozenset({8, 9, 13, 18})


class MachineBpf:
    """What one collection has found out; namespaces are read in threads of their own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._at_hooks: tuple[tuple[HookLink, BpfProgram], ...] | None = None
        self._for_sockets: bool | None = None

    def at_hooks(self) -> tuple[tuple[HookLink, BpfProgram], ...]:
        """
        Return the programs at netfilter hooks of all namespaces, each with its link.

        OSError: EPERM without CAP_SYS_ADMIN.
        """
        with self._lock:
            if self._at_hooks is None:
                self._at_hooks = tuple(
                    (link, described(f"netfilter {family} {_HOOKS[link.hook]}", link.program))
                    for link in hook_links()
                    if (family := _FAMILIES.get(link.family)) and link.hook < len(_HOOKS)
                )
            return self._at_hooks

    def any_for_sockets(self) -> bool:
        """Is a program loaded that could be on a cgroup?  OSError: EPERM without CAP_SYS_ADMIN."""
        with self._lock:
            if self._for_sockets is None:
                self._for_sockets = _any_for_sockets()
            return self._for_sockets


def _any_for_sockets() -> bool:
    try:
        return any((info := program_info(number)) and info.type in _OF_SOCKETS for number in program_ids())
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            return False  # a kernel without BPF, or older than such programs
        raise
