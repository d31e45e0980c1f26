"""
Programs on devices: what decides about packets without being a rule that can be read.

Lives here: XDP, tc filters (clsact and ingress), tcx and netkit BPF, and queueing disciplines that
lose packets on purpose.
Not here: what the programs do, which nobody can tell from outside.
"""

import errno
import struct
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from nettrace.collect.bpf import attached, described
from nettrace.collect.session import Session
from nettrace.collect.wire import attributes, text
from nettrace.model.bpf import BpfProgram

__all__ = ["Hung", "programs_by_index", "xdp_programs"]

# include/uapi/linux/pkt_sched.h: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS and _EGRESS)
_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}

# include/uapi/linux/rtnetlink.h: struct tcmsg and what follows it; pkt_cls.h: TCA_BPF_*
_GET_FILTER = 46
_TCMSG = struct.Struct("=BBHiIII")
_TCA_KIND, _TCA_OPTIONS, _TCA_BPF_NAME, _TCA_BPF_ID = 1, 2, 7, 11

# include/uapi/linux/if_link.h
#: IFLA_XDP_ATTACHED as pyroute2 spells it.
_XDP_MODES = {"xdp": "driver", "xdpgeneric": "generic", "xdpoffload": "hardware", "xdpmulti": "several"}

#: enum bpf_attach_type of include/uapi/linux/bpf.h (Linux 6.6, 6.7).  Of a netkit pair both are asked for
#: at the primary device, also what runs when the peer sends (netkit_dev_fetch(), drivers/net/netkit.c).
_ATTACH_TYPES = {46: "tcx ingress", 47: "tcx egress", 54: "netkit primary", 55: "netkit peer"}


class Hung(NamedTuple):
    """
    What hangs on a device: ``words`` for all of it, ``bpf`` for the programs of BPF among it.

    A program of classic BPF has no id, and is in ``words`` alone.
    """

    words: tuple[str, ...] = ()
    bpf: tuple[BpfProgram, ...] = ()


def xdp_programs(message: Any) -> Hung:
    """Return ``xdp generic NAME (id 42)`` if the RTM_NEWLINK *message* says that XDP is attached."""
    mode = message.get_nested("IFLA_XDP", "IFLA_XDP_ATTACHED")
    if not mode:
        return Hung()
    hook = f"xdp {_XDP_MODES.get(mode, mode)}"
    numbers = {
        message.get_nested("IFLA_XDP", f"IFLA_XDP_{name}")
        for name in ("PROG_ID", "DRV_PROG_ID", "SKB_PROG_ID", "HW_PROG_ID")
    }
    programs = tuple(described(hook, number) for number in sorted(number for number in numbers if number))
    return Hung(tuple(str(program) for program in programs) or (hook,), programs)


def programs_by_index(session: Session, indexes: Iterable[int]) -> dict[int, Hung]:
    """
    Return what hangs on the devices with these interface indexes, XDP aside.

    ``tc ingress NAME (id 42)``, ``tc egress bpf``, ``tc egress flower``, ``tcx ingress NAME (id 7)``,
    ``netem loss``.
    """
    found: dict[int, set[str | BpfProgram]] = {}
    for qdisc in session.dump("get_qdiscs"):
        kind, index = qdisc.get_attr("TCA_KIND"), qdisc["index"]
        if kind in ("clsact", "ingress"):
            names = _filters(session, index, ("ingress", "egress") if kind == "clsact" else ("ingress",))
            found.setdefault(index, set()).update(names)
        elif kind == "netem" and _loses(qdisc):
            found.setdefault(index, set()).add("netem loss")
    for index in indexes:
        linked = _bpf_links(index)
        if linked:
            found.setdefault(index, set()).update(linked)
    return {index: _hung(things) for index, things in found.items() if things}


def _hung(things: Iterable[str | BpfProgram]) -> Hung:
    programs = [one for one in things if isinstance(one, BpfProgram)]
    programs.sort(key=lambda one: (one.hook, one.id))
    return Hung(tuple(sorted(str(one) for one in things)), tuple(programs))


def _filters(session: Session, index: int, sides: Iterable[str]) -> list[str | BpfProgram]:
    """Ask for the filters of a device; pyroute2 does not know TCA_BPF_ID."""
    found: list[str | BpfProgram] = []
    for side in sides:
        request = _TCMSG.pack(0, 0, 0, index, 0, _PARENTS[side], 0)
        try:
            payloads = session.rtnetlink.dump(_GET_FILTER, request)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EINVAL):
                continue  # the device or its qdisc went away meanwhile
            raise
        for payload in payloads:
            if not _TCMSG.unpack_from(payload)[4]:
                continue  # each kind is announced once, without a handle or options
            about = attributes(payload, _TCMSG.size)
            kind = text(about.get(_TCA_KIND, b""))
            options = attributes(about.get(_TCA_OPTIONS, b"")) if kind == "bpf" else {}
            name, number = text(options.get(_TCA_BPF_NAME, b"")), options.get(_TCA_BPF_ID)
            if number is not None:
                found.append(described(f"tc {side}", int.from_bytes(number, sys.byteorder), called=name))
            else:
                found.append(f"tc {side} {kind} {name}".rstrip())
    return found


def _loses(qdisc: Any) -> bool:
    """Does this netem drop or damage packets?  Delay alone changes no verdict."""
    options = qdisc.get_attr("TCA_OPTIONS")
    if options is None:
        return False
    corrupt = options.get_attr("TCA_NETEM_CORRUPT")
    return bool(
        options.get("loss") or options.get_attr("TCA_NETEM_LOSS") or (corrupt and corrupt["prob_corrupt"])
    )


def _bpf_links(index: int) -> list[BpfProgram]:
    """Ask bpf(2) what is attached to a device without a filter; it answers for the thread's namespace."""
    found = []
    for attach_type, hook in _ATTACH_TYPES.items():
        try:
            numbers = attached(index, attach_type)
        except OSError:
            continue  # the kernel has no such hook, or the device is of another kind
        found += [described(hook, number) for number in numbers]
    return found
