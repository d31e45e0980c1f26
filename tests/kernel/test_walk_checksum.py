"""A checksum that a rule has written: who finds it wrong, with devices' offloads on and off."""

import array
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from nettrace.collect.netns import in_netns
from nettrace.collect.offloads import read_offloads
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.native import load, watched
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
_SPOILS = """
table ip spoils {{
  chain at {{
    type filter hook {hook} priority 0
    {proto} dport {port} {proto} checksum set 0x1234
  }}
}}
"""
_NEW = """
table ip fw {
  chain pre {
    type filter hook prerouting priority 0
    ct state new drop
  }
}
"""
_INVALID = """
table ip fw {
  chain filter { type filter hook forward priority 0; ct state invalid drop; }
}
"""


@pytest.fixture
def net(netns: Bed) -> Iterator[Net]:
    """A network that is being built."""
    found = Net(netns)
    try:
        yield found
    finally:
        found.close()


def _offload_checksums(net: Net, label: str, device: str, *, on: bool) -> None:
    """ethtool -K DEVICE tx on|off."""
    value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, on))
    request = struct.pack("16sP16x", device.encode(), value.buffer_info()[0])

    def told() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCETHTOOL, request)

    in_netns(net[label].path, told)


def test_offloads_are_read(net: Net) -> None:
    """Each device that says what it does, and what it does now."""
    TOPOLOGIES["router"](net)
    for on in (False, True):
        _offload_checksums(net, "client", "eth0", on=on)
        held = {one.device: one.tx_checksums for one in in_netns(net["client"].path, read_offloads)}
        assert held == {"eth0": on, "lo": True}


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize(("proto", "port"), [("udp", 7), ("tcp", 80)])
def test_of_a_socket(net: Net, proto: str, port: int, on: bool) -> None:
    """Nobody looks while a device is to finish it; one that does not makes it wrong for good."""
    TOPOLOGIES["router"](net)
    load(net, "client", _SPOILS.format(hook="postrouting", proto=proto, port=port))
    _offload_checksums(net, "client", "eth0", on=on)
    answer = watched(net, net.flow("client", "10.2.0.2", port, proto))
    assert answer.outcome is (Outcome.CONNECTED if on else Outcome.TIMEOUT)
    assert answer.verdict is (Verdict.DELIVERED if on else Verdict.BAD_CHECKSUM)


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_of_a_tunnel(net: Net, on: bool) -> None:
    """The outer checksum of VXLAN: what a pod sent is lost at the far end's port, without a word."""
    TOPOLOGIES["vxlan"](net)
    load(net, "node1", _SPOILS.format(hook="postrouting", proto="udp", port=8472))
    _offload_checksums(net, "node1", "eth0", on=on)
    answer = watched(net, net.flow("pod1", "10.244.2.2", 9376, "tcp"))
    assert answer.verdict is (Verdict.DELIVERED if on else Verdict.BAD_CHECKSUM)
    if not on:
        assert "spoils" in answer.paths[0].reason


def test_connection_tracking_calls_it_invalid(net: Net) -> None:
    """A router that tracks looks at the checksum in PREROUTING."""
    TOPOLOGIES["router"](net)
    load(net, "client", _SPOILS.format(hook="postrouting", proto="udp", port=7))
    load(net, "r", _INVALID)
    _offload_checksums(net, "client", "eth0", on=False)
    flow = net.flow("client", "10.2.0.2", 7, "udp")
    assert watched(net, flow).verdict is Verdict.DROPPED_BY_RULE
    net["r"].sysctl("net.netfilter.nf_conntrack_checksum", 0)
    assert watched(net, flow).verdict is Verdict.BAD_CHECKSUM


def test_of_somebody_else_s_packet(net: Net) -> None:
    """How far the sum is of what a router passes on is not told by its state, nor what the next one tracks."""
    TOPOLOGIES["router"](net)
    load(net, "r", _SPOILS.format(hook="forward", proto="udp", port=7))
    load(net, "server", _NEW)
    answer = net.walked(net.flow("client", "10.2.0.2", 7, "udp"))
    assert answer.outcome is Outcome.UNKNOWN
    assert all("spoils" in path.reason and "checksum" in path.reason for path in answer.paths)
