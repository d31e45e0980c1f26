"""
BPF in the packet's way: what only a program decides is not decided here.

Lives here: programs on devices, and those that are run for the sockets of processes.
Source: kernel/bpf/cgroup.c, include/linux/bpf-cgroup.h (where each hook is called).
"""

from nettrace.model.bpf import BpfProgram, what_was_found
from nettrace.model.links import Link
from nettrace.walk.context import Run, undecided
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace
from nettrace.walk.skb import Skb

__all__ = ["on_device", "socket_receives", "socket_sends"]


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
