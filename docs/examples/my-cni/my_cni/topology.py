"""my-cni in a lab: what its agent does to a node."""

from pathlib import Path

from my_cni.plugin import BRIDGE
from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.topologies.bridged import bridge_wiring, bridged_pod
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site

MTU = 1500


def my_cni(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster with my-cni on its nodes."""
    network = PodNetwork(
        topology="my-cni",
        annotations=lambda node, net: {},
        wiring=_wiring,
        pod_wiring=bridged_pod,
    )
    return kubernetes(network, lab, root, options)


def _wiring(site: Site) -> tuple[str, ...]:
    """Lines for ip(8) in the node: the bridge with its pods, and the ways to the peers."""
    routes = (f"route add {peer.pod_cidr} via {peer.address} dev eth0" for peer in site.peers)
    return (*bridge_wiring(site, BRIDGE, MTU), *routes)
