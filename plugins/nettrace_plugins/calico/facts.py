"""
What Calico says about itself.

Lives here: reading the Nodes' annotations, Calico's own objects (pools, blocks, settings), and the files
that calico-node leaves.
Not here: what follows from it (peers, pods, masquerade).
Sources: libcalico-go/lib/backend/k8s/resources/node.go (annotations), api/pkg/apis/projectcalico/v3.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from nettrace.model.addr import canonical_address, canonical_prefix, family_of, in_prefix, network_of
from nettrace.model.kube import CustomObject, KubeNode, Pod
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.calico.names import TUNNEL, VXLAN, WORKLOAD, vtep_mac

__all__ = [
    "ANNOTATION",
    "GROUP",
    "KINDS",
    "NODENAME",
    "OWNER",
    "Pool",
    "Published",
    "all_pods",
    "blocks_of",
    "custom",
    "devices",
    "local_pods",
    "mode_of",
    "pools",
    "published",
    "runs_on",
    "setting",
    "version",
]

OWNER = "calico-node"

#: Prefix of Calico's annotations of Nodes.
ANNOTATION = "projectcalico.org/"
#: API group of its objects.
GROUP = "crd.projectcalico.org"
#: The kinds that are read, with their plurals.
KINDS = {
    "BlockAffinity": "blockaffinities",
    "ClusterInformation": "clusterinformations",
    "FelixConfiguration": "felixconfigurations",
    "IPPool": "ippools",
}

NODENAME = "/var/lib/calico/nodename"


class Published(Struct, frozen=True, kw_only=True):
    """What one node publishes: its address and network, and the addresses of its tunnels' ends."""

    node: str
    address: str
    network: str
    internal: tuple[str, ...] = ()
    vxlan: str = ""
    ipip: str = ""
    mac: str = ""

    @property
    def source(self) -> str:
        """Where it was read."""
        return f"annotations of Node {self.node}"


class Pool(Struct, frozen=True, kw_only=True):
    """An IPPool; the modes are Never, Always or CrossSubnet."""

    name: str
    cidr: str
    ipip: str = "Never"
    vxlan: str = "Never"
    nat_outgoing: bool = False
    disabled: bool = False


def published(snapshot: Snapshot) -> dict[str, Published]:
    """Return what each node publishes, by name."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    return {node.name: one for node in nodes if (one := _published(node)) is not None}


def _published(node: KubeNode) -> Published | None:
    notes = {key.removeprefix(ANNOTATION): value for key, value in node.annotations.items()}
    address, _, length = notes.get("IPv4Address", "").partition("/")
    try:
        own = canonical_address(address)
        network = network_of(own, int(length or 32))
    except ValueError:
        return None
    return Published(
        node=node.name,
        address=own,
        network=network,
        internal=tuple(one for one in node.internal_ips if family_of(one) == 4),
        vxlan=notes.get("IPv4VXLANTunnelAddr", ""),
        ipip=notes.get("IPv4IPIPTunnelAddr", ""),
        mac=notes.get("VXLANTunnelMACAddr", "").lower() or vtep_mac(node.name),
    )


def custom(snapshot: Snapshot, kind: str) -> tuple[CustomObject, ...]:
    """Return Calico's objects of one kind."""
    section = snapshot.kube.custom
    known = section.value if isinstance(section, Known) else ()
    return tuple(one for one in known if (one.group, one.kind) == (GROUP, kind))


def pools(snapshot: Snapshot) -> tuple[Pool, ...]:
    """Return the IPv4 pools."""
    found = []
    for one in custom(snapshot, "IPPool"):
        try:
            cidr = canonical_prefix(str(one.spec.get("cidr", "")))
        except ValueError:
            continue
        if family_of(cidr) == 4:
            found.append(
                Pool(
                    name=one.name,
                    cidr=cidr,
                    ipip=str(one.spec.get("ipipMode") or "Never"),
                    vxlan=str(one.spec.get("vxlanMode") or "Never"),
                    nat_outgoing=one.spec.get("natOutgoing") is True,
                    disabled=one.spec.get("disabled") is True,
                )
            )
    return tuple(found)


def blocks_of(snapshot: Snapshot) -> dict[str, str]:
    """Return the node that each IPv4 block belongs to (BlockAffinity, confirmed and not deleted)."""
    found = {}
    for one in custom(snapshot, "BlockAffinity"):
        spec = one.spec
        try:
            cidr = canonical_prefix(str(spec.get("cidr", "")))
        except ValueError:
            continue
        deleted = str(spec.get("deleted", "false")).lower() == "true"
        if family_of(cidr) == 4 and not deleted and spec.get("state") == "confirmed":
            found[cidr] = str(spec.get("node", ""))
    return found


def setting(snapshot: Snapshot, name: str) -> Any:
    """Return one setting of the FelixConfiguration ``default``; None if it is not set."""
    found = next((one for one in custom(snapshot, "FelixConfiguration") if one.name == "default"), None)
    return found.spec.get(name) if found is not None else None


def version(snapshot: Snapshot) -> str:
    """Return Calico's version as ClusterInformation has it, "" where it is not known."""
    found = [one.spec.get("calicoVersion") for one in custom(snapshot, "ClusterInformation")]
    return next((one for one in found if isinstance(one, str)), "")


def _files(snapshot: Snapshot, node: str) -> Mapping[str, str]:
    state = snapshot.nodes.get(node)
    return state.files.value if state is not None and isinstance(state.files, Known) else {}


def devices(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    """Return Calico's devices of a namespace: pods' veths, vxlan.calico, tunl0."""
    section = snapshot.section(SectionKey(netns, "links"))
    links = section.value if isinstance(section, Known) else ()
    return tuple(
        link.name
        for link in links
        if (link.kind == "veth" and link.name.startswith(WORKLOAD))
        or (link.kind, link.name) in (("vxlan", VXLAN), ("ipip", TUNNEL))
    )


def runs_on(snapshot: Snapshot, node: str) -> bool:
    """Is Calico on this node: does it publish itself there, has it left its file, or pods' devices?"""
    if node in published(snapshot) or NODENAME in _files(snapshot, node):
        return True
    state = snapshot.nodes.get(node)
    return state is not None and any(name.startswith(WORKLOAD) for name in devices(snapshot, state.netns))


def all_pods(snapshot: Snapshot) -> tuple[Pod, ...]:
    """Return the running pods that have an address of their own."""
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    return tuple(pod for pod in pods if not pod.host_network and pod.phase == "Running" and pod.ips)


def local_pods(snapshot: Snapshot, node: str) -> tuple[Pod, ...]:
    """Return those of them that run on a node."""
    return tuple(pod for pod in all_pods(snapshot) if pod.node_name == node)


def mode_of(snapshot: Snapshot, block: str, own: Published, peer: Published) -> str:
    """Say how *own* reaches what is in *block* at *peer*: ``direct``, ``ipip``, ``vxlan``, "" if unknown."""
    address = block.partition("/")[0]
    pool = next((one for one in pools(snapshot) if in_prefix(address, one.cidr)), None)
    if pool is None:
        return ""
    near = in_prefix(peer.address, own.network)
    for name, mode in (("vxlan", pool.vxlan), ("ipip", pool.ipip)):
        if mode == "Always" or (mode == "CrossSubnet" and not near):
            return name
    return "direct"
