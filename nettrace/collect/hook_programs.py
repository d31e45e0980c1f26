"""
Programs at netfilter's hooks: BPF that no table of rules shows (BPF_LINK_TYPE_NETFILTER, Linux 6.4).

Lives here: which of the machine's are of the session's namespace.
Not here: finding the machine's (machine_bpf), bpf(2) itself (bpf), rules (xt, nft).
Source: net/netfilter/nf_bpf_link.c, nfnetlink_hook.c; include/uapi/linux/netfilter/nfnetlink_hook.h.
"""

import errno
import struct
from collections.abc import Iterable

from msgspec.structs import replace

from nettrace.collect.bpf import HookLink
from nettrace.collect.machine_bpf import MachineBpf
from nettrace.collect.modules import has_module
from nettrace.collect.session import Session
from nettrace.collect.wire import attribute, attributes, be32, nfgenmsg
from nettrace.model.bpf import BpfProgram

__all__ = ["bpf_hooks", "read_hook_programs"]

_MODULE = "nfnetlink_hook"
_GET_HOOKS = 12 << 8  # NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET
_HOOK_NUMBER, _PRIORITY, _CHAIN_INFO = 1, 2, 6
_INFO_DESC, _INFO_TYPE = 1, 2
_BPF, _BPF_ID = 2, 1  # NFNL_HOOK_TYPE_BPF, NFNLA_HOOK_BPF_ID


def read_hook_programs(session: Session, machine: MachineBpf) -> tuple[BpfProgram, ...]:
    """
    Return the programs at the netfilter hooks of the session's namespace.

    A link does not say which namespace it is of.  A kernel with nfnetlink_hook does; without it (or with
    the module not loaded, which asking would do) all the machine's are returned as not ``placed``.
    OSError: EPERM without CAP_SYS_ADMIN.
    """
    found = machine.at_hooks()
    if not found:
        return ()
    if not has_module(_MODULE):
        return tuple(_at(link, program, placed=False) for link, program in found)
    here = {
        (family, hook, *one)
        for family, hook in sorted({(link.family, link.hook) for link, _ in found})
        for one in _standing(session, family, hook)
    }
    return tuple(
        _at(link, program, placed=True)
        for link, program in found
        if (link.family, link.hook, link.priority, link.program) in here
    )


def _at(link: HookLink, program: BpfProgram, *, placed: bool) -> BpfProgram:
    return replace(program, priority=link.priority, placed=placed)


def _standing(session: Session, family: int, hook: int) -> set[tuple[int, int]]:
    request = nfgenmsg(family) + attribute(_HOOK_NUMBER, struct.pack(">I", hook))
    try:
        return bpf_hooks(session.netfilter.dump(_GET_HOOKS, request))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return set()  # nobody hangs on this hook here
        raise


def bpf_hooks(payloads: Iterable[bytes]) -> set[tuple[int, int]]:
    """Return (priority, program) of those who are BPF, of the answers to NFNL_MSG_HOOK_GET."""
    found = set()
    for payload in payloads:
        about = attributes(payload, 4)
        info = attributes(about.get(_CHAIN_INFO, b""))
        if be32(info.get(_INFO_TYPE, b"")) != _BPF:
            continue
        number = attributes(info.get(_INFO_DESC, b"")).get(_BPF_ID)
        if number is not None:
            (priority,) = struct.unpack(">i", about[_PRIORITY])
            found.add((priority, be32(number)))
    return found
