"""
Devices that are down: what the causes veth-host-down, bridge-down and tunnel-link-down share.

A device that goes down takes its routes and neighbours with it, and only the kernel's own routes
come back when it is up again: what its owner put there is restored with it.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Context
from nettrace.diagnose.causes.nearby import devices, peer_netns
from nettrace.diagnose.look import subject_of, where
from nettrace.diagnose.making import changes_of, evidence_of
from nettrace.model.change import LinkSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.owed import Owed, OwedFdb, OwedNeighbour, OwedRoute

__all__ = ["down_candidates"]


def down_candidates(
    context: Context, cause: str, kinds: tuple[str, ...], owner: str, lasting: str
) -> Iterator[Candidate]:
    """Yield one candidate for each device of *kinds* that is down near the failing branches."""
    for netns, link in devices(context):
        if link.up or link.kind not in kinds:
            continue
        place, behind = where(context.snapshot, netns), peer_netns(link)
        lost = [d for d in context.differences if d.owed.netns == netns and _uses(d.owed, link)]
        leads = f", which leads to {behind}," if behind is not None else ""
        yield Candidate(
            cause=cause,
            netns=netns,
            where=place,
            subject=f"netns/{behind}" if behind is not None else subject_of(context.snapshot, netns),
            message=f"{link.name} on {place}{leads} is down",
            changes=(LinkSet(netns=netns, device=link.name, attribute="up", value="on"), *changes_of(lost)),
            evidence=(
                Evidence(
                    ref=f"{netns}/links/{link.name}",
                    text=f"{link.name} {link.kind} DOWN",
                    note="what is there",
                ),
                *(evidence_of(lost) if lost else ()),
            ),
            safety=Safety.AUTO,
            owner=owner,
            overwritten="not by itself; whoever took it down may do it again",
            lasting=lasting,
        )


def _uses(owed: Owed, link: Link) -> bool:
    """Does something owed go by the device, so that it was lost with it?"""
    match owed:
        case OwedRoute(route=route):
            return any(hop.device == link.name for hop in route.nexthops)
        case OwedNeighbour(entry=neighbour):
            return neighbour.device == link.name
        case OwedFdb(entry=entry):
            return entry.device == link.name
    return False
