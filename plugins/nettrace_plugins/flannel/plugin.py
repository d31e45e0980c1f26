"""flannel's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.model.cni import CniPlugin
from nettrace.model.finding import Evidence
from nettrace.model.links import Link
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.relay import Relay
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.flannel.causes import FLANNEL_ARP_MISSING, FLANNEL_FDB_MISSING
from nettrace_plugins.flannel.delegate import delegated
from nettrace_plugins.flannel.facts import (
    ANNOTATION,
    SUBNET_ENV,
    direct_routing,
    own_and_peers,
    subnet_env,
)
from nettrace_plugins.flannel.host_gw import HOSTGW_NO_L2
from nettrace_plugins.flannel.masquerade import CHAIN, owed_masquerade
from nettrace_plugins.flannel.peers import OWNER, owed_for_peers
from nettrace_plugins.flannel.udp import DEVICE, FLANNELD_DEAD, relays

__all__ = ["Flannel", "plugin"]

_NAMES = {
    "links/cni0": "the bridge of flannel's pods",
    f"xt/nat/{CHAIN}": "flannel's masquerade rules",
    "xt/filter/FLANNEL-FWD": "flannel's accepts for forwarded traffic",
}

#: What can go wrong in each of them.
_FAULTS = (
    *("bridge-nf-off", "forward-policy-drop", "hairpin-off", "ip-forward-off", "kube-postrouting-missing"),
    *("masquerade-missing", "service-jump-missing", "service-rules-absent", "stale-endpoint-rule"),
    "svc-wrong-targetport",
)
_TOPOLOGIES = (
    Topology(
        name="flannel-vxlan",
        summary="a cluster whose nodes flannel joins by VXLAN",
        builder="nettrace_plugins.flannel.topology:flannel_vxlan",
        cluster=True,
        faults=(*_FAULTS, "flannel-fdb-missing", "pod-route-missing", "rp-filter-strict"),
    ),
    Topology(
        name="flannel-vxlan-direct",
        summary="a cluster with flannel's VXLAN and DirectRouting: nodes of one network need no tunnel",
        builder="nettrace_plugins.flannel.topology:flannel_vxlan_direct",
        cluster=True,
        faults=(*_FAULTS, "pod-route-missing"),
    ),
    Topology(
        name="flannel-host-gw",
        summary="a cluster whose nodes have routes to each other's pods, by flannel",
        builder="nettrace_plugins.flannel.topology:flannel_host_gw",
        cluster=True,
        faults=(*_FAULTS, "pod-route-missing"),
    ),
    Topology(
        name="flannel-udp",
        summary="a cluster whose packets flanneld carries itself, through a TUN device",
        builder="nettrace_plugins.flannel.topology:flannel_udp",
        cluster=True,
        faults=_FAULTS,
    ),
)


_FLANNELD = Owner(
    name="flanneld", chains=("FLANNEL-",), overwritten="flanneld writes its own again every few seconds"
)


class Flannel:
    """What flannel adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """Flannel is there where a Node bears its annotations, it left its file, or has its device."""
        evidence: list[Evidence] = []
        nodes: list[str] = []
        backends: set[str] = set()
        for node in snapshot.nodes.values():
            own, _ = own_and_peers(snapshot, node.name)
            found = []
            if own is not None:
                direct = own.backend == "vxlan" and direct_routing(snapshot, node.name)
                backends.add("vxlan with DirectRouting" if direct else own.backend)
                # the back end udp is not named there
                said = (
                    f"backend-type: {own.backend}" if own.backend != "udp" else f"public-ip: {own.public_ip}"
                )
                text = f"{ANNOTATION}{said}"
                found.append(Evidence(ref="kube/nodes", text=text, note=own.source))
            if subnet_env(snapshot, node.name) is not None:
                found.append(
                    Evidence(ref=f"node:{node.name}/files", text=SUBNET_ENV, note="left by flanneld")
                )
            found += [
                Evidence(ref=f"{node.netns}/links/{link.name}", text=f"{link.name} ({link.kind})")
                for link in _devices(snapshot, node.netns)
            ]
            if found:
                nodes.append(node.name)
                evidence += found
        if not nodes:
            return None
        return Detection(
            name="flannel",
            mode=", ".join(sorted(backends)),
            nodes=tuple(nodes),
            evidence=tuple(evidence),
            owners=(OWNER,),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return the Nodes, each node's files, and its addresses (for peers on its own network)."""
        found = [SectionKey("", "kube/nodes")]
        for node in snapshot.nodes.values():
            found += [SectionKey(f"node:{node.name}", "files"), SectionKey(node.netns, "addresses")]
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name flannel's devices and chains."""
        if thing in _NAMES:
            return _NAMES[thing]
        devices = {f"links/{link.name}" for link in _devices(snapshot, netns)}
        if thing not in devices:
            return None
        return (
            "the device through which flanneld carries packets"
            if DEVICE in thing
            else "flannel's VXLAN device"
        )

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what flanneld has to have put on *node*."""
        if node not in snapshot.nodes:
            return ()
        return (*owed_for_peers(snapshot, node), *owed_masquerade(snapshot, node))

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return flannel's causes."""
        return (FLANNEL_FDB_MISSING, FLANNEL_ARP_MISSING, HOSTGW_NO_L2, FLANNELD_DEAD)

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return a cluster for each back end."""
        return _TOPOLOGIES

    @hookimpl
    def nettrace_delegate(self, snapshot: Snapshot, node: str, plugin: CniPlugin) -> CniPlugin | None:
        """Return what flannel's CNI plugin hands on to, with this node's part of the network."""
        return delegated(snapshot, node, plugin) if plugin.type == "flannel" else None

    @hookimpl
    def nettrace_transit(self, snapshot: Snapshot, netns: str) -> Sequence[Relay]:
        """Return the ways of the flanneld that carries packets itself."""
        return tuple(relays(snapshot, netns))

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return flanneld, whose chains are called FLANNEL-."""
        return (_FLANNELD,)


def _devices(snapshot: Snapshot, netns: str) -> list[Link]:
    section = snapshot.namespaces[netns].links if netns in snapshot.namespaces else None
    links: tuple[Link, ...] = section.value if isinstance(section, Known) else ()
    return [
        link
        for link in links
        if (link.kind == "vxlan" and link.name.startswith("flannel."))
        or (link.kind, link.name) == ("tun", DEVICE)
    ]


plugin = Flannel()
