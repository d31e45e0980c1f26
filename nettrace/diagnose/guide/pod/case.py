"""
Which pod, and what all its checks know about it.

Lives here: the case, the node's network as the pod's runtime sees it (CNI configuration, pool of
addresses), and questions to the state that several checks have.
"""

from msgspec import Struct

from nettrace.diagnose.guide.request import Asking, delegated, section, state
from nettrace.kube.ipam import capacity, confs_of, free_in, is_leaked, leases_of, node_files
from nettrace.model.addr import is_loopback
from nettrace.model.cni import CniConf, CniPlugin, Ipam, Lease
from nettrace.model.kube import KubeNode, Pod
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = [
    "PodCase",
    "PodNetwork",
    "Pool",
    "addresses_of",
    "kube_node",
    "mac_of",
    "network_of_pod",
    "pool_of",
]


class PodCase(Struct, frozen=True, kw_only=True):
    """
    What is debugged: a pod, and its node ("" while it is on none).

    ``known`` is false for a pod without an object, that only its sandbox names.
    """

    pod: Pod
    node: str
    known: bool = True

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return self.pod.key

    @property
    def subject(self) -> str:
        """``pod/namespace/name``."""
        return f"pod/{self.key}"

    @property
    def over(self) -> str:
        """Why nothing is asked of its network, "" where something is."""
        if self.pod.host_network:
            return "it is on the node's own network (hostNetwork), whose addresses it has"
        if self.pod.phase in ("Succeeded", "Failed"):
            return f"it has ended ({self.pod.phase}), and given its address back"
        return ""


class PodNetwork(Struct, frozen=True, kw_only=True):
    """
    The network that a node's runtime gives to pods.

    ``conf`` is the configuration that counts, ``others`` those that do not; ``plugin`` the one
    that makes the device, as its system hands it on.  All empty without a valid configuration.
    """

    confs: tuple[CniConf, ...]
    conf: CniConf | None = None
    plugin: CniPlugin | None = None

    @property
    def ipam(self) -> Ipam | None:
        """Who gives addresses."""
        return self.plugin.ipam if self.plugin is not None else None


class Pool(Struct, frozen=True, kw_only=True):
    """
    The addresses of a node: how many there are and are free, who has them.

    ``leaked`` are leases that are nobody's, ``unsure`` those of which it is not known.
    """

    leases: tuple[Lease, ...]
    size: int
    free: int
    leaked: tuple[Lease, ...]
    unsure: tuple[Lease, ...]


def network_of_pod(case: PodCase) -> Asking[PodNetwork | str]:
    """Return the network of the pod's node; a sentence where its files were not read."""
    yield from section(SectionKey(f"node:{case.node}", "files"))
    snapshot = yield from state()
    if node_files(snapshot, case.node) is None:
        found = snapshot.section(SectionKey(f"node:{case.node}", "files"))
        return f"the files of {case.node} were not read: {found.reason or found.kind.value}"
    confs = confs_of(snapshot, case.node)
    conf = confs[0] if confs and not confs[0].error else None
    plugin = (yield from delegated(case.node, conf.plugins[0])) if conf is not None else None
    return PodNetwork(confs=confs, conf=conf, plugin=plugin)


def pool_of(snapshot: Snapshot, node: str, network: PodNetwork) -> Pool | None:
    """Return the node's pool of addresses; None where host-local does not keep it."""
    ipam, conf = network.ipam, network.conf
    if ipam is None or conf is None or ipam.type != "host-local":
        return None
    leases = leases_of(snapshot, node, conf.name, ipam)
    rows = tuple(row for one in ipam.ranges[:1] for row in one)
    judged = [(lease, is_leaked(snapshot, node, lease)) for lease in leases]
    return Pool(
        leases=leases,
        size=capacity(rows),
        free=free_in(rows, leases),
        leaked=tuple(lease for lease, leaked in judged if leaked),
        unsure=tuple(lease for lease, leaked in judged if leaked is None),
    )


def kube_node(snapshot: Snapshot, name: str) -> KubeNode | None:
    """Return the Node of that name, if it is known."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    return next((one for one in nodes if one.name == name), None)


def addresses_of(snapshot: Snapshot, netns: str) -> tuple[tuple[str, str], ...] | None:
    """Return (device, address) of a namespace, those of its scope global; None if they were not read."""
    found = snapshot.namespaces[netns].addresses
    if not isinstance(found, Known):
        return None
    return tuple(
        (one.device, one.address)
        for one in found.value
        if one.scope == "global" and not is_loopback(one.address)
    )


def mac_of(snapshot: Snapshot, netns: str, address: str) -> str:
    """Return the hardware address of the device with an address, "" if it was not read."""
    found = snapshot.namespaces.get(netns)
    if found is None or not isinstance(found.links, Known) or not isinstance(found.addresses, Known):
        return ""
    device = next((one.device for one in found.addresses.value if one.address == address), "")
    return next((one.mac for one in found.links.value if one.name == device), "")
