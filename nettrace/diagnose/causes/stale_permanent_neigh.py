"""stale-permanent-neigh: a permanent neighbour entry has the wrong MAC address."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import nearby
from nettrace.diagnose.look import addresses_in, holder_of, link_in, where
from nettrace.model.change import NeighbourDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Neighbour
from nettrace.model.owed import OwedNeighbour
from nettrace.model.section import Known, SectionKey

__all__ = ["STALE_PERMANENT_NEIGH"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for netns in nearby(context):
        section = snapshot.section(SectionKey(netns, "neighbours"))
        for entry in section.value if isinstance(section, Known) else ():
            holder = holder_of(snapshot, entry.address) if entry.state == "permanent" and entry.mac else None
            if holder is None or holder == netns:
                continue
            own = (a.device for a in addresses_in(snapshot, holder) if a.address == entry.address)
            device = next(own, "")
            link = link_in(snapshot, holder, device)
            if link is None or link.mac == entry.mac or _is_owed(context, netns, entry):
                continue
            place = where(snapshot, netns)
            yield Candidate(
                cause="stale-permanent-neigh",
                netns=netns,
                where=place,
                subject=f"netns/{holder}",
                message=f"{place} sends what is for {entry.address} to {entry.mac}; {holder} has {link.mac}",
                changes=(NeighbourDelete(netns=netns, entry=entry),),
                evidence=(
                    Evidence(
                        ref=f"{netns}/neighbours/{entry.device}/{entry.address}",
                        text=f"{entry.address} dev {entry.device} lladdr {entry.mac} PERMANENT",
                        note="what is there",
                    ),
                    Evidence(
                        ref=f"{holder}/links/{device}",
                        text=f"{device} {link.mac}",
                        note="who has the address",
                    ),
                ),
                safety=Safety.GUARDED,
                owner="whoever wrote the entry",
                overwritten="written again, if a program did it",
                lasting="see who writes it with `ip monitor neigh`",
            )


def _is_owed(context: Context, netns: str, entry: Neighbour) -> bool:
    return any(
        isinstance(item, OwedNeighbour) and item.netns == netns and item.entry.address == entry.address
        for item in context.owed
    )


STALE_PERMANENT_NEIGH = Cause(
    id="stale-permanent-neigh",
    title="a permanent neighbour entry has the wrong MAC address",
    what="A static ARP or ND entry names a MAC address that the holder of the address does not have.",
    shows="One pod is dead from this node: frames go to a MAC that nobody is. No error, only a timeout.",
    dies="In the bridge or at the pod, which does not take frames for somebody else's MAC.",
    proof="`ip neigh` shows PERMANENT with another MAC than the pod's eth0.",
    repair="ip neigh del ADDRESS dev DEVICE: the kernel asks anew",
    owner="Whoever wrote the entry.",
    source="flannel#549",
    candidates=_candidates,
)
