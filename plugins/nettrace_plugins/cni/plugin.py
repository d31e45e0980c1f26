"""The hooks of the CNI project's own plugins."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.kube.ipam import confs_of, leases_of, sandboxes_of
from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.cni.attached import REFERENCE, dnat_chain, masq_chain
from nettrace_plugins.cni.causes import (
    HOSTPORT_PORTMAP_MISSING,
    HOSTPORT_RULE_STALE,
    HOSTPORT_RULES_FLUSHED,
)
from nettrace_plugins.cni.owes import HOSTPORT, OWNERS, owed_by_cni

__all__ = ["Cni", "plugin"]

_NAMES = {
    f"xt/nat/{HOSTPORT}": "hostPorts of pods, by the CNI plugin portmap",
    "xt/nat/CNI-HOSTPORT-SETMARK": "portmap's mark for what is to be masqueraded",
    "xt/nat/CNI-HOSTPORT-MASQ": "portmap's masquerade of what bears its mark",
    "xt/filter/CNI-FORWARD": "accepts of the CNI plugin firewall for pods",
    "xt/filter/CNI-ADMIN": "the operator's own rules before the accepts of the CNI plugin firewall",
}
_CHAINS = (("nat", HOSTPORT), ("filter", "CNI-FORWARD"))


class Cni:
    """What the CNI project's plugins add to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """They are there where a configuration names them, or their chains are."""
        evidence: list[Evidence] = []
        nodes: list[str] = []
        types: dict[str, None] = {}
        versions: dict[str, None] = {}
        for node in snapshot.nodes.values():
            found: list[Evidence] = []
            for conf in confs_of(snapshot, node.name)[:1]:
                named = [plugin.type for plugin in conf.plugins if plugin.type in REFERENCE]
                if not named:
                    continue
                types |= dict.fromkeys(named)
                versions |= dict.fromkeys([conf.version] if conf.version else [])
                found.append(
                    Evidence(
                        ref=f"node:{node.name}/files", text=conf.path, note=f"{conf.name}: {', '.join(named)}"
                    )
                )
                ipam = conf.plugins[0].ipam
                if ipam is not None and ipam.type == "host-local":
                    leases = leases_of(snapshot, node.name, conf.name, ipam)
                    text = f"{ipam.data_dir}/{conf.name}"
                    note = f"{len(leases)} leases of host-local"
                    found += [Evidence(ref=f"node:{node.name}/files", text=text, note=note)] if leases else []
            found += [
                Evidence(ref=f"{node.netns}/xt/{backend}/{table}/{chain}", text=f"chain {chain}")
                for backend in BACKENDS
                for table, chain in _CHAINS
                if snapshot.chain(node.netns, backend, table, chain) is not None
            ]
            if found:
                nodes.append(node.name)
                evidence += found
        if not nodes:
            return None
        return Detection(
            name="cni",
            mode=", ".join(types),
            version=f"CNI {', '.join(versions)}" if versions else "",
            nodes=tuple(nodes),
            evidence=tuple(evidence),
            owners=OWNERS,
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return each node's files, and the Pods for their hostPorts."""
        return [
            SectionKey("", "kube/pods"),
            *(SectionKey(f"node:{node.name}", "files") for node in snapshot.nodes.values()),
        ]

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name chains, the bridge, and sandboxes' addresses."""
        if thing in _NAMES:
            return _NAMES[thing]
        node = next((one.name for one in snapshot.nodes.values() if one.netns == netns), None)
        if node is None:
            return None
        if thing.startswith("links/"):
            for conf in confs_of(snapshot, node)[:1]:
                if conf.plugins and conf.plugins[0].bridge and thing == f"links/{conf.plugins[0].bridge}":
                    return f"the bridge of the CNI network {conf.name}"
            return None
        for sandbox in sandboxes_of(snapshot, node):
            whose = f"pod {sandbox.pod}" if sandbox.pod else f"sandbox {sandbox.container[:12]}"
            if thing == f"xt/nat/{dnat_chain(sandbox)}":
                return f"hostPorts of {whose}"
            if thing == f"xt/nat/{masq_chain(sandbox)}":
                return f"masquerade of {whose}"
            if thing in sandbox.addresses:
                return whose
        return None

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what the CNI plugins have to have put on *node* for the sandboxes that live."""
        return tuple(owed_by_cni(snapshot, node))

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return clusters whose pods the real plugins make, with static routes between the nodes."""
        return tuple(
            Topology(
                name=f"cni-{kind}",
                summary=f"a cluster whose pods are made by the real CNI plugins {kind} and portmap",
                builder=f"nettrace_plugins.cni.topology:cni_{kind}",
                cluster=True,
            )
            for kind in ("bridge", "ptp")
        )

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return how hostPorts go wrong."""
        return (HOSTPORT_RULES_FLUSHED, HOSTPORT_RULE_STALE, HOSTPORT_PORTMAP_MISSING)


plugin = Cni()
