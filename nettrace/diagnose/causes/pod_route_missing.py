"""pod-route-missing: no route, or a wrong one, to another node's pods."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.addr import in_prefix
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedRoute

__all__ = ["POD_ROUTE_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedRoute) or not _is_asked(context, owed):
            continue
        place = where(context.snapshot, owed.netns)
        about = difference.about or owed.route.dst
        what = "has no route to" if difference.restored.absent else "sends elsewhere what is for"
        yield owed_candidate(
            context,
            "pod-route-missing",
            [difference],
            f"{place} {what} {about}",
            safety=Safety.GUARDED,
            overwritten=f"{owed.owner} writes the same when it next starts",
            lasting=f"restart {owed.owner}; if it goes again, see who removes it with `ip monitor route`",
        )


def _is_asked(context: Context, owed: OwedRoute) -> bool:
    """Does a packet of the failing branches pass here with an address that the route is for?"""
    for step in context.steps:
        packet = step.after if step.after is not None else step.before
        if step.netns == owed.netns and packet is not None:
            inner = innermost(packet)
            if in_prefix(inner.dst, owed.route.dst) or (inner.src and in_prefix(inner.src, owed.route.dst)):
                return True
    return False


POD_ROUTE_MISSING = Cause(
    id="pod-route-missing",
    title="no route to the pods of another node",
    what=(
        "The route to a peer's pod CIDR is not in the node's table, or leads elsewhere. The CNI's "
        "agent puts it there when it learns of the peer."
    ),
    shows=(
        "Pods of that peer cannot be reached from this node: a timeout where the packets leave by "
        "the default gateway, ENETUNREACH where there is none."
    ),
    dies="Wherever the default gateway's way ends; without one, at the routing decision.",
    proof="`ip route get POD` answers with the default gateway instead of the overlay's device.",
    repair="ip route replace PEERCIDR via PEERVTEP dev DEVICE onlink, as the agent writes it",
    owner="The CNI's agent (flanneld, calico-node, kube-router).",
    source="flannel#823, flannel#1604, kube-router#425",
    candidates=_candidates,
)
