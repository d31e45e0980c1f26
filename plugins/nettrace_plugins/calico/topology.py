"""
Calico in a lab: what its CNI plugin, Felix and BIRD do to a node.

Lives here: a PodNetwork for each way between the nodes, and the topologies that are made of them.
Not here: rules (felix), BIRD's configuration (bird), the cluster (nettrace.lab.topologies.kubernetes).
"""

import json
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from msgspec import Struct

from nettrace.lab.blueprint import Blueprint, Daemon, Options
from nettrace.lab.cluster.documents import Document
from nettrace.lab.cluster.policies import Policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.lab.topologies.wire import route_pod
from nettrace.model.lab import LabNetns
from nettrace.model.xt import XtRuleset
from nettrace_plugins.calico.bird import bird_daemon, bird_files
from nettrace_plugins.calico.facts import ANNOTATION, GROUP
from nettrace_plugins.calico.felix import Felix, felix, sets_text
from nettrace_plugins.calico.names import PREFIX, TUNNEL, VXLAN, veth, vtep_mac

__all__ = [
    "calico_bgp",
    "calico_ipip",
    "calico_vxlan",
    "device_settings",
    "pod_device",
    "pod_routes",
    "routed_pod",
]

_BLOCK = 26
_HOST_MAC = "ee:ee:ee:ee:ee:ee"
_GATEWAY = "169.254.1.1"
_WIRE_MTU = 1500
_VERSION = "v3.26.4"
#: Since then Felix can lead to the blocks of pools with IPIP; BIRD needs patches of Calico's for it.
_PROGRAMMING_VERSION = "v3.31.0"
_VXLAN_ID, _VXLAN_PORT = 4096, 4789
#: The protocol of Felix' routes that are no pod's (dataplanedefs.VXLANDefaultProto).
_FELIX = 80


class Way(Struct, frozen=True, kw_only=True):
    """
    How the nodes reach each other's pods.

    ``encapsulation`` is as in Felix, ``wiring`` and ``fdb`` are what Felix makes of the peers; with
    ``bgp`` BIRD tells and learns the blocks.  ``modules`` are the kernel's that it takes.
    """

    topology: str
    encapsulation: str = ""
    mtu: int = _WIRE_MTU
    bgp: bool = False
    modules: tuple[str, ...] = ()
    version: str = _VERSION
    wiring: Callable[[Site], list[str]] = lambda site: []
    fdb: Callable[[Site], list[str]] = lambda site: []


