"""The hooks of virtual servers made by hand."""

from collections.abc import Sequence

from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.lvs.owes import OWNERS, kept_servers, owed_by_files

__all__ = ["Lvs", "plugin"]


class Lvs:
    """What a director made by hand adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """It is there where a file keeps virtual servers; running ones alone may be kube-proxy's."""
        evidence: list[Evidence] = []
        nodes: list[str] = []
        for node in snapshot.nodes:
            source, servers = kept_servers(snapshot, node)
            if servers:
                nodes.append(node)
                text = f"{len(servers)} virtual server{'s' if len(servers) > 1 else ''}"
                evidence.append(Evidence(ref=f"node:{node}/files", text=source, note=text))
        if not nodes:
            return None
        return Detection(name="lvs", nodes=tuple(nodes), evidence=tuple(evidence), owners=OWNERS)

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return each node's files."""
        return [SectionKey(f"node:{name}", "files") for name in snapshot.nodes]

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what the files of *node* ask for."""
        return tuple(owed_by_files(snapshot, node))

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return one director with real servers behind it."""
        return (
            Topology(
                name="lvs",
                summary="a Service made by hand: ipvsadm and a local route on a director, three real servers",
                builder="nettrace_plugins.lvs.topology:lvs",
            ),
        )


plugin = Lvs()
