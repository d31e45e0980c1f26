"""
What of the running kernel a program at kfree_skb has to know.

Lives here: where the fields stand that it reads, how many arguments the tracepoint has, the names
of the reasons.
Not here: reading BTF (btf), the program (drop_program).
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from nettrace.observe.btf import VMLINUX, Btf, BtfError

__all__ = ["Layout", "kernel_layout"]

_PREFIX = "SKB_DROP_REASON_"
#: Modules with reasons of their own (enum skb_drop_reason_subsys, include/net/dropreason.h).
_SUBSYSTEMS = ("mac80211", "openvswitch")


class Layout(NamedTuple):
    """
    Bytes from the start of struct sk_buff, dst_entry, net_device, sock and net.

    ``arguments`` of kfree_skb: 2 before Linux 5.17 (no reason), 3, since 6.11 4 with the socket
    that was to receive.  ``reasons``: number -> name without its prefix.
    """

    dev: int
    sk: int
    head: int
    network_header: int
    tail: int
    length: int
    mark: int
    protocol: int
    iif: int
    refdst: int
    dst_dev: int
    dev_net: int
    dev_ifindex: int
    dev_name: int
    sk_net: int
    net_inum: int
    arguments: int
    reasons: Mapping[int, str]


@cache
def kernel_layout() -> Layout:
    """
    Read it from the running kernel, once; 0.1 to 0.2 s.

    Raises BtfError, also where the kernel does not describe itself.
    """
    try:
        kernel = Btf(VMLINUX.read_bytes())
    except OSError as error:
        raise BtfError(f"{VMLINUX} cannot be read: {(error.strerror or '').lower()}") from error
    return layout_of(kernel, _reasons(kernel))


def layout_of(kernel: Btf, reasons: Mapping[int, str]) -> Layout:
    """Look the fields up."""
    return Layout(
        dev=kernel.offset("sk_buff", "dev"),
        sk=kernel.offset("sk_buff", "sk"),
        head=kernel.offset("sk_buff", "head"),
        network_header=kernel.offset("sk_buff", "network_header"),
        tail=kernel.offset("sk_buff", "tail"),
        length=kernel.offset("sk_buff", "len"),
        mark=kernel.offset("sk_buff", "mark"),
        protocol=kernel.offset("sk_buff", "protocol"),
        iif=kernel.offset("sk_buff", "skb_iif"),
        refdst=kernel.offset("sk_buff", "_skb_refdst"),
        dst_dev=kernel.offset("dst_entry", "dev"),
        dev_net=kernel.offset("net_device", "nd_net", "net"),
        dev_ifindex=kernel.offset("net_device", "ifindex"),
        dev_name=kernel.offset("net_device", "name"),
        sk_net=kernel.offset("sock", "__sk_common", "skc_net", "net"),
        net_inum=kernel.offset("net", "ns", "inum"),
        arguments=kernel.arguments("btf_trace_kfree_skb") - 1,  # the first is the tracepoint's own
        reasons=reasons,
    )


def _reasons(kernel: Btf) -> dict[int, str]:
    """Return the names of all reasons: the core's enum, and those of loaded subsystems."""
    blobs = [kernel]
    for name in _SUBSYSTEMS:
        try:
            blobs.append(Btf((VMLINUX.parent / name).read_bytes(), kernel))
        except (OSError, BtfError):
            continue  # not loaded
    found: dict[int, str] = {}
    for blob in blobs:
        for name, value in blob.enums("drop_reason"):
            if not name.endswith(("_MAX", "_MASK")):
                found.setdefault(value, name.removeprefix(_PREFIX))
    return found
