"""Canal's hooks."""

import json
from collections.abc import Mapping, Sequence

from nettrace.model.finding import Evidence
from nettrace.model.links import Link
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.plugin_api import Detection, Topology, hookimpl

__all__ = ["Canal", "plugin"]

_CNI = "/etc/cni/net.d/"

_FAULTS = (
    *("forward-policy-drop", "ip-forward-off", "kube-postrouting-missing", "service-jump-missing"),
    *("service-rules-absent", "stale-endpoint-rule", "svc-wrong-targetport"),
    *("flannel-fdb-missing", "masquerade-missing", "pod-route-missing"),
)


class Canal:
    """What Canal adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """
        Canal is there where Calico's plugin takes addresses from host-local, and flannel joins the nodes.

        What it owes the node flannel and Calico owe it, which are recognised beside it.
        """
        evidence: list[Evidence] = []
        nodes: list[str] = []
        for node in snapshot.nodes.values():
            found = _evidence(snapshot, node)
            if found:
                nodes.append(node.name)
                evidence += found
        if not nodes:
            return None
        return Detection(
            name="canal",
            mode="flannel's network, Calico's policies",
            nodes=tuple(nodes),
            evidence=tuple(evidence),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return each node's files and devices."""
        found = []
        for node in snapshot.nodes.values():
            found += [SectionKey(f"node:{node.name}", "files"), SectionKey(node.netns, "links")]
        return found

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return a cluster of flannel and Calico."""
        return (
            Topology(
                name="canal",
                summary="a cluster whose nodes flannel's VXLAN joins, with Calico's routes and policies",
                builder="nettrace_plugins.canal.topology:canal",
                cluster=True,
                faults=_FAULTS,
            ),
        )


def _evidence(snapshot: Snapshot, node: NodeState) -> list[Evidence]:
    """Return both halves, nothing where one is missing."""
    files: Mapping[str, str] = node.files.value if isinstance(node.files, Known) else {}
    path = next((one for one in sorted(files) if one.startswith(_CNI) and _is_canal(files[one])), None)
    if path is None:
        return []
    section = snapshot.section(SectionKey(node.netns, "links"))
    links: tuple[Link, ...] = section.value if isinstance(section, Known) else ()
    device = next((link.name for link in links if link.name.startswith("flannel.")), None)
    if device is None:
        return []
    return [
        Evidence(ref=f"node:{node.name}/files", text=path, note="Calico's plugin, host-local's addresses"),
        Evidence(ref=f"{node.netns}/links/{device}", text=device, note="flannel's"),
    ]


def _is_canal(text: str) -> bool:
    """Is it a CNI configuration of Calico's plugin with host-local's addresses?"""
    try:
        conf = json.loads(text)
    except ValueError:
        return False
    plugins = conf.get("plugins") if isinstance(conf, dict) else None
    return any(
        isinstance(one, dict)
        and one.get("type") == "calico"
        and isinstance(one.get("ipam"), dict)
        and one["ipam"].get("type") == "host-local"
        for one in (plugins if isinstance(plugins, list) else ())
    )


plugin = Canal()
