"""
Pods and containers by what the machine says lives in its namespaces, where no object names them.

Lives here: finding a namespace by a pod's or a container's name.
Not here: who says it (nettrace.collect.workloads), targets in general (resolve).
"""

from nettrace.model.errors import UserError
from nettrace.model.kube import Pod
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.parse.target import Target

__all__ = ["SEVERAL", "container_netns", "told_pods"]

#: How the hint about an ambiguous name begins.
SEVERAL = "it is in several"
#: Characters by which a container's id is known, as docker prints them.
_SHORT_ID = 12


def told_pods(snapshot: Snapshot, target: Target) -> list[Pod]:
    """Return the pods of that name by what container runtimes say."""
    found = []
    for netns in snapshot.namespaces.values():
        namespace, slash, name = netns.pod.partition("/")
        if slash and name == target.name and target.namespace in (None, namespace):
            found.append(Pod(name=name, namespace=namespace, node_name=netns.node, netns=netns.name))
    return found


def container_netns(snapshot: Snapshot, target: Target) -> Netns | None:
    """
    Return the namespace of a container by the name that its runtime has, its id, or the namespace's.

    UserError for a name that containers in several namespaces have.
    """
    spaces = [
        netns
        for netns in snapshot.namespaces.values()
        if target.namespace in (None, *netns.pod.split("/"), netns.pod)
        and (
            target.name in netns.container_names
            or (len(target.name) >= _SHORT_ID and any(c.startswith(target.name) for c in netns.containers))
        )
    ]
    if len(spaces) > 1:
        places = ", ".join(
            f"container/{n.pod.rpartition('/')[2]}/{target.name}" if n.pod else f"netns/{n.name}"
            for n in spaces
        )
        raise UserError(
            f"container {target.name!r} is ambiguous",
            where=target.text,
            hint=f"{SEVERAL} namespaces: write one of {places}",
        )
    if spaces:
        return spaces[0]
    return snapshot.namespaces.get(target.name) if target.namespace is None else None
