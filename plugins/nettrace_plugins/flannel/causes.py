"""flannel's own causes: a peer whose VXLAN end this node has forgotten."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedFdb, OwedNeighbour
from nettrace_plugins.flannel.peers import OWNER

__all__ = ["FLANNEL_ARP_MISSING", "FLANNEL_FDB_MISSING"]

_OVERWRITTEN = "flanneld writes the same when it next starts or sees the peer's Node change"
_LASTING = "restart flanneld on this node; it reads the same annotations"


def _fdb(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if isinstance(owed, OwedFdb) and owed.owner == OWNER and difference.restored.absent:
            place = where(context.snapshot, owed.netns)
            yield owed_candidate(
                context,
                "flannel-fdb-missing",
                [difference],
                f"{place} does not know where {difference.about} ({owed.entry.mac}) is",
                safety=Safety.GUARDED,
                overwritten=_OVERWRITTEN,
                lasting=_LASTING,
            )


def _arp(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if isinstance(owed, OwedNeighbour) and owed.owner == OWNER:
            place = where(context.snapshot, owed.netns)
            yield owed_candidate(
                context,
                "flannel-arp-missing",
                [difference],
                f"{place} does not know the MAC of {difference.about} ({owed.entry.address})",
                safety=Safety.GUARDED,
                overwritten=_OVERWRITTEN,
                lasting=_LASTING,
            )


FLANNEL_FDB_MISSING = Cause(
    id="flannel-fdb-missing",
    title="flannel's VXLAN device does not know where a peer is",
    what=(
        "flannel.1 learns nothing: flanneld tells it, for each peer, to which node's address the peer's "
        "VTEP MAC leads. That entry is missing."
    ),
    shows="The pods of one peer node cannot be reached; those of others can.",
    dies="In the VXLAN device: no destination for the MAC, dropped silently.",
    proof="`bridge fdb show dev flannel.1` lacks the peer's VtepMAC with the peer's address.",
    repair="bridge fdb replace MAC dev flannel.1 dst NODEIP, from the peer's annotations",
    owner="flanneld",
    source="flannel#654, flannel#203, flannel#636, unetd#11",
    candidates=_fdb,
)

FLANNEL_ARP_MISSING = Cause(
    id="flannel-arp-missing",
    title="flannel's VXLAN device does not know a peer's MAC",
    what=(
        "Nobody answers ARP on flannel.1: flanneld puts a permanent neighbour there for each peer's "
        "VTEP address. That entry is missing, or has another MAC."
    ),
    shows="No route to host after 3 s, to the pods of one peer node.",
    dies="At the neighbour of the VXLAN device: nobody answers.",
    proof="`ip neigh show dev flannel.1` lacks the peer's .0 address.",
    repair="ip neigh replace PEER.0 lladdr MAC dev flannel.1 nud permanent, from the peer's annotations",
    owner="flanneld",
    source="flannel#203, flannel#172",
    candidates=_arp,
)
