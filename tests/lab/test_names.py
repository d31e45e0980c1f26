"""Names, hardware addresses and the cutting of networks."""

import re
from ipaddress import IPv4Network

import pytest

from nettrace.lab.addresses import host, network, node_pod_cidrs, service_addresses
from nettrace.lab.names import check_lab_name, lab_prefix, mac_of, netns_name, node_name, veth_name
from nettrace.model.errors import UserError


@pytest.mark.parametrize("name", ["a", "lab1", "my-lab", "x" * 30])
def test_good_lab_names(name: str) -> None:
    """Letters, digits and dashes make a lab's name."""
    assert check_lab_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "..", "x" * 31, "a\n"])
def test_bad_lab_names(name: str) -> None:
    """What could leave the lab's directory or confuse a shell is no name."""
    with pytest.raises(UserError, match="cannot be the name of a lab"):
        check_lab_name(name)


def test_netns_names() -> None:
    """A namespace's name is the lab's prefix and its own, as long as a file's name may be."""
    assert netns_name("lab1", "node-a") == "ntl-lab1-node-a"
    assert netns_name("lab1", "x").startswith(lab_prefix("lab1"))
    with pytest.raises(UserError, match="too long"):
        netns_name("lab1", "x" * 250)


def test_device_names_and_addresses() -> None:
    """Devices have names the kernel takes, and hardware addresses that are unicast and nobody's."""
    assert re.fullmatch(r"veth[0-9a-f]{8}", veth_name("hostnames-0"))
    for owner in map(str, range(50)):
        assert int(mac_of(owner)[:2], 16) & 3 == 2
    assert len({mac_of(str(number)) for number in range(50)}) == 50
    assert [node_name(index) for index in range(3)] == ["node-a", "node-b", "node-c"]


@pytest.mark.parametrize(
    ("cluster", "nodes", "expected"),
    [
        ("10.244.0.0/16", 2, ["10.244.1.0/24", "10.244.2.0/24"]),
        ("10.0.0.0/23", 2, ["10.0.0.0/24", "10.0.1.0/24"]),
        ("10.0.0.0/24", 1, ["10.0.0.0/24"]),
        ("10.0.0.0/24", 2, ["10.0.0.0/25", "10.0.0.128/25"]),
        ("10.0.0.0/24", 3, ["10.0.0.64/26", "10.0.0.128/26", "10.0.0.192/26"]),
    ],
)
def test_pod_cidrs(cluster: str, nodes: int, expected: list[str]) -> None:
    """Every node gets a part of the pod network, /24 where there is room; parts never overlap."""
    found = node_pod_cidrs(IPv4Network(cluster), nodes)
    assert [str(cidr) for cidr in found] == expected


def test_too_small() -> None:
    """A network without room is an error that says so."""
    with pytest.raises(UserError, match="too small for 2 nodes"):
        node_pod_cidrs(IPv4Network("10.0.0.0/28"), 2)
    with pytest.raises(UserError, match="no room"):
        host(IPv4Network("10.0.0.0/28"), 15)
    with pytest.raises(UserError, match="is no IPv4 network"):
        network("10.0.0.1/8", "the pod network")
    with pytest.raises(UserError, match="too small for a lab"):
        network("10.0.0.0/30", "the pod network")


def test_service_addresses() -> None:
    """ClusterIPs are given out once each, those that people ask for by number last."""
    net = IPv4Network("10.96.0.0/27")
    found = list(service_addresses(net, {"10.96.0.20"}))
    assert found[0] == "10.96.0.16"
    assert "10.96.0.20" not in found
    assert len(found) == len(set(found)) == 29
