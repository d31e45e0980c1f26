"""
What a namespace that nobody described is for.

Lives here: telling nodes, pods and wires by their devices and routes, and which node a pod hangs on.
Not here: labs, whose records say it.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from msgspec import Struct

from nettrace.collect.failure import CollectError
from nettrace.collect.links import read_links
from nettrace.collect.neighbours import read_addresses
from nettrace.collect.netns import Pool
from nettrace.collect.peers import Candidates
from nettrace.collect.routes import read_routes
from nettrace.collect.session import Session
from nettrace.model.addr import ANY4, ANY6
from nettrace.model.links import Address, Link
from nettrace.model.routes import Route

__all__ = ["Facts", "guess_roles", "role_of"]


class Facts(Struct, frozen=True):
    """What the guess is made from."""

    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    forwards: bool


def guess_roles(
    others: Sequence[tuple[str, str, int]], own: tuple[str, str, int]
) -> dict[str, tuple[str, str]]:
    """
    Return name -> (role, node) of the namespaces *others*, given as (name, path, inode).

    *own* is this machine's namespace, which is a node and is not read.  One that may not be
    entered is ``other``; one that is gone is not in the answer.
    """
    candidates: Candidates = [own, *others]
    facts: dict[str, Facts | None] = {}
    with Pool() as pool:
        futures: dict[str, Future[Facts]] = {
            name: pool.worker(path, inode).submit(_facts, name, candidates) for name, path, inode in others
        }
        for name, future in futures.items():
            try:
                facts[name] = future.result()
            except CollectError as error:
                if error.kind == "denied":
                    facts[name] = None
            except OSError:
                facts[name] = None
    roles = {name: role_of(found) if found else "other" for name, found in facts.items()}
    nodes = {own[0], *(name for name, role in roles.items() if role == "node")}
    return {
        name: (role, _node_of(facts[name], nodes) or name if role == "pod" else name)
        for name, role in roles.items()
    }


def _facts(name: str, candidates: Candidates) -> Facts:
    session = Session(name)
    try:
        return Facts(
            links=read_links(session, candidates),
            addresses=read_addresses(session),
            routes=read_routes(session),
            forwards=Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1",
        )
    finally:
        session.close()


def role_of(facts: Facts) -> str:
    """
    Guess the role of one namespace.

    A bridge with ports makes a node, or a wire if nothing in it has an address.  Forwarding
    between several devices makes a node.  A leaf with one default route through a veth is a pod.
    """
    outward = [link for link in facts.links if link.up and link.kind not in ("loopback", "bridge")]
    if any(link.port is not None for link in facts.links):
        addressed = any(address.scope == "global" for address in facts.addresses)
        return "node" if addressed else "wire"
    if facts.forwards and len(outward) > 1:
        return "node"
    defaults = {
        hop.device
        for route in facts.routes
        if route.dst in (ANY4, ANY6) and route.type == "unicast"
        for hop in route.nexthops
    }
    veths = {link.name for link in outward if link.kind == "veth"}
    return "pod" if len(defaults) == 1 and defaults <= veths else "other"


def _node_of(facts: Facts | None, nodes: set[str]) -> str | None:
    """The node that a pod's veth leads to."""
    for link in facts.links if facts else ():
        if link.peer is not None and link.peer.netns in nodes:
            return link.peer.netns
    return None
