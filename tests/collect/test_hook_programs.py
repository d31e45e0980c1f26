"""Who hangs on a netfilter hook, out of the kernel's own words; no kernel here says them."""

import struct

from nettrace.collect.hook_programs import bpf_hooks
from nettrace.collect.wire import attribute, nfgenmsg


def number(value: int) -> bytes:
    """A number as nfnetlink writes it."""
    return struct.pack(">I", value & 0xFFFFFFFF)


def hook(priority: int, kind: int, about: bytes) -> bytes:
    """
    One answer to NFNL_MSG_HOOK_GET, its attributes as nfnetlink_hook.h numbers them.

    *kind* is NFNLA_HOOK_INFO_TYPE, *about* what is in NFNLA_HOOK_INFO_DESC.
    """
    info = attribute(1, about) + attribute(2, number(kind))
    return nfgenmsg(2) + attribute(1, number(2)) + attribute(2, number(priority)) + attribute(6, info)


def test_bpf_among_all_that_hang_there() -> None:
    """Priority and id of programs; chains of nftables and functions of the kernel are something else."""
    function = nfgenmsg(2) + attribute(1, number(2)) + attribute(2, number(-200)) + attribute(4, b"nf_x\0")
    answers = [
        function,
        hook(0, 1, attribute(1, b"filter\0")),
        hook(-10, 2, attribute(1, number(77))),
        hook(300, 2, attribute(1, number(78))),
    ]
    assert bpf_hooks(answers) == {(-10, 77), (300, 78)}
    assert bpf_hooks([]) == set()
