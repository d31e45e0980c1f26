"""The hooks of my-cni: pods on a bridge, and a route to every other node's pods."""

from collections.abc import Sequence

from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed, OwedRoute
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api import Detection, Topology, hookimpl

BRIDGE = "mycni0"
AGENT = "my-cni-agent"


class MyCni:
    """What my-cni adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """It is there where its bridge is."""
        nodes, evidence = [], []
        for node in snapshot.nodes.values():
            links = snapshot.namespaces[node.netns].links
            if isinstance(links, Known) and any(link.name == BRIDGE for link in links.value):
                nodes.append(node.name)
                evidence.append(Evidence(ref=f"{node.netns}/links/{BRIDGE}", text=f"{BRIDGE} (bridge)"))
        if not nodes:
            return None
        return Detection(name="my-cni", nodes=tuple(nodes), evidence=tuple(evidence), owners=(AGENT,))

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Nodes, and each node's devices."""
        links = [SectionKey(node.netns, "links") for node in snapshot.nodes.values()]
        return [SectionKey("", "kube/nodes"), *links]

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name the bridge."""
        return "the bridge of my-cni's pods" if thing == f"links/{BRIDGE}" else None

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return the routes to the pods of the other nodes."""
        nodes = snapshot.kube.nodes
        if node not in snapshot.nodes or not isinstance(nodes, Known):
            return ()
        return [
            OwedRoute(
                netns=snapshot.nodes[node].netns,
                owner=AGENT,
                source=f"pod CIDR of Node {peer.name}",
                about=f"the pods of {peer.name}",
                route=Route(dst=cidr, nexthops=(NextHop(device="eth0", via=peer.internal_ips[0]),)),
            )
            for peer in nodes.value
            if peer.name != node and peer.internal_ips
            for cidr in peer.pod_cidrs
        ]

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return the lab."""
        return [
            Topology(
                name="my-cni",
                summary="a cluster whose nodes have routes to each other's pods, by my-cni",
                builder="my_cni.topology:my_cni",
                cluster=True,
                faults=("pod-route-missing", "ip-forward-off", "service-jump-missing"),
            )
        ]


plugin = MyCni()
