"""fdb-stale-remote: a VXLAN forwarding entry leads to an address that its peer does not have."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedFdb

__all__ = ["FDB_STALE_REMOTE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if isinstance(owed, OwedFdb) and not difference.restored.absent:
            place = where(context.snapshot, owed.netns)
            yield owed_candidate(
                context,
                "fdb-stale-remote",
                [difference],
                f"{place} sends elsewhere what is for {difference.about} ({owed.entry.mac}): "
                f"to an address other than {owed.entry.dst}",
                safety=Safety.GUARDED,
                overwritten=f"{owed.owner} writes the same when it next starts or sees the Node change",
                lasting=f"restart {owed.owner} on this node; it reads the same objects",
            )


FDB_STALE_REMOTE = Cause(
    id="fdb-stale-remote",
    title="a VXLAN peer is looked for at an address that it does not have",
    what=(
        "The VXLAN device's forwarding entry for a peer's MAC leads to another address than the peer's Node "
        "has: mostly the one it had before its address changed."
    ),
    shows="The pods of one peer node cannot be reached since its address changed; those of others can.",
    dies="Outside of the node: the outer packet goes to an address that nobody has, or to somebody else.",
    proof="`bridge fdb show dev DEVICE` has another dst than the peer's InternalIP.",
    repair="bridge fdb replace MAC dev DEVICE dst NODEIP, from what the peer's Node says",
    owner="The CNI's agent.",
    source="calico#7281, calico#9576",
    candidates=_candidates,
)
