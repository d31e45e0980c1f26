"""
Clusters of flannel, changed for a test.

Lives here: snapshots with other annotations or files, and what is owed there.
"""

from typing import Any

from msgspec.structs import replace

from nettrace.model.owed import Owed
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.flannel import plugin

PEER_MAC = "02:0f:00:00:01:01"
OWN_MAC = "02:0f:00:00:00:01"


def owes(snapshot: Snapshot, node: str = "node-a") -> tuple[Owed, ...]:
    """What flannel owes a node."""
    return tuple(plugin.nettrace_owes(snapshot, node))


def with_files(snapshot: Snapshot, files: dict[str, str]) -> Snapshot:
    """The snapshot with other files on node-a."""
    node = replace(snapshot.nodes["node-a"], files=Known(files))
    return replace(snapshot, nodes={**snapshot.nodes, "node-a": node})


def with_nodes(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """The snapshot with annotations of all Nodes changed; None takes one away."""
    section = snapshot.kube.nodes
    assert isinstance(section, Known)
    changed = []
    for node in section.value:
        notes = {**node.annotations}
        for key, value in changes.items():
            name = f"flannel.alpha.coreos.com/{key.replace('_', '-')}"
            notes.pop(name, None)
            if value is not None:
                notes[name] = value
        changed.append(replace(node, annotations=notes))
    return replace(snapshot, kube=replace(snapshot.kube, nodes=Known(tuple(changed))))
