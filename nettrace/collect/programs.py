"""
Programs on devices: what decides about packets without being a rule that can be read.

Lives here: XDP, tc filters (clsact and ingress), tcx and netkit BPF, and queueing disciplines that
lose packets on purpose.
Not here: what the programs do, which nobody can tell from outside.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from typing import Any

from nettrace.collect.session import Session

__all__ = ["programs_by_index", "xdp_programs"]

# include/uapi/linux/pkt_sched.h: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS and _EGRESS)
_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}

# include/uapi/linux/if_link.h
_XDP_MODES = {1: "driver", 2: "generic", 3: "hardware", 4: "several"}

# bpf(2): BPF_PROG_QUERY, and the attach types of include/uapi/linux/bpf.h (Linux 6.6, 6.7)
_BPF_PROG_QUERY = 16
_ATTACH_TYPES = {46: "tcx ingress", 47: "tcx egress", 54: "netkit primary", 55: "netkit peer"}
_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_libc = ctypes.CDLL(None, use_errno=True)


def xdp_programs(message: Any) -> tuple[str, ...]:
    """Return ``("xdp generic 42",)`` if the RTM_NEWLINK *message* says that XDP is attached."""
    attached = message.get_nested("IFLA_XDP", "IFLA_XDP_ATTACHED")
    if not attached:
        return ()
    number = message.get_nested("IFLA_XDP", "IFLA_XDP_PROG_ID")
    words = ("xdp", _XDP_MODES.get(attached, str(attached)), str(number) if number else "")
    return (" ".join(word for word in words if word),)


def programs_by_index(session: Session, indexes: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """
    Return the programs of the devices with these interface indexes, XDP aside.

    ``tc ingress bpf NAME``, ``tc egress flower``, ``tcx ingress``, ``netem loss``.
    """
    found: dict[int, set[str]] = {}
    for qdisc in session.dump("get_qdiscs"):
        kind, index = qdisc.get_attr("TCA_KIND"), qdisc["index"]
        if kind in ("clsact", "ingress"):
            names = _filters(session, index, ("ingress", "egress") if kind == "clsact" else ("ingress",))
            found.setdefault(index, set()).update(names)
        elif kind == "netem" and _loses(qdisc):
            found.setdefault(index, set()).add("netem loss")
    for index in indexes:
        names = _bpf_links(index)
        if names:
            found.setdefault(index, set()).update(names)
    return {index: tuple(sorted(names)) for index, names in found.items() if names}


def _filters(session: Session, index: int, sides: Iterable[str]) -> list[str]:
    names = []
    for side in sides:
        try:
            messages = session.dump("get_filters", index=index, parent=_PARENTS[side])
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EINVAL):
                continue  # the device or its qdisc went away meanwhile
            raise
        for message in messages:
            if message["handle"]:  # each kind is announced once, without a handle or options
                name = message.get_nested("TCA_OPTIONS", "TCA_BPF_NAME") or ""
                names.append(f"tc {side} {message.get_attr('TCA_KIND')} {name}".rstrip())
    return names


def _loses(qdisc: Any) -> bool:
    """Does this netem drop or damage packets?  Delay alone changes no verdict."""
    options = qdisc.get_attr("TCA_OPTIONS")
    if options is None:
        return False
    corrupt = options.get_attr("TCA_NETEM_CORRUPT")
    return bool(
        options.get("loss") or options.get_attr("TCA_NETEM_LOSS") or (corrupt and corrupt["prob_corrupt"])
    )


def _bpf_links(index: int) -> list[str]:
    """Ask bpf(2) what is attached to a device without a filter; it answers for the thread's namespace."""
    number = _SYSCALLS.get(os.uname().machine)
    if number is None:
        return []
    names = []
    for attach_type, name in _ATTACH_TYPES.items():
        # target_ifindex, attach_type, query_flags, attach_flags, prog_ids, prog_cnt, and the rest
        query = ctypes.create_string_buffer(struct.pack("=IIIIQI36x", index, attach_type, 0, 0, 0, 0), 64)
        failed = _libc.syscall(number, _BPF_PROG_QUERY, query, len(query)) != 0
        if failed and ctypes.get_errno() != errno.ENOSPC:  # ENOSPC: more than the none we asked for
            continue
        count = struct.unpack_from("=I", query.raw, 24)[0]
        if count:
            names.append(name)
    return names
