"""
The network that the dumps of the real kube-proxy are from, made of namespaces.

node-a (192.168.50.11) with two pods, node-b (.12) with the other endpoints, and somebody outside.
Every endpoint's address belongs to pod ``ep`` or to node-b; both listen at the endpoints' ports.
"""

import re
from collections.abc import Iterator

from nettrace.kube.services import proxied_ports
from nettrace.model.section import Known
from tests.kernel.walkbed import Net
from tests.kube.fixture_cluster import fixture_cluster

__all__ = ["SOURCES", "build", "targets"]

NODE_IP = "192.168.50.11"
#: A pod on the node, the node itself, and a client outside of the cluster.
SOURCES = ("client", "node", "outside")


def build(net: Net, rules: str) -> None:
    """Make the network for the endpoints that stand in *rules*; the rules are not loaded."""
    net.new("node", node="node-a", role="node")
    net.new("far", node="node-b", role="node")
    net.new("wire", role="wire")
    net.new("outside", role="outside")
    for label, address in (("node", NODE_IP), ("far", "192.168.50.12"), ("outside", "192.168.50.10")):
        net.veth(label, "eth0", "wire", f"to-{label}")
        net[label].address("eth0", f"{address}/24")
    net.bed.bridge(net["wire"], "br0", "to-node", "to-far", "to-outside")
    net["outside"].ip("addr add 192.168.60.10/32 dev lo")
    net["outside"].ip(f"route add default via {NODE_IP}")
    net["node"].ip("route add default via 192.168.50.10")
    endpoints = sorted(set(re.findall(r"10\.244\.[12]\.\d+", rules)) - {"10.244.1.1"})
    for label, address in (("client", "10.244.1.200"), ("ep", "10.244.1.201")):
        net.new(label, node="node-a", role="pod")
        net.veth("node", f"v-{label}", label, "eth0")
        net[label].address("eth0", f"{address}/24")
        net[label].ip("route add default via 10.244.1.1")
    net.bed.bridge(net["node"], "cni0", "v-client", "v-ep", address="10.244.1.1/24")
    for port in ("v-client", "v-ep"):
        net["node"].run("bridge", "link", "set", "dev", port, "hairpin", "on")
    for address in endpoints:
        if address.startswith("10.244.1."):
            net["ep"].ip(f"addr add {address}/24 dev eth0")
        else:
            net["far"].ip(f"addr add {address}/32 dev lo")
    net["node"].ip("route add 10.244.2.0/24 via 192.168.50.12")
    net["far"].ip(f"route add 10.244.1.0/24 via {NODE_IP}")
    net["far"].ip("route add 192.168.60.0/24 via 192.168.50.10")
    net["node"].sysctl("net.ipv4.ip_forward", 1)
    for device in ("all", "eth0"):  # a redirect would be taken for the error that is waited for
        net["node"].sysctl(f"net.ipv4.conf.{device}.send_redirects", 0)
    for label in net.spaces:
        net[label].sysctl("net.ipv4.icmp_ratelimit", 0)
    for label in ("ep", "far"):
        for number in (8080, 8081, 8443, 9376, 53):
            net.listen(label, number)
    net.listen("ep", 53, "udp", "10.244.1.2")
    net.listen("far", 53, "udp", "10.244.2.2")


def targets(*, loopback: bool = False) -> Iterator[tuple[str, int, str]]:
    """
    Yield (address, port, protocol) by which the fixture's Services are reached over TCP and UDP.

    With *loopback* each NodePort once more on 127.0.0.1.
    """
    services = fixture_cluster("iptables-1.36").services
    assert isinstance(services, Known)
    for port in proxied_ports(services.value, 4):
        if port.proto == "sctp":
            continue  # this kernel's test hosts have no listener for it
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
            yield address, port.port.port, port.proto
        if port.port.node_port:
            for address in (NODE_IP, *(("127.0.0.1",) if loopback else ())):
                yield address, port.port.node_port, port.proto
