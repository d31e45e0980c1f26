"""
Pods on a bridge of their node, as the CNI plugins ``bridge`` and ``host-local`` leave them.

Lives here: the bridge, a pod's end, the leases.  Shared by the network systems that use these plugins.
"""

from hashlib import sha256

from nettrace.lab.addresses import host
from nettrace.lab.names import mac_of
from nettrace.lab.topologies.pod_network import Site
from nettrace.lab.topologies.wire import attach_pod, pod_wiring
from nettrace.model.lab import LabNetns

__all__ = ["bridge_wiring", "bridged_pod", "leases"]


def bridge_wiring(site: Site, bridge: str, mtu: int, *, hairpin: bool = True) -> tuple[str, ...]:
    """The lines that make the node's bridge, with the first address of its pods' network, and its ports."""
    gateway = host(site.node.pod_cidr, 1)
    lines = [
        f"link add {bridge} mtu {mtu} address {mac_of(f'{site.node.name} {bridge}')} type bridge",
        f"addr add {gateway}/{site.node.pod_cidr.prefixlen} brd + dev {bridge}",
        f"link set {bridge} up",
    ]
    for pod in site.pods:
        lines += attach_pod(pod, bridge, mtu, hairpin=hairpin)
    return tuple(lines)


def bridged_pod(site: Site, pod: LabNetns) -> tuple[str, ...]:
    """The lines inside a pod: its address, and the bridge as its gateway."""
    return pod_wiring(pod, site.node.pod_cidr.prefixlen, host(site.node.pod_cidr, 1))


def leases(site: Site, network: str) -> dict[str, str]:
    """Return host-local's leases of a CNI network: a file an address, who has it inside."""
    return {
        f"var/lib/cni/networks/{network}/{pod.addresses[0]}": (
            f"{sha256((pod.pod or '').encode()).hexdigest()}\neth0"  # host-local: no newline at the end
        )
        for pod in site.pods
    }
