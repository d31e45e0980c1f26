"""
BPF in the packet's way: what only a program decides is not decided here.

Lives here: programs on devices, on netkit pairs, and those that are run for the sockets of processes.
Source: kernel/bpf/cgroup.c, include/linux/bpf-cgroup.h (where each hook is called), drivers/net/netkit.c.
"""

from typing import NoReturn

from nettrace.model.bpf import BpfProgram, what_was_found
from nettrace.model.links import Link
from nettrace.walk.context import Run, undecided
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace, namespace
from nettrace.walk.skb import Skb

__all__ = [
    "at_hook",
    "hook_decides",
    "netkit_sends",
    "of_netkit_peer",
    "on_device",
    "socket_receives",
    "socket_sends",
]


def on_device(ns: Namespace, link: Link) -> None:
    """Raise Undecided where something hangs on the device that no rule shows."""
    if not link.programs:
        return
    found = f"; {what_was_found(link.bpf)}" if link.bpf else ""
    undecided(
        f"{', '.join(link.programs)} on {link.name} of {ns.name} decides, and no rule shows how{found}",
        f"{ns.name}/links/{link.name}",
        ", ".join(link.programs),
    )


def of_netkit_peer(run: Run, link: Link) -> tuple[Link | None, tuple[BpfProgram, ...]]:
    """Return the other end of a netkit pair, None outside of the snapshot, and what runs for *link* there."""
    if link.peer is None or link.peer.netns not in run.snapshot.namespaces:
        return None, ()
    far = namespace(run, link.peer.netns).link_by_index(link.peer.ifindex)
    programs = far.bpf if far is not None else ()
    return far, tuple(one for one in programs if one.hook == "netkit peer")


def netkit_sends(run: Run, ns: Namespace, link: Link) -> NoReturn:
    """
    Raise Undecided: what one end of a netkit pair sends a program may pass on, drop or redirect.

    The programs of both ends are told at the primary one alone, which mostly is in another namespace.
    Without any the pair's policy decides, forward or blackhole, which is not read.
    """
    far, there = of_netkit_peer(run, link)
    where = f"{link.name} of {ns.name}"
    if there and far is not None and link.peer is not None:
        words = ", ".join(str(one) for one in there)
        undecided(
            f"{words} on {far.name} of {link.peer.netns} decides about what its peer {where} sends, "
            f"and no rule shows how; {what_was_found(there)}",
            f"{link.peer.netns}/links/{far.name}",
            words,
        )
    seen = "no program is told of it" if far is not None else "its other end is not in the snapshot"
    undecided(
        f"{where} is one end of a netkit pair, where programs or its policy decide, and {seen}",
        f"{ns.name}/links/{link.name}",
        link.kind,
    )


def at_hook(run: Run, ns: Namespace, family: int, hook: str) -> tuple[BpfProgram, ...]:
    """Return the programs of BPF that are, or may be, at a netfilter hook of the namespace."""
    programs: tuple[BpfProgram, ...] = run.section(
        ns.name, "socket_programs", along=(*NEIGHBOURHOOD, "sockets")
    )
    name = f"netfilter {'ip' if family == 4 else 'ip6'} {hook}"
    return tuple(one for one in programs if one.hook == name)


def hook_decides(ns: Namespace, program: BpfProgram) -> NoReturn:
    """Raise Undecided where a program is asked at a netfilter hook."""
    where = f"in {ns.name}" if program.placed else f"here or in another namespace than {ns.name}"
    undecided(
        f"{program} at priority {program.priority} {where} decides, and no rule shows how; "
        f"{what_was_found([program])}",
        f"{ns.name}/socket_programs",
        str(program),
    )


def socket_sends(run: Run, ns: Namespace, skb: Skb) -> None:
    """
    Raise Undecided where a program is run for the sender's socket.

    At connect() and sendmsg() it may choose another destination, at egress drop the packet.  A kernel's
    own answers pass the last one too.  What only hears of a connection (sock_ops), or changes no
    more than the address that the program in user space is told (recvmsg, getpeername), is no reason.
    """
    hooks = {"egress"}
    if skb.own and run.leg == "request":
        family = skb.packet.family
        hooks |= {"sock_create", f"connect{family}"}
        if skb.packet.proto == "udp":
            hooks.add(f"sendmsg{family}")
    _none_of(run, ns, hooks, f"what {skb.packet.proto} sockets of {ns.name} send")


def socket_receives(run: Run, ns: Namespace) -> None:
    """Raise Undecided where a program is run for what the sockets of a namespace receive."""
    _none_of(run, ns, {"ingress"}, f"what sockets of {ns.name} receive")


def _none_of(run: Run, ns: Namespace, hooks: set[str], what: str) -> None:
    programs: tuple[BpfProgram, ...] = run.section(
        ns.name, "socket_programs", along=(*NEIGHBOURHOOD, "sockets")
    )
    found = [one for one in programs if one.hook in hooks]
    if found:
        words = ", ".join(str(one) for one in found)
        undecided(
            f"{words} of cgroup {found[0].cgroup} decides about {what}, and no rule shows how; "
            f"{what_was_found(found)}",
            f"{ns.name}/socket_programs",
            words,
        )
