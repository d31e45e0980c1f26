"""
Faults of Calico's labs, as the shell commands that make them, and those that take all of them back.

Lives here: what calico-bgp and calico-vxlan share.
"""

from hashlib import sha1
from ipaddress import IPv4Network

from tests.acceptance.faults import Scene
from tests.acceptance.matrix import ends_of

__all__ = ["block_of", "heal", "no_masquerade", "no_proxy_arp", "no_workload_route", "veth"]


def veth(pod: str) -> str:
    """The node's end of a pod's veth, as Calico names it."""
    return "cali" + sha1(pod.replace("/", ".").encode(), usedforsecurity=False).hexdigest()[:11]


def block_of(scene: Scene, node: str) -> str:
    """A node's only block."""
    return str(next(IPv4Network(scene.pod_cidr[node]).subnets(new_prefix=26)))


def there(scene: Scene) -> str:
    """The pod of the far node that is called."""
    _, far = ends_of(scene)
    return next(pod for pod, node in scene.node_of.items() if node == far)


def no_proxy_arp(scene: Scene) -> list[tuple[str, str]]:
    """The client's device no longer answers for the gateway, which the client has forgotten."""
    near, _ = ends_of(scene)
    client = scene.client[near]
    return [
        (near, f"sysctl -qw net.ipv4.conf.{veth(client)}.proxy_arp=0"),
        (client, "ip neigh flush dev eth0"),
    ]


def no_workload_route(scene: Scene) -> list[tuple[str, str]]:
    """Delete the far node's route to the pod that is called."""
    _, far = ends_of(scene)
    return [(far, f"ip route del {scene.endpoints[there(scene)]}")]


def no_masquerade(scene: Scene) -> list[tuple[str, str]]:
    """Empty the chain that masquerades what leaves the pools."""
    return [(ends_of(scene)[0], "iptables -t nat -F cali-nat-outgoing")]


def heal(scene: Scene) -> list[tuple[str, str]]:
    """Take back all of them that are not in table nat."""
    near, far = ends_of(scene)
    client, pod = scene.client[near], there(scene)
    return [
        (near, f"sysctl -qw net.ipv4.conf.{veth(client)}.proxy_arp=1"),
        (client, "ip neigh flush dev eth0"),
        (far, f"ip route replace {scene.endpoints[pod]} dev {veth(pod)} scope link"),
    ]
