"""
Everything that is owed to the nodes of a context: by kube-proxy and by what the plugins know.

Lives here: putting the owners' claims together.
"""

from nettrace.app.context import Context
from nettrace.kube.iptables import owed_kube_proxy
from nettrace.kube.ipvs_owed import DEVICE, in_ipvs_mode, owed_ipvs
from nettrace.model.kube import Kube
from nettrace.model.owed import Owed
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["owed_state"]

_KUBE = tuple(name for name in Kube.__struct_fields__ if name != "origin")


def owed_state(context: Context) -> tuple[Owed, ...]:
    """
    Return what the owners owe every node that the snapshot holds.

    Reads the sections that this takes: the cluster's objects, and what plugins ask for.
    """
    context.read_unread([SectionKey("", f"kube/{name}") for name in _KUBE])
    context.read_for_plugins()
    if in_ipvs_mode(context.snapshot.kube):
        nodes = [node.netns for node in context.snapshot.nodes.values()]
        context.read_unread([SectionKey(netns, name) for netns in nodes for name in ("addresses", "ipvs")])
    snapshot = context.snapshot
    kube_nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    names = {node.name for node in kube_nodes}
    found: list[Owed] = []
    for node in snapshot.nodes.values():
        if node.name in names and isinstance(snapshot.kube.services, Known):
            netns = snapshot.namespaces.get(node.netns)
            sysctls = netns.sysctls.value if netns and isinstance(netns.sysctls, Known) else None
            found.extend(owed_kube_proxy(snapshot.kube, node.name, node.netns, sysctls))
            found.extend(owed_ipvs(snapshot.kube, node.name, node.netns, _addresses(snapshot, node.netns)))
        found.extend(context.plugins.owes(snapshot, node.name))
    return tuple(found)


def _addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...] | None:
    """Return the addresses of a node's own devices; None where they were not read."""
    section = snapshot.section(SectionKey(netns, "addresses"))
    if not isinstance(section, Known):
        return None
    return tuple(one.address for one in section.value if one.device != DEVICE)
