"""Redirects of IPv6: the walk notes one where the kernel sends one."""

import os
import select
import socket
import struct
import time

import pytest

from nettrace.collect.netns import in_netns
from nettrace.model.addr import address_text
from nettrace.model.step import Stage
from tests.kernel.walkbed import Net
from tests.kernel.walkbed6 import TOPOLOGIES6

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_REDIRECT = 137


@pytest.fixture
def net(net: Net) -> Net:
    """A router, and fd00:1::8 on the client's link."""
    TOPOLOGIES6["router"](net)
    return net


def told(net: Net, dst: str) -> set[str]:
    """Send a datagram; return the next hops that redirects name to the client."""

    def listen() -> socket.socket:
        found = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        found.setblocking(False)
        return found

    with in_netns(net["client"].path, listen) as ear:
        net.tried(net.flow("client", dst, 9, "udp"), timeout=1.0)
        found = set()
        until = time.monotonic() + 0.5
        while select.select([ear], (), (), max(0.0, until - time.monotonic()))[0]:
            data = ear.recv(2048)
            if data[0] == _REDIRECT:
                found.add(address_text(int.from_bytes(struct.unpack_from("16s", data, 8)[0]), 6))
        return found


@pytest.mark.parametrize(
    ("dst", "commands", "target"),
    [
        # the destination is on the sender's own link
        ("fd00:9::1", ("r: ip -6 route add fd00:9::/64 dev c",), "fd00:9::1"),
        # behind a neighbour of the sender's, by its link-local address
        ("fd00:9::1", ("r: ip -6 route add fd00:9::/64 via fe80::77 dev c",), "fe80::77"),
        # by another address of it: no host could use that
        ("fd00:9::1", ("r: ip -6 route add fd00:9::/64 via fd00:1::77 dev c",), None),
        # on by another device
        ("fd00:2::2", (), None),
        # the sender is not on the link itself
        (
            "fd00:9::1",
            (
                "r: ip -6 route add fd00:9::/64 dev c",
                "client: ip -6 addr add fd00:7::2/128 dev lo nodad",
                "client: ip -6 route replace default via fd00:1::1 src fd00:7::2",
                "r: ip -6 route add fd00:7::/64 via fd00:1::2",
            ),
            None,
        ),
        # the router has no link-local address to tell it from
        (
            "fd00:9::1",
            ("r: ip -6 route add fd00:9::/64 dev c", "r: ip -6 addr flush dev c scope link"),
            None,
        ),
    ],
)
def test_a_redirect(net: Net, dst: str, commands: tuple[str, ...], target: str | None) -> None:
    """The next hop that the kernel names is that of the walk's note; where it tells of none there is none."""
    for line in commands:
        label, _, command = line.partition(": ")
        net.sh(label, command)
    answer = net.walked(net.flow("client", dst, 9, "udp"))
    step = next(
        one for one in answer.paths[0].request.steps if one.stage is Stage.FORWARD and one.netns == "r"
    )
    assert ("redirect" in step.note) == (target is not None)
    assert target is None or f" {target} " in step.note
    assert told(net, dst) == ({target} if target else set())
