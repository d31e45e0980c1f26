"""ipvs-ipset-missing: a set that kube-proxy's rules look into lacks an entry, or is not there."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate, owed_sets
from nettrace.kube.owner import KUBE_PROXY
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedIpset

__all__ = ["IPVS_IPSET_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed, restored = difference.owed, difference.restored
        if not isinstance(owed, OwedIpset) or owed.owner != KUBE_PROXY.name:
            continue
        if not restored.changes or not restored.absent:
            continue
        place = where(context.snapshot, owed.netns)
        yield owed_candidate(
            context,
            "ipvs-ipset-missing",
            [difference],
            f"{restored.found} on {place}, so kube-proxy's rules do not match: {difference.about}",
            safety=Safety.GUARDED,
            overwritten="kube-proxy writes the same when it next syncs",
            lasting="restart kube-proxy; if it goes again, find what empties the set (`ipset flush`)",
        )


IPVS_IPSET_MISSING = Cause(
    id="ipvs-ipset-missing",
    title="a set that kube-proxy's rules look into lacks an entry",
    what=(
        "In ipvs mode kube-proxy's iptables rules test sets (KUBE-CLUSTER-IP, KUBE-NODE-PORT-TCP, "
        "KUBE-LOOP-BACK). An entry that a Service is owed is not in its set, or the set is not there, and "
        "then the rules that name it could not be loaded either."
    ),
    shows=(
        "IPVS forwards, and connections time out: from outside by NodePort, or of a pod to itself, because "
        "they are not masqueraded and the answer goes past the node."
    ),
    dies="On the way back: the reply does not pass the node that holds the connection.",
    proof="`ipset test KUBE-NODE-PORT-TCP PORT`, and its like for the others, says that it is not in there.",
    repair="ipset add SET ENTRY, as kube-proxy does; with the set gone, ipset create and the entries",
    owner="kube-proxy.",
    source="kubernetes#134884, kubernetes#65158, kubernetes#105208",
    reads=owed_sets,
    candidates=_candidates,
)
