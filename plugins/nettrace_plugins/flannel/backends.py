"""
flannel's back ends: how the nodes of a cluster reach each other's pods.

Lives here: what flanneld publishes of a node in its annotations, and the devices, routes,
neighbours and forwarding entries that it makes of what the others publish.
Not here: the bridge, the masquerade rules and all else that the back ends share (topology).
"""

import json
from collections.abc import Callable
from ipaddress import IPv4Network

from msgspec import Struct

from nettrace.lab import tun_relay
from nettrace.lab.blueprint import Daemon
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.detach import command
from nettrace.lab.names import mac_of
from nettrace.lab.topologies.pod_network import Site

__all__ = ["HOST_GW", "UDP", "VXLAN", "VXLAN_DEVICE", "VXLAN_DIRECT", "Backend"]

_VNI = 1
VXLAN_DEVICE = f"flannel.{_VNI}"
_VXLAN_PORT = 8472
_WIRE_MTU = 1500
_VXLAN_MTU = _WIRE_MTU - 50  # less IP, UDP, VXLAN and Ethernet headers


class Backend(Struct, frozen=True, kw_only=True):
    """
    One back end.

    ``topology`` is the name it is built by, ``mtu`` that of the pods.  ``annotations`` (node's name)
    are what it publishes of a node, ``wiring`` lines for ip(8) that make its devices and ways to the
    other nodes, ``fdb`` lines for bridge(8).  ``daemon`` is flanneld where it carries packets itself,
    ``conf`` the ``Backend`` of net-conf.json where nothing else tells it.
    """

    topology: str
    mtu: int
    annotations: Callable[[str], dict[str, str]]
    wiring: Callable[[Site], list[str]]
    fdb: Callable[[Site], list[str]] = lambda site: []
    daemon: Callable[[Site], Daemon] | None = None
    conf: str = ""

    def published(self, node: LabNode, net: IPv4Network) -> dict[str, str]:
        """Return the annotations of a node (pkg/subnet/kube/annotations.go of flannel)."""
        notes = self.annotations(node.name) | {"kube-subnet-manager": "true", "public-ip": node.address}
        return {f"flannel.alpha.coreos.com/{key}": notes[key] for key in sorted(notes)}


# --- vxlan -----------------------------------------------------------------------------


def _vtep_mac(node: str) -> str:
    return mac_of(f"{node} {VXLAN_DEVICE}")


def _vxlan_annotations(node: str) -> dict[str, str]:
    data = json.dumps({"VNI": _VNI, "VtepMAC": _vtep_mac(node)}, separators=(",", ":"))
    return {"backend-data": data, "backend-type": "vxlan"}


def _vxlan_device(site: Site) -> list[str]:
    node = site.node
    ends = f"local {node.address} dev eth0 dstport {_VXLAN_PORT}"
    mac = _vtep_mac(node.name)
    return [
        f"link add {VXLAN_DEVICE} mtu {_VXLAN_MTU} address {mac} type vxlan id {_VNI} {ends} nolearning",
        f"addr add {node.pod_cidr.network_address}/32 dev {VXLAN_DEVICE}",
        f"link set {VXLAN_DEVICE} up",
    ]


def _vxlan_wiring(site: Site) -> list[str]:
    lines = _vxlan_device(site)
    for peer in site.peers:
        vtep = peer.pod_cidr.network_address
        lines += [
            f"neigh replace {vtep} lladdr {_vtep_mac(peer.name)} dev {VXLAN_DEVICE} nud permanent",
            f"route add {peer.pod_cidr} via {vtep} dev {VXLAN_DEVICE} onlink",
        ]
    return lines


def _vxlan_fdb(site: Site) -> list[str]:
    return [
        f"fdb add {_vtep_mac(peer.name)} dev {VXLAN_DEVICE} self permanent dst {peer.address}"
        for peer in site.peers
    ]


VXLAN = Backend(
    topology="flannel-vxlan",
    mtu=_VXLAN_MTU,
    annotations=_vxlan_annotations,
    wiring=_vxlan_wiring,
    fdb=_vxlan_fdb,
)


def _direct_wiring(site: Site) -> list[str]:
    return _vxlan_device(site) + _host_gw_wiring(site)  # a lab's nodes are all on one network


VXLAN_DIRECT = Backend(
    topology="flannel-vxlan-direct",
    mtu=_VXLAN_MTU,
    annotations=_vxlan_annotations,
    wiring=_direct_wiring,
    conf='{"Type": "vxlan", "DirectRouting": true}',
)


# --- host-gw ---------------------------------------------------------------------------


def _host_gw_annotations(node: str) -> dict[str, str]:
    return {"backend-data": "null", "backend-type": "host-gw"}


def _host_gw_wiring(site: Site) -> list[str]:
    return [f"route add {peer.pod_cidr} via {peer.address} dev eth0" for peer in site.peers]


HOST_GW = Backend(
    topology="flannel-host-gw",
    mtu=_WIRE_MTU,
    annotations=_host_gw_annotations,
    wiring=_host_gw_wiring,
)


# --- udp -------------------------------------------------------------------------------

_UDP_MTU = _WIRE_MTU - 28  # less IP and UDP headers
_UDP_PORT = 8285
_TUN = "flannel0"


def _udp_annotations(node: str) -> dict[str, str]:
    return {"backend-data": "null", "backend-type": ""}  # flannel's own says nothing of it


def _udp_wiring(site: Site) -> list[str]:
    return []  # flanneld makes its device, and takes it along when it ends


def _udp_daemon(site: Site) -> Daemon:
    node = site.node
    pid_file = f"run/{node.name}.flanneld.pid"
    argv = command(
        tun_relay,
        *(str(site.root / pid_file), _TUN),
        *(str(node.pod_cidr.network_address), str(site.pod_net), str(_UDP_MTU), node.address, str(_UDP_PORT)),
        *(f"{peer.pod_cidr}={peer.address}" for peer in site.peers),
    )
    return Daemon(netns=site.netns, name=f"{node.name} flanneld", argv=argv, pid_file=pid_file)


UDP = Backend(
    topology="flannel-udp",
    mtu=_UDP_MTU,
    annotations=_udp_annotations,
    wiring=_udp_wiring,
    daemon=_udp_daemon,
    conf='{"Type": "udp"}',
)
