"""Cilium's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.model.bpf import BpfState
from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import Known, SectionKey
from nettrace.model.service_table import MapWords, ServiceTable
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.cilium.causes import CILIUM_PROGRAM_MISSING, CILIUM_ROUTE_MISSING
from nettrace_plugins.cilium.facts import (
    CHAINS,
    PROGRAMS,
    device_words,
    devices,
    evidence,
    links,
    mode,
    replaces_kube_proxy,
)
from nettrace_plugins.cilium.identities import address_words, map_words
from nettrace_plugins.cilium.layouts import MAPS
from nettrace_plugins.cilium.leftovers import KUBEPROXY_LEFTOVER, leftovers
from nettrace_plugins.cilium.owes import OWNER, owed_pod_routes, owed_routes, owed_sysctls
from nettrace_plugins.cilium.services import SYSTEM, service_table

__all__ = ["Cilium", "plugin"]


_SECTIONS = ("links", "socket_programs", "routes", "xt/nft")
_TOPOLOGY = Topology(
    name="cilium",
    summary="a cluster with Cilium's devices, chains and maps, and programs that nobody can look into",
    builder="nettrace_plugins.cilium.topology:cilium",
    cluster=True,
)


_AGENT = Owner(
    name=OWNER,
    chains=CHAINS,
    programs=PROGRAMS,
    overwritten="cilium-agent writes its own again when it is restarted",
    watch="cilium-dbg monitor --type drop (in the agent's container on that node)",
)


class Cilium:
    """What Cilium adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """Cilium is there where its devices, programs or agent are; chains alone are left over."""
        found: list[Evidence] = []
        left: list[Evidence] = []
        nodes, modes = [], set()
        for node in snapshot.nodes.values():
            seen = evidence(snapshot, node)
            behind = list(leftovers(snapshot, node, there=bool(seen)))
            if not seen and not behind:
                continue
            nodes.append(node.name)
            found += seen
            left += behind
            words = [mode(snapshot, node.netns)]
            program = replaces_kube_proxy(snapshot, node.netns)
            if program is not None:
                words.append(f"Services by {program.hook}")
            modes.add(", ".join(word for word in words if word))
        if not nodes:
            return None
        return Detection(
            name=SYSTEM,
            mode="; ".join(sorted(modes - {""})),
            nodes=tuple(nodes),
            evidence=tuple(found),
            owners=(OWNER,),
            leftovers=tuple(left),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return each node's files and processes, its devices, and what is run for its sockets."""
        found = [SectionKey("", "kube/nodes"), SectionKey("", "kube/pods")]
        for node in snapshot.nodes.values():
            holder = f"node:{node.name}"
            found += [SectionKey(holder, "files"), SectionKey(holder, "processes")]
            found += [SectionKey(node.netns, name) for name in _SECTIONS]
            if devices(snapshot, node.netns):
                found.append(SectionKey(node.netns, "sysctls"))
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name Cilium's devices and chains, and addresses by endpoint and identity."""
        if thing.startswith("links/"):
            return device_words(thing.removeprefix("links/"))
        if thing.startswith("xt/"):
            chain = thing.rsplit("/", 1)[-1]
            if chain.startswith("OLD_CILIUM_"):
                return f"{chain.removeprefix('OLD_')} of the agent before, which the new one should remove"
            return _CHAINS.get(chain) or ("Cilium's" if chain.startswith("CILIUM_") else None)
        node = next((n.name for n in snapshot.nodes.values() if n.netns == netns), None)
        if node is None or not thing or not (thing[0].isdigit() or ":" in thing):
            return None
        return address_words(_state(snapshot, node), thing, _devices(snapshot, netns))

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return the routes that Cilium has to have made on *node*, and what its devices have to be like."""
        return (
            *owed_routes(snapshot, node),
            *owed_pod_routes(snapshot, node),
            *owed_sysctls(snapshot, node),
        )

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return Cilium's causes."""
        return (CILIUM_ROUTE_MISSING, CILIUM_PROGRAM_MISSING, KUBEPROXY_LEFTOVER)

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return Cilium's lab."""
        return (_TOPOLOGY,)

    @hookimpl
    def nettrace_maps(self) -> Sequence[str]:
        """Return the maps that are taken apart."""
        return MAPS

    @hookimpl
    def nettrace_map_words(self, snapshot: Snapshot, node: str) -> Sequence[MapWords]:
        """Put Cilium's maps into words."""
        netns = snapshot.nodes[node].netns if node in snapshot.nodes else ""
        return tuple(map_words(_state(snapshot, node), _devices(snapshot, netns)))

    @hookimpl
    def nettrace_service_table(self, snapshot: Snapshot, node: str) -> ServiceTable | None:
        """Return what the Service maps say."""
        return service_table(_state(snapshot, node), node)

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return Cilium's agent, by its chains and programs."""
        return (_AGENT,)


#: pkg/datapath/iptables/iptables.go
_CHAINS = {
    "CILIUM_INPUT": "Cilium: what comes to this node",
    "CILIUM_OUTPUT": "Cilium: what this node sends",
    "CILIUM_FORWARD": "Cilium: accepts for its pods' traffic",
    "CILIUM_POST_nat": "Cilium: masquerade of its pods",
    "CILIUM_OUTPUT_nat": "Cilium: NAT of what this node sends",
    "CILIUM_PRE_nat": "Cilium: NAT of what comes in",
    "CILIUM_POST_mangle": "Cilium: marks on the way out",
    "CILIUM_PRE_mangle": "Cilium: packets for its proxy (TPROXY)",
    "CILIUM_PRE_raw": "Cilium: no conntrack for its own traffic",
    "CILIUM_OUTPUT_raw": "Cilium: no conntrack for its own traffic",
}


def _state(snapshot: Snapshot, node: str) -> BpfState:
    section = snapshot.nodes[node].bpf if node in snapshot.nodes else None
    return section.value if isinstance(section, Known) else BpfState()


def _devices(snapshot: Snapshot, netns: str) -> dict[int, str]:
    return {link.index: link.name for link in links(snapshot, netns)}


plugin = Cilium()
