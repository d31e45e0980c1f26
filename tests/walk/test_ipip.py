"""IPIP between two nodes, as Calico's tunl0; what the kernel says of it is in tests/vm/test_walk_ipip.py."""

import pytest

from nettrace.model.links import IpipAttrs
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import World, flow, one_path

ACROSS = flow("node1", "10.244.2.2", 9376)


def nodes() -> World:
    """Two nodes on a wire; what is for 10.244.2.2, an address of node2, goes into tunl0."""
    world = World()
    world.netns("wire", "wire", "wire")
    for number in (1, 2):
        node = f"node{number}"
        world.netns(node, node, "node")
        world.veth(node, "eth0", "wire", f"port{number}")
        world[node].address("eth0", f"192.168.50.1{number}/24")
        world[node].add_link("tunl0", "ipip", mtu=1480, noarp=True, ipip=IpipAttrs())
        world[node].address("tunl0", f"10.244.{number}.0/32")
    world["node2"].address("tunl0", "10.244.2.2/32")
    world["node2"].listen(9376)
    world.bridge("wire", "br0", "port1", "port2")
    world["node1"].route("10.244.2.0/24", "tunl0", "192.168.50.12")
    world["node2"].route("10.244.1.0/24", "tunl0", "192.168.50.11")
    return world


def test_across() -> None:
    """The next hop of the route is the far end; 20 bytes more, the inner packet's TTL and DF."""
    path = one_path(nodes(), ACROSS)
    assert path.outcome is Outcome.CONNECTED
    tunnel = [step for step in path.request.steps if step.stage is Stage.TUNNEL]
    assert [(step.netns, step.verdict) for step in tunnel] == [
        ("node1", "encapsulate"),
        ("node2", "decapsulate"),
    ]
    outer = tunnel[0].after
    assert outer is not None
    assert outer.inner is not None
    assert (outer.src, outer.dst, outer.proto) == ("192.168.50.11", "192.168.50.12", "4")
    assert (outer.size, outer.ttl, outer.df) == (outer.inner.size + 20, outer.inner.ttl, outer.inner.df)


@pytest.mark.parametrize(
    ("where", "attributes", "verdict"),
    [
        ("node2", IpipAttrs(remote="192.168.50.99"), Verdict.NO_TUNNEL_DESTINATION),
        ("node2", IpipAttrs(remote="192.168.50.11", local="192.168.50.12"), Verdict.DELIVERED),
        ("node1", IpipAttrs(remote="192.168.51.9"), Verdict.NO_ROUTE),
        ("node1", IpipAttrs(special=("external",)), Verdict.UNKNOWN),
        ("node1", None, Verdict.UNKNOWN),
    ],
)
def test_attributes(where: str, attributes: IpipAttrs | None, verdict: Verdict) -> None:
    """Ends that are given count at both sides; what is not understood is unknown."""
    world = nodes()
    world[where].change("tunl0", ipip=attributes)
    path = one_path(world, ACROSS)
    assert path.verdict is verdict, path.reason


def test_a_kernel_without_it() -> None:
    """Where no device shows that the kernel has the protocol, nobody can tell."""
    world = nodes()
    world["node2"].change("tunl0", kind="tun", ipip=None)
    path = one_path(world, ACROSS)
    assert path.verdict is Verdict.UNKNOWN
    assert "takes protocol 4" in path.reason
