"""
BPF for tests: tiny programs with names on real hooks, cgroups of a test's own, maps of any shape.

Programs only return a verdict.  What is attached to a namespace's device goes with the namespace, the
rest with its descriptor.
"""

import ctypes
import errno
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from nettrace.collect.netns import in_netns
from nettrace.observe.bpf import Assembler, Bpf, BpfError
from tests.kernel.bed import Space

#: enum bpf_cmd and enum bpf_attach_type of include/uapi/linux/bpf.h
PROG_ATTACH, PROG_DETACH, LINK_CREATE = 8, 9, 28
HOOKS = {"ingress": 0, "egress": 1, "connect4": 10, "sendmsg4": 14, "recvmsg4": 19, "getpeername4": 29}
TCX_INGRESS, TCX_EGRESS = 46, 47
NETFILTER = 45
#: enum bpf_map_type
HASH, LRU_HASH, LPM_TRIE = 1, 9, 11
NO_PREALLOC = 1
#: TC_ACT_OK, TC_ACT_SHOT and XDP_PASS
OK, SHOT, XDP_PASS = 0, 2, 2

#: What the kernel says of what it does not have, or does not let one do.
_NOT_HERE = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_libc = ctypes.CDLL(None, use_errno=True)


def call(command: int, attributes: bytes) -> int:
    """Make the system call; skip the test where the kernel does not allow or know it, else OSError."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        pytest.skip("unknown system call number")
    block = ctypes.create_string_buffer(attributes, 144)
    found: int = _libc.syscall(number, command, block, 144)
    if found < 0:
        error = ctypes.get_errno()
        if error in _NOT_HERE:
            pytest.skip(f"bpf({command}): {os.strerror(error)}")
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return found


@contextmanager
def bpf() -> Iterator[Bpf]:
    """Descriptors that are closed at the end; skips where BPF is not allowed."""
    try:
        opened = Bpf()
    except BpfError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def returning(verdict: int, *maps: int) -> bytes:
    """A program that returns *verdict*, and holds *maps* without looking into them."""
    code = Assembler()
    for descriptor in maps:
        code.map(1, descriptor)
    code.set(0, verdict)
    code.exit()
    return code.assemble()


def on_tc(space: Space, device: str, side: str, descriptor: int, name: str) -> None:
    """Hang a loaded program on a device's clsact at *side*."""

    def attach() -> None:
        with IPRoute() as route:
            index = route.link_lookup(ifname=device)[0]
            if not any(one.get_attr("TCA_KIND") == "clsact" for one in route.get_qdiscs(index=index)):
                route.tc("add", "clsact", index)
            parent = "ffff:fff2" if side == "ingress" else "ffff:fff3"
            route.tc(
                "add-filter", "bpf", index, ":1", fd=descriptor, name=name, parent=parent, direct_action=True
            )

    in_netns(space.path, attach)


def on_xdp(space: Space, device: str, descriptor: int) -> None:
    """Hang a loaded program on a device's XDP hook."""

    def attach() -> None:
        with IPRoute() as route:
            route.link("set", index=route.link_lookup(ifname=device)[0], xdp_fd=descriptor)

    in_netns(space.path, attach)


@contextmanager
def on_tcx(space: Space, device: str, hook: int, descriptor: int) -> Iterator[None]:
    """Hang a loaded program on a device without any filter, until the end."""
    index = int(space.run("cat", f"/sys/class/net/{device}/ifindex"))
    link = in_netns(space.path, call, LINK_CREATE, struct.pack("=IIII", descriptor, index, hook, 0))
    try:
        yield
    finally:
        os.close(link)


@contextmanager
def on_netfilter(space: Space, family: int, hook: int, priority: int, descriptor: int) -> Iterator[None]:
    """Hang a loaded program on a netfilter hook, by the kernel's numbers, until the end."""
    block = struct.pack("=IIIIIIiI", descriptor, 0, NETFILTER, 0, family, hook, priority, 0)
    link = in_netns(space.path, call, LINK_CREATE, block)
    try:
        yield
    finally:
        os.close(link)


@contextmanager
def on_cgroup(directory: Path, hook: str, descriptor: int) -> Iterator[None]:
    """Hang a loaded program on a cgroup, until the end."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        call(PROG_ATTACH, struct.pack("=IIII", opened, descriptor, HOOKS[hook], 2))  # BPF_F_ALLOW_MULTI
        try:
            yield
        finally:
            call(PROG_DETACH, struct.pack("=IIII", opened, descriptor, HOOKS[hook], 0))
    finally:
        os.close(opened)


@contextmanager
def own_cgroup() -> Iterator[Path]:
    """A new cgroup of the unified hierarchy, without processes at the end; skips where there is none."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            made = Path(before.split(" ")[4], f"nt-t-{secrets.token_hex(4)}")
            break
    else:
        pytest.skip("no cgroup2 is mounted")
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error.strerror}")
    try:
        yield made
    finally:
        for process in (made / "cgroup.procs").read_text().split():
            (made.parent / "cgroup.procs").write_text(process)
        made.rmdir()
