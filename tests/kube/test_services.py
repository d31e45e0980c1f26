"""Which Services kube-proxy serves, and what their fields mean."""

import pytest
from msgspec.structs import replace

from nettrace.kube.services import (
    ProxiedPort,
    addresses_of_family,
    is_proxied,
    prefixes_of_family,
    proxied_ports,
)
from nettrace.model.kube import Service, ServicePort

PORT = ServicePort(port=80, name="http")
PLAIN = Service(name="web", cluster_ips=("10.96.0.20", "fd00::20"), ports=(PORT,))


def proxied(service: Service, family: int = 4) -> ProxiedPort:
    """The one port of *service* as kube-proxy sees it."""
    (port,) = proxied_ports([service], family)
    return port


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (PLAIN, True),
        (replace(PLAIN, type="NodePort"), True),
        (replace(PLAIN, type="LoadBalancer"), True),
        (replace(PLAIN, headless=True), False),
        (replace(PLAIN, type="ExternalName", external_name="db.example.com"), False),
        (replace(PLAIN, labels={"service.kubernetes.io/service-proxy-name": "cilium"}), False),
        (replace(PLAIN, labels={"service.kubernetes.io/headless": ""}), False),
        (replace(PLAIN, labels={"app": "web"}), True),
    ],
)
def test_what_kube_proxy_serves(service: Service, expected: bool) -> None:
    """Headless, ExternalName and somebody else's Services get no rules."""
    assert is_proxied(service) is expected
    assert bool(proxied_ports([service], 4)) is expected


def test_each_family_sees_its_own_addresses() -> None:
    """A dual-stack Service is two, and addresses of the other family are not seen."""
    service = replace(
        PLAIN,
        external_ips=("192.0.2.1", "2001:db8::1"),
        load_balancer_ips=("2001:db8::2", "192.0.2.2"),
        load_balancer_source_ranges=("198.51.100.7/24", "2001:db8:1::/48"),
    )
    four, six = proxied(service, 4), proxied(service, 6)
    assert (four.cluster_ip, six.cluster_ip) == ("10.96.0.20", "fd00::20")
    assert (four.external_ips, six.external_ips) == (("192.0.2.1",), ("2001:db8::1",))
    assert (four.load_balancer_ips, six.load_balancer_ips) == (("192.0.2.2",), ("2001:db8::2",))
    assert (four.source_ranges, six.source_ranges) == (("198.51.100.0/24",), ("2001:db8:1::/48",))


def test_no_cluster_ip_of_a_family_no_rules_in_it() -> None:
    """An IPv4 Service with an IPv6 external address is not served in IPv6."""
    service = replace(PLAIN, cluster_ips=("10.96.0.20",), external_ips=("2001:db8::1",))
    assert proxied_ports([service], 6) == ()


def test_what_is_no_address_is_left_out() -> None:
    """The API server stores no such thing; a file may hold it."""
    assert addresses_of_family(["10.0.0.1", "10.0.0.256", "fd00::1", "host"], 4) == ("10.0.0.1",)
    assert prefixes_of_family(["10.0.0.0/33", " 10.0.0.0/8 ", "fd00::/8", "all"], 4) == ("10.0.0.0/8",)


def test_services_come_in_order() -> None:
    """By namespace, then by name, ports as they are listed."""
    ports = (ServicePort(port=1, name="b"), ServicePort(port=2, name="a"))
    services = [
        replace(PLAIN, namespace="z"),
        replace(PLAIN, name="y", ports=ports),
        replace(PLAIN, name="x"),
    ]
    found = [port.name for port in proxied_ports(services, 4)]
    assert found == ["default/x:http", "default/y:b", "default/y:a", "z/web:http"]


NODE_PORT = replace(PLAIN, type="NodePort", ports=(replace(PORT, node_port=30080),))
EXTERNAL_IP = replace(PLAIN, external_ips=("192.0.2.1",))
BALANCER = replace(PLAIN, type="LoadBalancer", load_balancer_ips=("192.0.2.2",))


@pytest.mark.parametrize(
    ("service", "internal", "external", "accessible", "uses"),
    [
        (PLAIN, "Cluster", "Cluster", False, (True, False)),
        (PLAIN, "Local", "Cluster", False, (False, True)),
        # externalTrafficPolicy says nothing about a Service that nobody reaches from outside
        (PLAIN, "Cluster", "Local", False, (True, False)),
        (PLAIN, "Local", "Local", False, (False, True)),
        (NODE_PORT, "Cluster", "Cluster", True, (True, False)),
        (NODE_PORT, "Cluster", "Local", True, (True, True)),
        (NODE_PORT, "Local", "Cluster", True, (True, True)),
        (NODE_PORT, "Local", "Local", True, (True, True)),
        (EXTERNAL_IP, "Cluster", "Local", True, (True, True)),
        (BALANCER, "Cluster", "Local", True, (True, True)),
        (BALANCER, "Cluster", "Cluster", True, (True, False)),
        # no address yet and no NodePort: nothing comes from outside
        (replace(BALANCER, load_balancer_ips=()), "Cluster", "Local", False, (True, False)),
    ],
)
def test_traffic_policies(
    service: Service, internal: str, external: str, accessible: bool, uses: tuple[bool, bool]
) -> None:
    """Which endpoints a port ever uses follows from both policies and from where it is reached."""
    port = proxied(replace(service, internal_traffic_policy=internal, external_traffic_policy=external))
    assert port.externally_accessible is accessible
    assert port.internal_local is (internal == "Local")
    assert port.external_local is (external == "Local" and service is not PLAIN)
    assert (port.uses_cluster, port.uses_local) == uses


@pytest.mark.parametrize(
    ("type_", "policy", "number", "expected"),
    [
        ("LoadBalancer", "Local", 32100, 32100),
        ("LoadBalancer", "Local", None, None),
        ("LoadBalancer", "Cluster", 32100, None),
        ("NodePort", "Local", 32100, None),
    ],
)
def test_health_check_node_port(type_: str, policy: str, number: int | None, expected: int | None) -> None:
    """Only a load balancer with policy Local asks nodes whether they have endpoints."""
    service = replace(PLAIN, type=type_, external_traffic_policy=policy, health_check_node_port=number)
    assert proxied(service).health_check_node_port == expected


def test_words_for_a_port() -> None:
    """Name, protocol and subject are those that rules and findings use."""
    port = proxied(replace(PLAIN, ports=(ServicePort(port=53, protocol="UDP"),)))
    assert (port.name, port.proto, port.subject) == ("default/web", "udp", "svc/default/web")
