"""
Services known only by kube-proxy's rules.

Lives here: the goal of a flow to a Service where no Kubernetes objects were read: what the
chains that bear its address lead to.
"""

from collections.abc import Iterator

from nettrace.diagnose.goal import Goal
from nettrace.diagnose.look import addresses_in, connected_prefix, holder_of, listeners
from nettrace.diagnose.rules import addressed_to
from nettrace.model.flow import Flow
from nettrace.model.packet import Packet
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs
from nettrace.model.xt import BACKENDS, XtChain
from nettrace.model.xt_target import Dnat, Jump

__all__ = ["beyond", "inferred_goal"]

#: Chains of kube-proxy that dispatch by address and port.
_DISPATCH = ("KUBE-SERVICES", "KUBE-NODEPORTS")


class _Unread(Exception):
    """A chain in the way was not read."""

    def __init__(self, key: SectionKey) -> None:
        super().__init__(str(key))
        self.key = key


def inferred_goal(snapshot: Snapshot, flow: Flow) -> Goal | Needs | None:
    """
    Return the goal that kube-proxy's own rules give *flow*; None if they know nothing of it.

    Looked at are the sender's node and the node that has the destination.
    """
    origin = snapshot.namespaces.get(flow.origin.netns)
    nodes = [snapshot.nodes[origin.node].netns] if origin and origin.node in snapshot.nodes else []
    nodes += [n.netns for n in snapshot.nodes.values() if _has(snapshot, n.netns, flow.packet.dst)]
    try:
        for netns in dict.fromkeys(nodes):
            for backend in BACKENDS:
                found = _service(snapshot, netns, backend, flow.packet)
                if found is not None:
                    return found
    except _Unread as unread:
        return Needs((unread.key,))
    return None


def _has(snapshot: Snapshot, netns: str, address: str) -> bool:
    return any(own.address == address for own in addresses_in(snapshot, netns))


def _service(snapshot: Snapshot, netns: str, backend: str, packet: Packet) -> Goal | None:
    for name in _DISPATCH:
        chain = _chain(snapshot, netns, backend, name)
        if chain is None or (name == "KUBE-NODEPORTS" and not _has(snapshot, netns, packet.dst)):
            continue
        for rule in chain.rules:
            if isinstance(rule.target, Jump) and addressed_to(rule, packet):
                found = _targets(snapshot, netns, backend, rule.target.chain, set())
                ends = frozenset(_open(snapshot, end, packet.proto) for end in found)
                if ends:
                    words = rule.comment or rule.target.chain
                    return Goal(
                        because=f"kube-proxy's rules for {words}",
                        endpoints=ends,
                        beyond=beyond(snapshot, [address for address, _ in ends]),
                    )
    return None


def _chain(snapshot: Snapshot, netns: str, backend: str, name: str) -> XtChain | None:
    table = snapshot.section(SectionKey(netns, f"xt/{backend}/nat"))
    if not isinstance(table, Known) or table.value is None or name not in table.value.chains:
        return None
    section = table.value.chains[name]
    if isinstance(section, Missing):
        if section.kind is MissingKind.NOT_READ:
            raise _Unread(SectionKey(netns, f"xt/{backend}/nat/{name}"))
        return None
    chain: XtChain = section.value
    return chain


def _targets(
    snapshot: Snapshot, netns: str, backend: str, name: str, seen: set[str]
) -> Iterator[tuple[str, int | None]]:
    """Yield (address, port) of every DNAT that the chain leads to."""
    if name in seen:
        return
    seen.add(name)
    chain = _chain(snapshot, netns, backend, name)
    for rule in chain.rules if chain is not None else ():
        if isinstance(rule.target, Jump):
            yield from _targets(snapshot, netns, backend, rule.target.chain, seen)
        elif isinstance(rule.target, Dnat) and rule.target.to.lo is not None:
            ports = rule.target.to.ports
            yield rule.target.to.lo, ports.single if ports is not None else None


def _open(snapshot: Snapshot, end: tuple[str, int | None], proto: str) -> tuple[str, int | None]:
    """Return the endpoint, its port left open where it is known that nobody listens on it."""
    holder = holder_of(snapshot, end[0])
    waiting = listeners(snapshot, holder, proto) if holder is not None else None
    silent = waiting is not None and all(socket.port != end[1] for socket in waiting)
    return (end[0], None) if silent else end


def beyond(snapshot: Snapshot, addresses: list[str]) -> frozenset[str]:
    """Return those of *addresses* that belong outside: on no namespace and on no bridge of the snapshot."""
    return frozenset(
        address
        for address in addresses
        if holder_of(snapshot, address) is None
        and all(connected_prefix(snapshot, n, address, "bridge") is None for n in snapshot.namespaces)
    )
