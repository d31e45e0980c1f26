"""
What a namespace that nobody described is for.

Lives here: telling nodes, pods and wires by their devices and routes, and which node a pod hangs on.
Not here: labs, whose records say it.
"""

from collections.abc import Sequence
from concurrent.futures import Future

from nettrace.collect.failure import CollectError
from nettrace.collect.glimpse import Glimpse, glimpse
from nettrace.collect.netns import Pool
from nettrace.collect.peers import Candidates
from nettrace.collect.session import Session
from nettrace.model.section import MissingKind

__all__ = ["guess_roles", "role_of"]


def guess_roles(
    others: Sequence[tuple[str, str, int]], own: tuple[str, str, int]
) -> dict[str, tuple[str, str]]:
    """
    Return name -> (role, node) of the namespaces *others*, given as (name, path, inode).

    *own* is this machine's namespace, which is a node and is not read.  One that may not be
    entered is ``other``; one that is gone is not in the answer.
    """
    candidates: Candidates = [own, *others]
    facts: dict[str, Glimpse | None] = {}
    with Pool() as pool:
        futures: dict[str, Future[Glimpse]] = {
            name: pool.worker(path, inode).submit(_look, name, candidates) for name, path, inode in others
        }
        for name, future in futures.items():
            try:
                facts[name] = future.result()
            except CollectError as error:
                if error.kind is MissingKind.DENIED:
                    facts[name] = None
            except OSError:
                facts[name] = None
    roles = {name: role_of(found) if found else "other" for name, found in facts.items()}
    nodes = {own[0], *(name for name, role in roles.items() if role == "node")}
    return {
        name: (role, _node_of(facts[name], nodes) or name if role == "pod" else name)
        for name, role in roles.items()
    }


def _look(name: str, candidates: Candidates) -> Glimpse:
    session = Session(name)
    try:
        return glimpse(session, candidates)
    finally:
        session.close()


def role_of(seen: Glimpse) -> str:
    """
    Guess the role of one namespace.

    A bridge with ports makes a node, or a wire if nothing in it has an address.  Forwarding
    between several devices makes a node.  A leaf with one default route through a veth is a pod.
    """
    if any(device.port for device in seen.devices):
        return "node" if seen.addressed else "wire"
    outward = [device for device in seen.devices if device.kind != "bridge"]
    if seen.forwards and len(outward) > 1:
        return "node"
    veths = {device.name for device in outward if device.kind == "veth"}
    return "pod" if len(seen.defaults) == 1 and seen.defaults <= veths else "other"


def _node_of(seen: Glimpse | None, nodes: set[str]) -> str | None:
    """The node that a pod's veth leads to."""
    return next((device.peer for device in seen.devices if device.peer in nodes), None) if seen else None
