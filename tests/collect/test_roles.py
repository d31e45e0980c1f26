"""Guessing what a namespace is for, from its devices and routes."""

from nettrace.collect.roles import Facts, role_of
from nettrace.model.links import Address, Link, PortAttrs
from nettrace.model.routes import NextHop, Route

LO = Link(index=1, name="lo", kind="loopback")
ETH0 = Link(index=2, name="eth0", kind="veth")
PORT = Link(index=3, name="veth1", kind="veth", master="br0", port=PortAttrs())
BRIDGE = Link(index=4, name="br0", kind="bridge")
TUNNEL = Link(index=5, name="tunl0", kind="ipip", up=False)
ADDRESS = Address(device="br0", address="10.1.0.1", prefixlen=24)


def default(*devices: str) -> Route:
    """A default route over these devices."""
    return Route(
        dst="0.0.0.0/0", nexthops=tuple(NextHop(device=device, via="10.1.0.1") for device in devices)
    )


def facts(
    *links: Link, routes: tuple[Route, ...] = (), addressed: bool = False, forwards: bool = False
) -> Facts:
    """A namespace with a loopback and these."""
    return Facts((LO, *links), (ADDRESS,) if addressed else (), routes, forwards)


def test_a_bridge_with_ports_and_an_address_is_a_node() -> None:
    """Whoever bridges and has an address of its own is a node."""
    assert role_of(facts(BRIDGE, PORT, addressed=True)) == "node"


def test_a_bridge_without_an_address_is_a_wire() -> None:
    """A switch has ports and nobody to talk to."""
    assert role_of(facts(BRIDGE, PORT)) == "wire"


def test_forwarding_between_devices_is_a_node() -> None:
    """A router is a node; devices that are down do not count."""
    other = Link(index=6, name="eth1", kind="veth")
    assert role_of(facts(ETH0, other, forwards=True)) == "node"
    assert role_of(facts(ETH0, TUNNEL, forwards=True, routes=(default("eth0"),))) == "pod"


def test_a_leaf_with_one_default_route_is_a_pod() -> None:
    """One default route, through a veth; others are nobody in particular."""
    assert role_of(facts(ETH0, routes=(default("eth0"),))) == "pod"
    assert role_of(facts(ETH0)) == "other"
    assert role_of(facts()) == "other"
    uplink = Link(index=7, name="ens3", kind="device")
    assert role_of(facts(uplink, routes=(default("ens3"),))) == "other"
    refusing = Route(dst="0.0.0.0/0", type="unreachable")
    assert role_of(facts(ETH0, routes=(refusing,))) == "other"
