"""
IPVS of a lab's namespaces: virtual servers made, and brought to others.

Lives here: what ipvsadm is told, and telling a kernel without IPVS apart.
Not here: which virtual servers (nettrace.kube, plugins), the dummy device and its addresses (wiring).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from nettrace.collect.netns import in_netns
from nettrace.lab.tools import need_tools, netns_path, run
from nettrace.model.errors import UserError
from nettrace.model.ipvs import VirtualServer
from nettrace.parse.ipvs import (
    end_text,
    parse_ipvsadm_save,
    real_words,
    save_ipvsadm,
    server_options,
    server_words,
)

__all__ = ["change_servers", "ensure_ipvs", "restore_servers"]

#: Every network namespace has these once the module is there.
_SYSCTLS = Path("/proc/sys/net/ipv4/vs")
_HINT = "build it on a kernel with IPVS: from a checkout, scripts/vm nettrace lab ..."


def ensure_ipvs(progress: Callable[[str], None]) -> None:
    """Load IPVS, which does nothing anywhere until it has a virtual server; UserError where there is none."""
    need_tools(("ipvsadm",))
    if _SYSCTLS.exists():
        return
    progress("loads the kernel module ip_vs")
    try:
        run(["modprobe", "ip_vs"])
    except UserError as error:
        raise UserError(f"this kernel has no IPVS: {error.what}", hint=_HINT) from error
    if not _SYSCTLS.exists():
        raise UserError("this kernel has no IPVS, though modprobe ip_vs says nothing", hint=_HINT)


def restore_servers(netns: str, text: str, *, lock: int | None = None) -> None:
    """Make the virtual servers of ipvsadm-save's *text*; none, without the tool, from no text."""
    if text:
        _run(netns, text, lock)


def change_servers(netns: str, before: str, after: str, *, lock: int | None = None) -> None:
    """Bring a namespace from the virtual servers of one text to those of another, and touch no others."""
    lines = list(_changes(parse_ipvsadm_save(before), parse_ipvsadm_save(after)))
    if lines:
        _run(netns, "".join(f"{line}\n" for line in lines), lock)


def _run(netns: str, text: str, lock: int | None) -> None:
    argv = ["ipvsadm", "-R"]
    in_netns(netns_path(netns), run, argv, text, lock=lock, what=f"{netns}, virtual servers")


def _changes(old: tuple[VirtualServer, ...], new: tuple[VirtualServer, ...]) -> Iterator[str]:
    """Yield lines for ipvsadm; what goes on existing is edited, so that its connections stay."""
    was = {server_words(one): one for one in old}
    now = {server_words(one): one for one in new}
    for name in was:
        if name not in now:
            yield f"-D {name}"
    for name, server in now.items():
        before = was.get(name)
        if before is None:
            yield from save_ipvsadm([server]).splitlines()
            continue
        if server_options(before) != server_options(server):
            yield f"-E {name} {server_options(server)}"
        reals = {(one.address, one.port): one for one in before.real_servers}
        for one in server.real_servers:
            there = reals.pop((one.address, one.port), None)
            if there != one:
                yield f"{'-a' if there is None else '-e'} {name} {real_words(one)}"
        for address, port in reals:
            yield f"-d {name} -r {end_text(address, port)}"
