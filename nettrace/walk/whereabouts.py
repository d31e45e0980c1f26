"""
Who is at an address that leads out of the snapshot, as far as the cluster's objects say.

Lives here: the node that has an address, or to whose pods it belongs, in words.
"""

from nettrace.model.addr import in_prefix
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["aside", "named"]


def _node(snapshot: Snapshot, address: str) -> tuple[str, bool] | None:
    """Return (node, is the address its own?)."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    for node in nodes:
        if address in (*node.internal_ips, *node.external_ips):
            return node.name, True
    for node in nodes:
        if any(in_prefix(address, cidr) for cidr in node.pod_cidrs):
            return node.name, False
    return None


def named(snapshot: Snapshot, address: str) -> str:
    """``node-b (192.0.2.12)``, ``10.244.2.3 (a pod of node-b)``, or the address alone."""
    found = _node(snapshot, address)
    if found is None:
        return address
    node, own = found
    return f"{node} ({address})" if own else f"{address} (a pod of {node})"


def aside(snapshot: Snapshot, address: str) -> str:
    """``, to node-b (192.0.2.12)`` for a node whose snapshot was not given, "" for anybody else."""
    found = _node(snapshot, address)
    if found is None or found[0] in snapshot.nodes:
        return ""
    return f", to {named(snapshot, address)}"
