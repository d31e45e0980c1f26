"""Programs on devices: attached by bpf(2) and netlink, found on the link."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyroute2 import IPRoute

from nettrace.collect.discover import Handle
from nettrace.collect.netns import in_netns
from nettrace.collect.reader import Reader
from nettrace.model.section import Known, SectionKey
from tests.kernel.bed import Bed, Space

BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, LINK_CREATE = 5, 28
SCHED_CLS, XDP = 3, 6
TCX_INGRESS = 46
# r0 = VERDICT; exit
CODE = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    """Make the system call; skip the test where the kernel does not allow it."""
    number = BPF.get(os.uname().machine)
    if number is None:
        pytest.skip("unknown system call number")
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    found: int = _libc.syscall(number, command, buffer, 128)
    if found < 0:
        pytest.skip(f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return found


@contextmanager
def program(kind: int) -> Iterator[int]:
    """A loaded program that does nothing but return."""
    code = ctypes.create_string_buffer(CODE)
    license_ = ctypes.create_string_buffer(b"GPL")
    descriptor = bpf(
        PROG_LOAD, struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(license_))
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def programs(space: Space, device: str) -> tuple[str, ...]:
    """What the link says hangs on it."""
    key = SectionKey("a", "links")
    with Reader([Handle(name="a", path=space.path, inode=space.inode)]) as reader:
        section = reader.read([key], reader.skeleton()).section(key)
    assert isinstance(section, Known)
    (found,) = [link.programs for link in section.value if link.name == device]
    return tuple(found)


def index_of(space: Space, device: str) -> int:
    """The interface index of a device."""
    return int(space.run("cat", f"/sys/class/net/{device}/ifindex"))


def test_xdp(netns: Bed) -> None:
    """An XDP program shows with its mode."""
    a = netns.new("a")
    netns.stub(a, "v0")

    def attach(descriptor: int) -> None:
        with IPRoute() as route:
            route.link("set", index=index_of(a, "v0"), xdp_fd=descriptor)

    assert programs(a, "v0") == ()
    with program(XDP) as descriptor:
        in_netns(a.path, attach, descriptor)
        (found,) = programs(a, "v0")
    assert found.startswith("xdp ")
    assert programs(a, "v0-end") == ()


def test_tcx(netns: Bed) -> None:
    """A BPF program attached without any tc filter shows, and only where it is."""
    a = netns.new("a")
    netns.stub(a, "v0")
    index = index_of(a, "v0")
    with program(SCHED_CLS) as descriptor:
        link = in_netns(a.path, bpf, LINK_CREATE, struct.pack("=IIII", descriptor, index, TCX_INGRESS, 0))
        try:
            assert programs(a, "v0") == ("tcx ingress",)
            assert programs(a, "v0-end") == ()
        finally:
            os.close(link)
    assert programs(a, "v0") == ()


def test_a_tc_filter(netns: Bed) -> None:
    """A classic filter at ingress shows with its side and kind."""
    a = netns.new("a")
    netns.stub(a, "v0")
    a.run("tc", "qdisc", "add", "dev", "v0", "clsact")
    assert programs(a, "v0") == ()
    a.run("tc", "filter", "add", "dev", "v0", "egress", "bpf", "da", "bytecode", "1,6 0 0 4294967295,")
    assert programs(a, "v0") == ("tc egress bpf",)


def test_netem(netns: Bed) -> None:
    """A queue that loses packets shows; one that only delays them does not."""
    a = netns.new("a")
    netns.stub(a, "v0")
    netns.stub(a, "v1")
    added = a.run("tc", "qdisc", "add", "dev", "v0", "root", "netem", "loss", "10%", check=False)
    if "netem" not in a.run("tc", "qdisc", "show", "dev", "v0"):
        pytest.skip(f"no netem in this kernel: {added}")
    a.run("tc", "qdisc", "add", "dev", "v1", "root", "netem", "delay", "10ms")
    assert programs(a, "v0") == ("netem loss",)
    assert programs(a, "v1") == ()
