"""
Is a part of the kernel there already?

Lives here: telling, without asking the kernel for it, whether a netlink family or protocol
has its module.  Opening one that has not makes the kernel run modprobe (request_module() in
net/netfilter/nfnetlink.c and net/core/sock_diag.c), and looking must not do that.
"""

import os
from functools import cache
from pathlib import Path

__all__ = ["has_module"]

#: A symbol of each module, for kernels that tell neither what is loaded nor what is built in.
_SYMBOLS = {
    "ip_set": "ip_set_create",
    "ip_vs": "ip_vs_conn_new",
    "nf_conntrack_netlink": "ctnetlink_net_init",
    "nf_tables": "nft_do_chain",
    "tcp_diag": "tcp_diag_get_info",
    "udp_diag": "udp_diag_get_info",
}


def has_module(name: str) -> bool:
    """Is the module *name* (with underscores) loaded or built in?"""
    if name in _builtin() or Path("/sys/module", name).is_dir():
        return True
    try:
        loaded = Path("/proc/modules").read_text()
    except FileNotFoundError:
        return name in _linked()  # no modules at all: what is there is part of the image
    if any(line.split(" ", 1)[0] == name for line in loaded.splitlines()):
        return True
    # A container may see neither the module's directory nor modules.builtin.
    return not _builtin() and name in _linked()


@cache
def _builtin() -> frozenset[str]:
    """The modules that the running kernel's package says are built in; empty if nobody says."""
    path = Path("/lib/modules", os.uname().release, "modules.builtin")
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(Path(line).stem.replace("-", "_") for line in lines)


@cache
def _linked() -> frozenset[str]:
    """The modules of _SYMBOLS whose symbol is in the running kernel."""
    try:
        symbols = Path("/proc/kallsyms").read_bytes()
    except OSError:
        return frozenset()
    # A line is "ADDRESS TYPE SYMBOL", followed by a tab and the module for those of modules.
    return frozenset(
        name
        for name, symbol in _SYMBOLS.items()
        if any(f" {symbol}{end}".encode() in symbols for end in "\n\t")
    )
