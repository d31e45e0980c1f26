"""ipvs-rs-weight0: real servers that serve have weight 0."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.virtual import asked_servers, name_of_server, server_candidate
from nettrace.diagnose.difference import Difference
from nettrace.model.change import IpvsDestSet

__all__ = ["IPVS_RS_WEIGHT0"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for owed, idle in asked_servers(context, IpvsDestSet, _idle):
        reals = len(owed.server.real_servers)
        yield server_candidate(
            context,
            "ipvs-rs-weight0",
            idle,
            f"{len(idle)} of {reals} real servers of {name_of_server(owed)} have weight 0, "
            "so they get no new connection",
        )


def _idle(difference: Difference) -> bool:
    return any(
        isinstance(change, IpvsDestSet) and not change.old.weight and change.real.weight
        for change in difference.restored.changes
    )


IPVS_RS_WEIGHT0 = Cause(
    id="ipvs-rs-weight0",
    title="real servers that serve have weight 0",
    what=(
        "Weight 0 lets a real server end its connections and gives it no new one. kube-proxy sets it where "
        "an endpoint goes away, and does not always set it back."
    ),
    shows="With all of them at 0 every connection is refused; otherwise the others carry all of the load.",
    dies="In IPVS's scheduler, behind INPUT: answered with ICMP port unreachable where nobody is left.",
    proof="ipvsadm -Ln shows weight 0 for an endpoint that is ready.",
    repair="ipvsadm -e -t VIP:PORT -r ENDPOINT -m -w 1",
    owner="Who keeps the virtual servers: kube-proxy, keepalived, the person who wrote them.",
    source="kubernetes#92019, kubernetes#108319, kubernetes#117205",
    candidates=_candidates,
)
