"""
The networks of walkbed with IPv6 beside IPv4.

Lives here: addresses, routes and listeners that are added to each topology.  Where IPv4 has
10.A.B.C, IPv6 has fd00:A:B::C or fd00:A::C; link-local addresses are the kernel's own.
"""

from collections.abc import Callable

from tests.kernel.service_rules import service_rules
from tests.kernel.walkbed import TOPOLOGIES, Net

__all__ = ["TOPOLOGIES6"]


def _router(net: Net) -> None:
    """client fd00:1::2 -- r fd00:1::1, fd00:2::1 -- server fd00:2::2."""
    TOPOLOGIES["router"](net)
    net["client"].address("eth0", "fd00:1::2/64")
    net["server"].address("eth0", "fd00:2::2/64")
    net["r"].address("c", "fd00:1::1/64")
    net["r"].address("s", "fd00:2::1/64")
    net["client"].ip("-6 route add default via fd00:1::1")
    net["server"].ip("-6 route add default via fd00:2::1")
    net["r"].sysctl("net.ipv6.conf.all.forwarding", 1)
    for label in ("r", "server"):
        net.listen(label, 80, address="::")
        net.listen(label, 7, "udp", address="::")


def _two_ways(net: Net) -> None:
    """client and server joined twice, by r1 (fd00:1, fd00:2) and by r2 (fd00:3, fd00:4)."""
    TOPOLOGIES["two-ways"](net)
    for number, label in ((0, "r1"), (1, "r2")):
        a, b = 1 + 2 * number, 2 + 2 * number
        net["client"].address(f"eth{number}", f"fd00:{a}::2/64")
        net["server"].address(f"eth{number}", f"fd00:{b}::2/64")
        net[label].address("c", f"fd00:{a}::1/64")
        net[label].address("s", f"fd00:{b}::1/64")
        net[label].sysctl("net.ipv6.conf.all.forwarding", 1)
        net[label].ip(f"-6 route add default via fd00:{b}::2")
    net["client"].ip("-6 route add default via fd00:1::1")
    net["server"].ip("-6 route add default via fd00:2::1")
    net.listen("server", 80, address="::")
    net.listen("server", 7, "udp", address="::")


def _pods(net: Net) -> None:
    """node with cni0 fd00:244:1::1/64, pods ::2 ::3 ::4 at 9376 tcp and 53 udp; outside fd00:50::100."""
    TOPOLOGIES["pods"](net)
    net["node"].address("eth0", "fd00:50::11/64")
    net["outside"].address("eth0", "fd00:50::100/64")
    net["node"].address("cni0", "fd00:244:1::1/64")
    net["node"].sysctl("net.ipv6.conf.all.forwarding", 1)
    for number in (1, 2, 3):
        net[f"pod{number}"].address("eth0", f"fd00:244:1::{number + 1}/64")
        net[f"pod{number}"].ip("-6 route add default via fd00:244:1::1")
    for label in ("pod1", "pod2", "pod3", "node", "outside"):
        net.listen(label, 9376, address="::")
        net.listen(label, 53, "udp", address="::")
    net["node"].run("ip6tables-restore", stdin=service_rules(6))


def _vxlan(net: Net) -> None:
    """IPv6 pods fd00:244:N::2 behind flannel.1, whose underlay is IPv4."""
    TOPOLOGIES["vxlan"](net)
    _overlay(net, "flannel.1")


def _vxlan_over_6(net: Net) -> None:
    """The same through a second tunnel, flannel-v6.1, whose underlay is IPv6 (fd00:50::1N)."""
    TOPOLOGIES["vxlan"](net)
    for number in (1, 2):
        node = net[f"node{number}"]
        node.address("eth0", f"fd00:50::1{number}/64")
        node.ip(
            f"link add flannel-v6.1 type vxlan id 2 local fd00:50::1{number} dev eth0 dstport 8472 nolearning"
        )
    _overlay(net, "flannel-v6.1", "fd00:50::1")


def _overlay(net: Net, device: str, underlay: str = "192.168.50.1") -> None:
    macs = {number: net.mac(f"node{number}", device) for number in (1, 2)}
    for number, other in ((1, 2), (2, 1)):
        node, pod = net[f"node{number}"], net[f"pod{number}"]
        node.sysctl("net.ipv6.conf.all.forwarding", 1)
        node.address("cni0", f"fd00:244:{number}::1/64")
        pod.address("eth0", f"fd00:244:{number}::2/64")
        pod.ip(f"-6 route add default via fd00:244:{number}::1")
        node.address(device, f"fd00:244:{number}::/128")
        node.ip(f"-6 route add fd00:244:{other}::/64 via fd00:244:{other}:: dev {device} onlink")
        node.ip(f"-6 neigh add fd00:244:{other}:: lladdr {macs[other]} dev {device} nud permanent")
        if device != "flannel.1":
            node.run("bridge", "fdb", "add", macs[other], "dev", device, "dst", f"{underlay}{other}")
        net.listen(f"pod{number}", 9376, address="::")
        net.listen(f"pod{number}", 53, "udp", address="::")


TOPOLOGIES6: dict[str, Callable[[Net], None]] = {
    "router": _router,
    "two-ways": _two_ways,
    "pods": _pods,
    "vxlan": _vxlan,
    "vxlan-over-6": _vxlan_over_6,
}
