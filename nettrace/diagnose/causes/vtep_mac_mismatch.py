"""vtep-mac-mismatch: a VXLAN device has another MAC address than its node tells the others."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import link_in, where
from nettrace.diagnose.making import evidence_of, owed_candidate
from nettrace.model.change import Change, NeighbourAdd
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedLink, OwedNeighbour
from nettrace.model.step import Verdict

__all__ = ["VTEP_MAC_MISMATCH"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedLink) or owed.attribute != "address" or not difference.restored.changes:
            continue
        link = link_in(context.snapshot, owed.netns, owed.device)
        if link is None or link.vxlan is None:
            continue
        place = where(context.snapshot, owed.netns)
        made = owed_candidate(
            context,
            "vtep-mac-mismatch",
            [difference],
            f"{owed.device} on {place} has the MAC {link.mac}; the other nodes send to {owed.value}, "
            "as its node says",
            safety=Safety.GUARDED,
            overwritten=f"{owed.owner} makes the device and what it tells agree when it next starts",
            lasting=f"restart {owed.owner} on {place}; keep others from giving the device a MAC "
            "(a systemd .link file with MACAddressPolicy=none for it)",
        )
        yield _with_neighbours(context, difference, made)


def _with_neighbours(context: Context, difference: Difference, made: Candidate) -> Candidate:
    """
    Add the neighbours that the owner owes on the device: with its MAC address the kernel drops them all.

    net/core/neighbour.c, neigh_changeaddr.
    """
    owed = difference.owed
    back: tuple[Change, ...] = tuple(
        NeighbourAdd(netns=item.netns, entry=item.entry)
        for item in context.owed
        if isinstance(item, OwedNeighbour)
        and isinstance(owed, OwedLink)
        and (item.netns, item.entry.device) == (owed.netns, owed.device)
    )
    lost = [
        d for d in context.differences if isinstance(d.owed, OwedNeighbour) and d.owed.netns == owed.netns
    ]
    return Candidate(
        **{
            name: getattr(made, name)
            for name in Candidate.__struct_fields__
            if name not in ("changes", "evidence")
        },
        changes=(*made.changes, *back),
        evidence=(*made.evidence, *evidence_of(lost)),
    )


VTEP_MAC_MISMATCH = Cause(
    id="vtep-mac-mismatch",
    title="a VXLAN device has another MAC than its node tells the others",
    what=(
        "The other nodes address frames to the MAC that the Node object names; the device has another one, "
        "after a reboot or because something renamed it, and takes them for somebody else's."
    ),
    shows="All pods of one node cannot be reached from other nodes, often since it was booted.",
    dies="On the node that is called, behind the tunnel: the frame is for another MAC (OTHERHOST).",
    proof="`ip link show DEVICE` has another MAC than the VtepMAC of the Node's annotation.",
    repair="ip link set dev DEVICE address VTEPMAC, and the neighbours that went with the old one",
    owner="The CNI's agent; systemd's MACAddressPolicy, where it sets the MAC.",
    source="flannel#1155, flannel#1474, flannel#1788, k3s#9957",
    verdicts=frozenset({Verdict.OTHERHOST}),
    candidates=_candidates,
)
