"""What the configuration and the Node make of the rules."""

import pytest
from msgspec.structs import replace

from nettrace.kube.settings import LocalDetector, Settings, settings
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, KubeNode, KubeProxyConfig
from nettrace.model.section import NOT_READ, Known
from nettrace.model.xt_match import Negatable

NODE = KubeNode(
    name="n1",
    internal_ips=("192.168.50.11", "fd00:50::11"),
    external_ips=("203.0.113.9",),
    pod_cidrs=("10.244.1.0/24", "fd00:10:244:1::/64"),
    labels={"topology.kubernetes.io/zone": "zone-a"},
)
CONFIG = KubeProxyConfig(cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"))


def made(
    config: KubeProxyConfig = CONFIG, *, family: int = 4, addresses: tuple[str, ...] | None = None
) -> Settings:
    """The settings of node n1."""
    kube = Kube(nodes=Known((NODE,)), proxy=Known(config))
    return settings(kube, "n1", family=family, addresses=addresses)


@pytest.mark.parametrize(
    ("changes", "family", "expected"),
    [
        ({}, 4, LocalDetector(src="10.244.0.0/16")),
        ({}, 6, LocalDetector(src="fd00:10:244::/56")),
        ({"detect_local_mode": ""}, 4, LocalDetector(src="10.244.0.0/16")),
        ({"cluster_cidrs": ()}, 4, LocalDetector()),
        ({"cluster_cidrs": ("10.244.0.0/16",)}, 6, LocalDetector()),
        ({"detect_local_mode": "NodeCIDR"}, 4, LocalDetector(src="10.244.1.0/24")),
        ({"detect_local_mode": "NodeCIDR"}, 6, LocalDetector(src="fd00:10:244:1::/64")),
        (
            {"detect_local_mode": "BridgeInterface", "detect_local_bridge": "cni0"},
            4,
            LocalDetector(device="cni0"),
        ),
        ({"detect_local_mode": "BridgeInterface"}, 4, LocalDetector()),
        (
            {"detect_local_mode": "InterfaceNamePrefix", "detect_local_interface_prefix": "cali"},
            4,
            LocalDetector(device="cali+"),
        ),
        ({"detect_local_mode": "InterfaceNamePrefix"}, 4, LocalDetector()),
    ],
)
def test_telling_local_traffic(changes: dict[str, str], family: int, expected: LocalDetector) -> None:
    """By the cluster's or the node's prefix, by bridge or by device name, or not at all."""
    assert made(replace(CONFIG, **changes), family=family).detector == expected


def test_tests_for_local_traffic() -> None:
    """A prefix is tested as source, a device as input."""
    assert LocalDetector(src="10.0.0.0/8").test(local=True) == (Negatable("10.0.0.0/8"), None)
    assert LocalDetector(device="cni0").test(local=False) == (None, Negatable("cni0", invert=True))
    assert not LocalDetector().implemented


@pytest.mark.parametrize(
    ("prefixes", "family", "served", "localhost"),
    [
        ((), 4, None, True),
        ((), 6, None, False),
        (("0.0.0.0/0",), 4, None, True),
        (("192.168.50.0/24", "0.0.0.0/0"), 4, None, True),
        (("192.168.50.0/24",), 4, ("192.168.50.11",), False),
        (("192.168.50.0/24",), 6, None, False),
        (("127.0.0.0/8",), 4, ("127.0.0.1",), True),
        (("127.0.0.1/32", "203.0.113.0/24"), 4, ("203.0.113.9", "127.0.0.1"), True),
        (("::/0",), 6, None, False),
        (("::1/128", "fd00:50::/64"), 6, ("fd00:50::11",), False),
        (("primary",), 4, ("192.168.50.11",), False),
        (("primary",), 6, ("fd00:50::11",), False),
        (("172.16.0.0/12",), 4, (), False),
    ],
)
def test_where_node_ports_are_served(
    prefixes: tuple[str, ...], family: int, served: tuple[str, ...] | None, localhost: bool
) -> None:
    """On every address unless nodePortAddresses names prefixes of the family."""
    chosen = made(replace(CONFIG, node_port_addresses=prefixes), family=family)
    assert chosen.node_port_ips == served
    assert chosen.localhost_node_ports is localhost


def test_primary_without_an_address_of_the_family_is_everywhere() -> None:
    """newProxyServer (cmd/kube-proxy/app/server.go, 1.29 and later) leaves a loopback node IP out."""
    node = KubeNode(name="n1", internal_ips=("192.168.50.11",))
    config = replace(CONFIG, version="1.36", node_port_addresses=("primary",))
    six = settings(Kube(nodes=Known((node,)), proxy=Known(config)), "n1", family=6)
    assert (six.node_ip, six.node_port_ips) == ("::1", None)


def test_localhost_can_be_switched_off() -> None:
    """Without localhostNodePorts the loopback address is not served though a prefix holds it."""
    config = replace(
        CONFIG, localhost_node_ports=False, node_port_addresses=("127.0.0.0/8", "192.168.50.0/24")
    )
    chosen = made(config)
    assert chosen.localhost_node_ports is False
    assert chosen.node_port_ips == ("192.168.50.11",)


def test_the_addresses_of_devices_are_taken_if_they_are_known() -> None:
    """A Node object does not list them all."""
    config = replace(CONFIG, node_port_addresses=("10.0.0.0/8",))
    assert made(config).node_port_ips == ()
    addresses = ("10.244.1.1", "192.168.50.11", "10.244.1.1", "fd00::1")
    assert made(config, addresses=addresses).node_port_ips == ("10.244.1.1",)


def test_the_node() -> None:
    """Its first address of the family, its zone, the mark's bit."""
    chosen = made(replace(CONFIG, masquerade_bit=15, masquerade_all=True))
    assert (chosen.node_ip, chosen.zone, chosen.mark) == ("192.168.50.11", "zone-a", 0x8000)
    assert chosen.masquerade_all
    assert not chosen.keeps_invalid


def test_a_node_without_an_address_of_the_family() -> None:
    """kube-proxy falls back to the loopback address."""
    kube = Kube(nodes=Known((KubeNode(name="n1", internal_ips=("10.0.0.1",)),)), proxy=Known(CONFIG))
    chosen = settings(kube, "n1", family=6)
    assert (chosen.node_ip, chosen.zone) == ("::1", "")
    older = replace(kube, proxy=Known(replace(CONFIG, version="1.28")))
    assert settings(older, "n1", family=6).node_ip == "::"
    assert settings(older, "n1").node_ip == "10.0.0.1"


@pytest.mark.parametrize(
    ("version", "bind_address", "expected"),
    [
        ("1.20", "", "192.168.50.11"),
        ("1.24", "", "0.0.0.0"),
        ("1.27", "", "0.0.0.0"),
        ("1.24", "192.168.50.99", "192.168.50.99"),
        ("1.28", "", "192.168.50.11"),
        ("1.36", "192.168.50.99", "192.168.50.99"),
        ("1.36", "fd00::1", "192.168.50.11"),
    ],
)
def test_the_address_it_takes_for_its_nodes(version: str, bind_address: str, expected: str) -> None:
    """Its own if it is bound to one; in dual stack up to 1.27 it did not look at the Node."""
    chosen = made(replace(CONFIG, version=version, bind_address=bind_address))
    assert chosen.node_ip == expected


def test_one_family_only() -> None:
    """In 1.20 dual stack is behind a feature gate; the family is that of the first address."""
    config = replace(CONFIG, version="1.20")
    assert made(config).family == 4
    with pytest.raises(UserError, match="serves no IPv6"):
        made(config, family=6)
    assert made(replace(config, feature_gates={"IPv6DualStack": True}), family=6).family == 6
    with pytest.raises(UserError, match="serves no IPv4"):
        made(replace(config, bind_address="fd00::1"))


@pytest.mark.parametrize(
    ("version", "option", "family", "localhost", "guarded", "sysctl"),
    [
        ("1.20", False, 4, True, False, True),
        ("1.24", False, 4, True, False, True),
        ("1.25", False, 4, True, False, True),
        ("1.26", False, 4, False, False, False),
        ("1.26", True, 4, True, False, True),
        ("1.27", False, 4, False, False, False),
        ("1.27", True, 4, True, True, True),
        ("1.27", True, 6, False, False, False),
    ],
)
def test_node_ports_on_localhost(
    version: str, option: bool, family: int, localhost: bool, guarded: bool, sysctl: bool
) -> None:
    """They can be switched off since 1.26; kube-proxy protects 127.0.0.0/8 itself since 1.27."""
    chosen = made(replace(CONFIG, version=version, localhost_node_ports=option), family=family)
    assert chosen.localhost_node_ports is localhost
    assert chosen.guards_localhost is guarded
    assert chosen.route_localnet is sysctl


@pytest.mark.parametrize(("version", "expected"), [("1.24", ("127.0.0.1",)), ("1.26", ()), ("1.36", ())])
def test_loopback_among_node_port_addresses(version: str, expected: tuple[str, ...]) -> None:
    """Without localhostNodePorts it is left out, by kube-proxies that know the option."""
    config = replace(
        CONFIG, version=version, node_port_addresses=("127.0.0.0/8",), localhost_node_ports=False
    )
    assert made(config).node_port_ips == expected


@pytest.mark.parametrize(
    ("version", "sysctl", "configured", "expected"),
    [
        ("1.28", True, True, False),
        ("1.29", True, False, True),
        ("1.29", False, True, True),
        ("1.29", False, False, False),
    ],
)
def test_liberal_with_windows(version: str, sysctl: bool, configured: bool, expected: bool) -> None:
    """INVALID packets are kept since 1.29, if the sysctl is set or kube-proxy sets it."""
    config = replace(CONFIG, version=version, tcp_be_liberal=configured)
    kube = Kube(nodes=Known((NODE,)), proxy=Known(config))
    assert settings(kube, "n1", be_liberal=sysctl).keeps_invalid is expected


def test_a_node_that_is_not_there() -> None:
    """The error lists the Nodes that are."""
    kube = Kube(nodes=Known((NODE, replace(NODE, name="n0"))), proxy=Known(CONFIG))
    with pytest.raises(UserError, match="no Node is called n7") as caught:
        settings(kube, "n7")
    assert caught.value.hint == "known Nodes: n0, n1"
    with pytest.raises(UserError) as caught:
        settings(Kube(nodes=Known(()), proxy=Known(CONFIG)), "n7")
    assert caught.value.hint == "known Nodes: none"


@pytest.mark.parametrize(
    "kube", [Kube(nodes=NOT_READ, proxy=Known(CONFIG)), Kube(nodes=Known((NODE,)), proxy=NOT_READ)]
)
def test_without_the_objects_nothing_is_settled(kube: Kube) -> None:
    """A configuration or a Node that was not read is an error, not a default."""
    with pytest.raises(UserError, match="were not read"):
        settings(kube, "n1")
