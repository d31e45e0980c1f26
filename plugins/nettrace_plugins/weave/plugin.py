"""Weave's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.diagnose.look import link_in
from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.relay import Relay
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.xt import BACKENDS
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.weave import names
from nettrace_plugins.weave.facts import captures, cni_file, has_port, mode, network, runs_on
from nettrace_plugins.weave.owes import NPC, OWNER, owed_by_weave
from nettrace_plugins.weave.peers import WEAVE_PEERS_DISCONNECTED, owed_for_peers

__all__ = ["Weave", "plugin"]

_NAMES = {
    f"links/{names.BRIDGE}": "the bridge of Weave's pods",
    f"links/{names.DATAPATH}": "Weave's datapath, which carries frames between the nodes",
    f"links/{names.UPLINK}": "the port of Weave's bridge that leads to its datapath",
    f"links/{names.DATAPATH_PORT}": "the port of Weave's datapath that leads to its bridge",
    f"links/{names.CAPTURE}": "where Weave's router captures frames",
    f"links/{names.TUNNEL}": "Weave's VXLAN device",
    f"xt/nat/{names.MASQUERADE}": "Weave's masquerade rules",
    f"xt/filter/{names.MAIN}": "weave-npc: what comes to pods",
    f"xt/filter/{names.DEFAULT}": "weave-npc: pods that no policy isolates for what comes in",
    f"xt/filter/{names.INGRESS}": "weave-npc: what policies let in",
    f"xt/filter/{names.EGRESS}": "weave-npc: what pods send",
    f"xt/filter/{names.EGRESS_DEFAULT}": "weave-npc: pods that no policy isolates for what goes out",
    f"xt/filter/{names.CUSTOM}": "weave-npc: what policies let out",
    f"xt/filter/{names.ACCEPT}": "weave-npc: the mark of what may go out",
    "xt/mangle/WEAVE-IPSEC-IN": "Weave's marks for what comes encrypted (ESP)",
    "xt/filter/WEAVE-IPSEC-IN": "Weave's refusals of what should come encrypted (ESP) and does not",
    "xt/mangle/WEAVE-IPSEC-IN-MARK": "Weave's mark of what came encrypted",
    "xt/mangle/WEAVE-IPSEC-OUT": "Weave's choice of what is to be encrypted (ESP)",
    "xt/mangle/WEAVE-IPSEC-OUT-MARK": "Weave's mark of what is to be encrypted",
    "xt/filter/WEAVE-EXPOSE": "Weave's accepts for its bridge's network",
    "xt/filter/WEAVE-CANARY": "Weave's sign that its rules were not flushed",
    "xt/nat/WEAVE-CANARY": "Weave's sign that its rules were not flushed",
    "xt/mangle/WEAVE-CANARY": "Weave's sign that its rules were not flushed",
}

_FAULTS = (
    *("forward-policy-drop", "hairpin-off", "ip-forward-off", "kube-postrouting-missing"),
    *("masquerade-missing", "service-jump-missing", "service-rules-absent", "stale-endpoint-rule"),
    "svc-wrong-targetport",
)


_WEAVE = Owner(
    name="weave-npc or weave-net",
    chains=("WEAVE-",),
    overwritten="both write their own again at start",
)


class Weave:
    """What Weave adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """Weave is there where a CNI configuration calls its plugin, or its bridge with its port is there."""
        evidence: list[Evidence] = []
        nodes: list[str] = []
        modes: set[str] = set()
        for node in snapshot.nodes.values():
            found = _evidence(snapshot, node)
            if found:
                nodes.append(node.name)
                evidence += found
                modes.add(mode(snapshot, node.netns))
        if not nodes:
            return None
        return Detection(
            name="weave",
            mode=", ".join(sorted(modes - {""})),
            nodes=tuple(nodes),
            evidence=tuple(evidence),
            owners=(OWNER, NPC),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """
        Return the Nodes, each node's files, devices and addresses (the network on its bridge).

        Where Weave is, its chains too: they tell its layout.
        """
        found = [SectionKey("", "kube/nodes")]
        for node in snapshot.nodes.values():
            found.append(SectionKey(f"node:{node.name}", "files"))
            found += [SectionKey(node.netns, name) for name in ("links", "addresses")]
            for backend in BACKENDS if runs_on(snapshot, node.name) else ():
                found.append(SectionKey(node.netns, f"xt/{backend}/nat/{names.MASQUERADE}"))
                found.append(SectionKey(node.netns, f"xt/{backend}/filter/{names.MAIN}"))
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name Weave's devices and chains."""
        return _NAMES.get(thing) if {"xt", "links"} & {thing.partition("/")[0]} else None

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what Weave has to have put on *node*."""
        return (*owed_for_peers(snapshot, node), *owed_by_weave(snapshot, node))

    @hookimpl
    def nettrace_transit(self, snapshot: Snapshot, netns: str) -> Sequence[Relay]:
        """Without a datapath its router captures frames: to which peer it sends them it alone has learned."""
        return captures(snapshot, netns)

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return Weave's cause."""
        return (WEAVE_PEERS_DISCONNECTED,)

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return a cluster on one network of frames."""
        return (
            Topology(
                name="weave",
                summary="a cluster whose pods are on one network of frames, by Weave",
                builder="nettrace_plugins.weave.topology:weave",
                cluster=True,
                faults=_FAULTS,
            ),
        )

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return Weave's two agents, whose chains are called WEAVE-."""
        return (_WEAVE,)


def _evidence(snapshot: Snapshot, node: NodeState) -> list[Evidence]:
    found = []
    path = cni_file(snapshot, node.name)
    if path is not None:
        found.append(Evidence(ref=f"node:{node.name}/files", text=path, note="calls its plugin"))
    bridge = link_in(snapshot, node.netns, names.BRIDGE)
    if bridge is not None and has_port(snapshot, node.netns):
        pods = network(snapshot, node.netns)
        text = f"{names.BRIDGE} ({bridge.kind}), port {names.UPLINK}"
        note = f"in {pods}" if pods else ""
        found.append(Evidence(ref=f"{node.netns}/links/{names.BRIDGE}", text=text, note=note))
    if found and link_in(snapshot, node.netns, names.TUNNEL) is not None:
        found.append(Evidence(ref=f"{node.netns}/links/{names.TUNNEL}", text=f"{names.TUNNEL} (vxlan)"))
    processes = node.processes.value if isinstance(node.processes, Known) else ()
    found += [
        Evidence(ref=f"node:{node.name}/processes", text=f"{one.name} (pid {one.pid})", note="runs")
        for one in processes
        if one.name in ("weaver", "weave-npc")
    ]
    return found


plugin = Weave()
