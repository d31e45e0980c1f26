"""
Where to look for a defect of devices: where the packet passed, and what hangs on that by a wire.

Lives here: what causes about devices, bridge ports and neighbours share, and the candidate that sets
an attribute of a port.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Context
from nettrace.diagnose.look import links_in, where
from nettrace.model.change import LinkSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.snapshot import Snapshot

__all__ = ["devices", "nearby", "peer_netns", "pod_ports", "port_candidate"]


def nearby(context: Context) -> tuple[str, ...]:
    """Return the namespaces that the failing branches pass, and those at the other end of their veths."""
    found = dict.fromkeys(context.visited)
    for netns in context.visited:
        for link in links_in(context.snapshot, netns):
            other = peer_netns(link)
            if other is not None and other in context.snapshot.namespaces:
                found.setdefault(other)
    return tuple(found)


def peer_netns(link: Link) -> str | None:
    """Return the namespace of a veth's other end, if it is known."""
    return link.peer.netns if link.paired and link.peer is not None else None


def devices(context: Context) -> Iterator[tuple[str, Link]]:
    """Yield (namespace, device) of everything near the failing branches but loopback."""
    for netns in nearby(context):
        for link in links_in(context.snapshot, netns):
            if link.kind != "loopback":
                yield netns, link


def pod_ports(snapshot: Snapshot, netns: str) -> tuple[Link, ...]:
    """Return the veths of a namespace that lead to pods or containers."""
    return tuple(
        link
        for link in links_in(snapshot, netns)
        if (other := peer_netns(link)) is not None
        and other in snapshot.namespaces
        and snapshot.namespaces[other].role in ("pod", "container")
    )


def port_candidate(
    context: Context,
    netns: str,
    link: Link,
    *,
    cause: str,
    message: str,
    found: str,
    change: tuple[str, str],
    safety: Safety,
    overwritten: str,
    lasting: str,
) -> Candidate:
    """
    Return the candidate that gives the bridge port *link* another attribute.

    *message* is about ``bridge port NAME on NODE``, *found* what it has, *change* the attribute and value.
    """
    place, behind = where(context.snapshot, netns), peer_netns(link)
    attribute, value = change
    return Candidate(
        cause=cause,
        netns=netns,
        where=place,
        subject=f"netns/{behind}" if behind else f"netns/{netns}",
        message=f"bridge port {link.name} on {place} {message}",
        changes=(LinkSet(netns=netns, device=link.name, attribute=attribute, value=value),),
        evidence=(
            Evidence(
                ref=f"{netns}/links/{link.name}",
                text=f"{link.name} master {link.master} {found}",
                note="what is there",
            ),
        ),
        safety=safety,
        owner="the CNI plugin that made the port",
        overwritten=overwritten,
        lasting=lasting,
    )
