"""
What flannel says about itself.

Lives here: reading the Nodes' annotations and the file that flanneld leaves for the CNI plugin.
Not here: what follows from it (peers.py, masquerade.py).
"""

import json
from collections.abc import Mapping

from msgspec import Struct

from nettrace.model.addr import canonical_address, canonical_prefix, family_of
from nettrace.model.kube import KubeNode
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = [
    "ANNOTATION",
    "NET_CONF",
    "SUBNET_ENV",
    "Published",
    "SubnetEnv",
    "direct_routing",
    "is_udp",
    "node_files",
    "own_and_peers",
    "subnet_env",
    "udp_port",
]

#: Prefix of flannel's annotations (pkg/subnet/kube/annotations.go).
ANNOTATION = "flannel.alpha.coreos.com/"

SUBNET_ENV = "/run/flannel/subnet.env"

#: The network's configuration, where the flanneld container mounts it.
NET_CONF = "/etc/kube-flannel/net-conf.json"


class Published(Struct, frozen=True, kw_only=True):
    """What one node publishes: its backend, address, pod CIDR, and for VXLAN its VNI and MAC."""

    node: str
    backend: str
    public_ip: str
    pod_cidr: str
    vni: int = 1
    mac: str = ""

    @property
    def source(self) -> str:
        """Where it was read."""
        return f"annotations of Node {self.node}"


class SubnetEnv(Struct, frozen=True, kw_only=True):
    """``/run/flannel/subnet.env``: the cluster's network, this node's part, who masquerades."""

    network: str
    subnet: str
    masquerades: bool


def own_and_peers(snapshot: Snapshot, node: str) -> tuple[Published | None, tuple[Published, ...]]:
    """Return what *node* publishes, and what the others do, by name."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    found = {entry.node: entry for one in nodes if (entry := _published(one)) is not None}
    if not is_udp(snapshot, node):  # alloc states no back end either, and carries nothing
        found = {name: entry for name, entry in found.items() if entry.backend != "udp"}
    return found.get(node), tuple(found[name] for name in sorted(found) if name != node)


def _published(node: KubeNode) -> Published | None:
    notes = node.annotations
    # the back end udp states none (pkg/backend/udp/udp_amd64.go)
    backend = notes.get(f"{ANNOTATION}backend-type") or (
        "udp" if f"{ANNOTATION}backend-type" in notes else ""
    )
    public_ip = notes.get(f"{ANNOTATION}public-ip", "")
    cidr = next((c for c in node.pod_cidrs if family_of(c) == 4), "")
    if not backend or not cidr:
        return None
    try:
        address, prefix = canonical_address(public_ip), canonical_prefix(cidr)
    except ValueError:
        return None
    data = _json(notes.get(f"{ANNOTATION}backend-data", ""))
    vni = data.get("VNI", 1)
    return Published(
        node=node.name,
        backend=backend,
        public_ip=address,
        pod_cidr=prefix,
        vni=vni if isinstance(vni, int) else 1,
        mac=str(data.get("VtepMAC", "")).lower(),
    )


def _json(text: str) -> Mapping[str, object]:
    """Return a JSON object; empty for what is none."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def node_files(snapshot: Snapshot, node: str) -> Mapping[str, str]:
    """Return the files of a node that were read."""
    state = snapshot.nodes.get(node)
    return state.files.value if state is not None and isinstance(state.files, Known) else {}


def subnet_env(snapshot: Snapshot, node: str) -> SubnetEnv | None:
    """Return what flanneld wrote for the CNI plugin; None if it is not there or not whole."""
    words: dict[str, str] = {}
    for line in node_files(snapshot, node).get(SUBNET_ENV, "").splitlines():
        name, found, value = line.strip().partition("=")
        if found:
            words[name] = value.strip().strip('"')
    try:
        return SubnetEnv(
            network=canonical_prefix(words["FLANNEL_NETWORK"]),
            subnet=canonical_prefix(words["FLANNEL_SUBNET"]),
            masquerades=words.get("FLANNEL_IPMASQ", "") == "true",
        )
    except (KeyError, ValueError):
        return None


def is_udp(snapshot: Snapshot, node: str) -> bool:
    """Is the network's configuration on *node* that of the back end udp?"""
    backend = _json(node_files(snapshot, node).get(NET_CONF, "")).get("Backend")
    return isinstance(backend, dict) and backend.get("Type") == "udp"


def udp_port(snapshot: Snapshot, node: str) -> int:
    """Return the UDP port of the back end udp: 8285 unless configured."""
    backend = _json(node_files(snapshot, node).get(NET_CONF, "")).get("Backend")
    port = backend.get("Port") if isinstance(backend, dict) else None
    return port if isinstance(port, int) else 8285


def direct_routing(snapshot: Snapshot, node: str) -> bool:
    """Does the VXLAN backend route straight to peers of the same network (``DirectRouting``)?"""
    backend = _json(node_files(snapshot, node).get(NET_CONF, "")).get("Backend")
    return isinstance(backend, dict) and backend.get("DirectRouting") is True