def calico_bgp(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose nodes tell each other by BGP where their pods are."""
    return kubernetes(pod_network(BGP), lab, root, options)


def calico_vxlan(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose nodes a VXLAN of Calico joins."""
    return kubernetes(pod_network(VXLAN_WAY), lab, root, options)


def calico_ipip(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose nodes put the pods' packets into packets of their own."""
    return kubernetes(pod_network(IPIP), lab, root, options)


def pod_network(way: Way) -> PodNetwork:
    """Return what Calico does on the nodes with this way between them."""

    def annotations(node: LabNode, net: IPv4Network) -> dict[str, str]:
        notes = {"IPv4Address": f"{node.address}/{net.prefixlen}"}
        if way.encapsulation == "vxlan":
            notes["IPv4VXLANTunnelAddr"] = _tunnel_address(node)
        if way.encapsulation == "ipip":
            notes["IPv4IPIPTunnelAddr"] = _tunnel_address(node)
        return {f"{ANNOTATION}{key}": notes[key] for key in sorted(notes)}

    def wiring(site: Site) -> tuple[str, ...]:
        return (*pod_routes(site, way.mtu), *way.wiring(site))

    def daemons(site: Site) -> tuple[Daemon, ...]:
        if not way.bgp:
            return ()
        return (bird_daemon(site, [net for peer in site.peers for net in blocks(site, peer)]),)

    def files(site: Site) -> dict[str, str]:
        return _files(site, way)

    def objects(sites: Sequence[Site]) -> tuple[Document, ...]:
        return tuple(_objects(sites, way))

    def rules(present: XtRuleset, site: Site) -> Policed:
        pool = str(site.pod_net)
        own = Felix(
            node=site.node.name,
            kube=site.kube,
            encapsulation=way.encapsulation,
            pools=(pool,),
            masqueraded=(pool,),
            hosts=tuple(node.address for node in site.nodes),
        )
        made, sets = felix(own, present)
        return Policed(made, sets_text(sets))

    return PodNetwork(
        topology=way.topology,
        annotations=annotations,
        wiring=wiring,
        pod_wiring=routed_pod,
        fdb=way.fdb,
        rules=rules,
        agents=(PREFIX,),
        modules=way.modules,
        objects=objects,
        device_sysctls=device_settings,
        files=files,
        daemons=daemons,
    )


def pod_routes(site: Site, mtu: int) -> tuple[str, ...]:
    """Return the lines that attach the node's pods, each by a device of its own and a route."""
    return tuple(line for pod in site.pods for line in route_pod(pod, pod_device(pod), mtu, _HOST_MAC))


def pod_device(pod: LabNetns) -> str:
    """Return the name of the node's end of a pod's veth."""
    namespace, _, name = (pod.pod or "").partition("/")
    return veth(namespace, name)


def blocks(site: Site, node: LabNode) -> tuple[str, ...]:
    """Return the address blocks that *node* owns: those that its tunnel's and its pods' addresses are in."""
    length = max(_BLOCK, node.pod_cidr.prefixlen)
    addresses = [_tunnel_address(node), *(pod.addresses[0] for pod in site.pods_of.get(node.name, ()))]
    found = {IPv4Network(f"{address}/{length}", strict=False) for address in addresses}
    return tuple(str(net) for net in sorted(found))


def _tunnel_address(node: LabNode) -> str:
    return str(node.pod_cidr.network_address)


def routed_pod(site: Site, pod: LabNetns) -> tuple[str, ...]:
    """As the CNI plugin leaves it: an address of its own, and a gateway that only ARP knows."""
    return (
        "link set lo up",
        "link set eth0 up",
        f"route add {_GATEWAY} dev eth0 scope link",
        f"route add default via {_GATEWAY} dev eth0",
        f"addr add {pod.addresses[0]}/32 dev eth0",
    )


def device_settings(site: Site) -> dict[str, str]:
    """What the CNI plugin and Felix set on a pod's device (felix/dataplane/linux/endpoint_mgr.go)."""
    found: dict[str, str] = {}
    for pod in site.pods:
        device = pod_device(pod)
        found |= {
            f"net.ipv4.conf.{device}.route_localnet": "1",
            f"net.ipv4.neigh.{device}.proxy_delay": "0",
            f"net.ipv4.conf.{device}.proxy_arp": "1",
            f"net.ipv4.conf.{device}.forwarding": "1",
        }
    return found


# --- VXLAN -----------------------------------------------------------------------------


def _vxlan_wiring(site: Site) -> list[str]:
    node = site.node
    ends = f"local {node.address} dev eth0 dstport {_VXLAN_PORT}"
    made = f"{VXLAN} mtu {_WIRE_MTU - 50} address {vtep_mac(node.name)}"
    lines = [
        f"link add {made} type vxlan id {_VXLAN_ID} {ends} nolearning",
        f"addr add {_tunnel_address(node)}/32 dev {VXLAN}",
        f"link set {VXLAN} up",
        *(f"route add blackhole {net} proto {_FELIX}" for net in blocks(site, node)),
    ]
    for peer in site.peers:
        vtep = _tunnel_address(peer)
        lines.append(f"neigh replace {vtep} lladdr {vtep_mac(peer.name)} dev {VXLAN} nud permanent")
        lines += [f"route add {net} via {vtep} dev {VXLAN} onlink" for net in blocks(site, peer)]
    return lines


def _vxlan_fdb(site: Site) -> list[str]:
    return [
        f"fdb add {vtep_mac(peer.name)} dev {VXLAN} self permanent dst {peer.address}" for peer in site.peers
    ]


# --- IPIP ------------------------------------------------------------------------------


def _ipip_wiring(site: Site) -> list[str]:
    """tunl0 is there in every namespace as soon as the kernel has the module."""
    return [
        f"link set {TUNNEL} mtu {_WIRE_MTU - 20} up",
        f"addr add {_tunnel_address(site.node)}/32 dev {TUNNEL}",
        *(f"route add blackhole {net} proto {_FELIX}" for net in blocks(site, site.node)),
        *(
            f"route add {net} via {peer.address} dev {TUNNEL} onlink proto {_FELIX}"
            for peer in site.peers
            for net in blocks(site, peer)
        ),
    ]


BGP = Way(topology="calico-bgp", bgp=True)
IPIP = Way(
    topology="calico-ipip",
    encapsulation="ipip",
    mtu=_WIRE_MTU - 20,
    modules=("ipip",),
    version=_PROGRAMMING_VERSION,
    wiring=_ipip_wiring,
)
VXLAN_WAY = Way(
    topology="calico-vxlan",
    encapsulation="vxlan",
    mtu=_WIRE_MTU - 50,
    wiring=_vxlan_wiring,
    fdb=_vxlan_fdb,
)


# --- objects and files -----------------------------------------------------------------


def _object(kind: str, name: str, **spec: object) -> Document:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _objects(sites: Sequence[Site], way: Way) -> list[Document]:
    """The pool, who owns which block of it, and the version."""
    modes = {"ipipMode": "Never", "vxlanMode": "Never"}
    if way.encapsulation:
        modes[f"{way.encapsulation}Mode"] = "Always"
    found = [
        _object("ClusterInformation", "default", calicoVersion=way.version, datastoreReady=True),
        _object(
            "IPPool",
            "default-ipv4-ippool",
            cidr=str(sites[0].pod_net),
            blockSize=_BLOCK,
            natOutgoing=True,
            nodeSelector="all()",
            **modes,
        ),
    ]
    if way.encapsulation == "ipip":
        found.append(_object("FelixConfiguration", "default", programClusterRoutes="Enabled"))
    for site in sites:
        for net in blocks(site, site.node):
            name = f"{site.node.name}-{net.replace('.', '-').replace('/', '-')}"
            spec = {"cidr": net, "node": site.node.name, "state": "confirmed", "deleted": "false"}
            found.append(_object("BlockAffinity", name, **spec))
    return found


def _files(site: Site, way: Way) -> dict[str, str]:
    """What calico-node and the installation of its CNI plugin leave on a node."""
    plugin = {
        "type": "calico",
        "log_level": "info",
        "datastore_type": "kubernetes",
        "nodename": site.node.name,
        "mtu": way.mtu,
        "ipam": {"type": "calico-ipam"},
        "policy": {"type": "k8s"},
    }
    conflist = {"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [plugin]}
    found = {
        "etc/cni/net.d/10-calico.conflist": json.dumps(conflist, indent=2) + "\n",
        "var/lib/calico/nodename": site.node.name,
        "var/lib/calico/mtu": str(way.mtu),
    }
    return found | (bird_files(site, blocks(site, site.node)) if way.bgp else {})
