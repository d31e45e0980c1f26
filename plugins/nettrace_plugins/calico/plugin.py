"""Calico's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.plugin_api import ApiKind, Detection, Topology, hookimpl
from nettrace_plugins.calico.bgp import CALICO_BGP_DOWN, CALICO_WRONG_AUTODETECT
from nettrace_plugins.calico.blocks import CALICO_BLOCK_BLACKHOLE
from nettrace_plugins.calico.causes import (
    CALICO_PROXY_ARP_OFF,
    CALICO_VTEP_MISSING,
    CALICO_WORKLOAD_ROUTE_MISSING,
)
from nettrace_plugins.calico.facts import (
    ANNOTATION,
    GROUP,
    KINDS,
    NODENAME,
    OWNER,
    devices,
    pools,
    published,
    runs_on,
    version,
)
from nettrace_plugins.calico.masquerade import owed_rules
from nettrace_plugins.calico.names import TUNNEL, VXLAN, WORKLOAD
from nettrace_plugins.calico.nat import CALICO_NAT_OUTGOING_OFF
from nettrace_plugins.calico.peers import owed_for_peers
from nettrace_plugins.calico.pods import owed_for_pods
from nettrace_plugins.calico.words import name_of

__all__ = ["Calico", "plugin"]

_FAULTS = (
    *("ip-forward-off", "kube-postrouting-missing", "service-jump-missing"),
    *("service-rules-absent", "stale-endpoint-rule", "svc-wrong-targetport"),
)
_TOPOLOGIES = (
    Topology(
        name="calico-bgp",
        summary="a cluster whose nodes tell each other by BGP where their pods are, by Calico",
        builder="nettrace_plugins.calico.topology:calico_bgp",
        cluster=True,
        faults=_FAULTS,
    ),
    Topology(
        name="calico-ipip",
        summary="a cluster whose nodes put the pods' packets into packets of their own (IPIP), by Calico",
        builder="nettrace_plugins.calico.topology:calico_ipip",
        cluster=True,
        faults=_FAULTS,
    ),
    Topology(
        name="calico-vxlan",
        summary="a cluster whose nodes a VXLAN of Calico joins",
        builder="nettrace_plugins.calico.topology:calico_vxlan",
        cluster=True,
        faults=_FAULTS,
    ),
)


_FELIX = Owner(
    name="Felix (calico-node)", chains=("cali-",), overwritten="Felix writes its own again when it next looks"
)


class Calico:
    """What Calico adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """Calico is there where a Node bears its annotation, it left its file, or pods have its devices."""
        nodes = [node for node in snapshot.nodes.values() if runs_on(snapshot, node.name)]
        if not nodes:
            return None
        return Detection(
            name="calico",
            version=version(snapshot),
            mode=_mode(snapshot, nodes),
            nodes=tuple(node.name for node in nodes),
            evidence=tuple(piece for node in nodes for piece in _evidence(snapshot, node)),
            owners=(OWNER,),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return Nodes, files, devices and addresses; where Calico is, pods and its own objects too."""
        found = [SectionKey("", "kube/nodes")]
        if any(runs_on(snapshot, node) for node in snapshot.nodes):
            found += [SectionKey("", f"kube/{name}") for name in ("pods", "custom")]
        for node in snapshot.nodes.values():
            found.append(SectionKey(f"node:{node.name}", "files"))
            found += [SectionKey(node.netns, name) for name in ("links", "addresses")]
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name devices by their pods, chains by what they decide, addresses by what they are for."""
        return name_of(snapshot, netns, thing)

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what Felix and BIRD have to have put on *node*."""
        return (
            *owed_for_pods(snapshot, node),
            *owed_for_peers(snapshot, node),
            *owed_rules(snapshot, node),
        )

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return Calico's causes."""
        return (
            CALICO_BGP_DOWN,
            CALICO_BLOCK_BLACKHOLE,
            CALICO_NAT_OUTGOING_OFF,
            CALICO_PROXY_ARP_OFF,
            CALICO_VTEP_MISSING,
            CALICO_WORKLOAD_ROUTE_MISSING,
            CALICO_WRONG_AUTODETECT,
        )

    @hookimpl
    def nettrace_kinds(self) -> Sequence[ApiKind]:
        """Return the kinds of Calico's objects that are read."""
        return tuple(
            ApiKind(group=GROUP, version="v1", kind=kind, plural=plural) for kind, plural in KINDS.items()
        )

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return a cluster for each way between the nodes."""
        return _TOPOLOGIES

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return Felix, whose chains are called cali-."""
        return (_FELIX,)


def _mode(snapshot: Snapshot, nodes: Sequence[NodeState]) -> str:
    """What the pools say; where none is known, the tunnels that are there."""
    found = set()
    for pool in (one for one in pools(snapshot) if not one.disabled):
        modes = {"ipip": pool.ipip, "vxlan": pool.vxlan}
        used = {
            f"{name} cross-subnet" if mode == "CrossSubnet" else name
            for name, mode in modes.items()
            if mode in ("Always", "CrossSubnet")
        }
        found |= used or {"bgp"}
    if not found:
        there = {name for node in nodes for name in devices(snapshot, node.netns)}
        found = {word for word, device in (("ipip", TUNNEL), ("vxlan", VXLAN)) if device in there}
    return ", ".join(sorted(found))


def _evidence(snapshot: Snapshot, node: NodeState) -> list[Evidence]:
    found = []
    own = published(snapshot).get(node.name)
    if own is not None:
        text = f"{ANNOTATION}IPv4Address: {own.address}"
        found.append(Evidence(ref="kube/nodes", text=text, note=own.source))
    files = node.files.value if isinstance(node.files, Known) else {}
    if NODENAME in files:
        found.append(Evidence(ref=f"node:{node.name}/files", text=NODENAME, note="left by calico-node"))
    there = devices(snapshot, node.netns)
    pods = [name for name in there if name.startswith(WORKLOAD)]
    found += [
        Evidence(ref=f"{node.netns}/links/{name}", text=name) for name in there if name in (VXLAN, TUNNEL)
    ]
    if pods:
        more = f" and {len(pods) - 1} more" if len(pods) > 1 else ""
        found.append(Evidence(ref=f"{node.netns}/links/{pods[0]}", text=f"{pods[0]}{more}", note="pods"))
    return found


plugin = Calico()
