"""Guessing what a namespace is for, from its devices and routes."""

from nettrace.collect.glimpse import Device, Glimpse
from nettrace.collect.roles import role_of

ETH0 = Device(name="eth0", kind="veth")
ETH1 = Device(name="eth1", kind="veth")
PORT = Device(name="veth1", kind="veth", port=True)
BRIDGE = Device(name="br0", kind="bridge")
UPLINK = Device(name="ens3", kind="device")


def test_a_bridge_with_ports_and_an_address_is_a_node() -> None:
    """Whoever bridges and has an address of its own is a node."""
    assert role_of(Glimpse(devices=(BRIDGE, PORT), addressed=True)) == "node"


def test_a_bridge_without_an_address_is_a_wire() -> None:
    """A switch has ports and nobody to talk to."""
    assert role_of(Glimpse(devices=(BRIDGE, PORT))) == "wire"


def test_forwarding_between_devices_is_a_node() -> None:
    """A router is a node; one device is not enough, and neither is a bridge without ports."""
    assert role_of(Glimpse(devices=(ETH0, ETH1), forwards=True)) == "node"
    assert role_of(Glimpse(devices=(ETH0, BRIDGE), forwards=True, defaults=frozenset({"eth0"}))) == "pod"


def test_a_leaf_with_one_default_route_is_a_pod() -> None:
    """One default route, through a veth; others are nobody in particular."""
    assert role_of(Glimpse(devices=(ETH0,), defaults=frozenset({"eth0"}))) == "pod"
    assert role_of(Glimpse(devices=(ETH0,))) == "other"
    assert role_of(Glimpse()) == "other"
    assert role_of(Glimpse(devices=(UPLINK,), defaults=frozenset({"ens3"}))) == "other"
    assert role_of(Glimpse(devices=(ETH0, ETH1), defaults=frozenset({"eth0", "eth1"}))) == "other"
