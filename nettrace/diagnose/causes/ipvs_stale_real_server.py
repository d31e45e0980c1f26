"""ipvs-stale-real-server: connections go to a real server that is nobody's endpoint."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.virtual import asked_servers, name_of_server, server_candidate
from nettrace.model.change import IpvsDestDelete

__all__ = ["IPVS_STALE_REAL_SERVER"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for owed, stale in asked_servers(context, IpvsDestDelete):
        who = ", ".join(
            change.real.address
            for difference in stale
            for change in difference.restored.changes
            if isinstance(change, IpvsDestDelete)
        )
        yield server_candidate(
            context,
            "ipvs-stale-real-server",
            stale,
            f"{name_of_server(owed)} sends connections to {who}, which is none of its endpoints",
        )


IPVS_STALE_REAL_SERVER = Cause(
    id="ipvs-stale-real-server",
    title="a virtual server sends connections to a real server that is gone",
    what="A real server with a weight is behind the virtual server, and no endpoint has its address.",
    shows="One of so many connections times out or is refused, the others work.",
    dies="Where the address leads now: nowhere, or to somebody who does not listen.",
    proof="ipvsadm -Ln shows a real server that is in no EndpointSlice.",
    repair="ipvsadm -d -t VIP:PORT -r ADDRESS:PORT",
    owner="Who keeps the virtual servers: kube-proxy, keepalived, the person who wrote them.",
    source="kubernetes#105505, kubernetes#89392, kubernetes#71071, kubernetes#72270",
    candidates=_candidates,
)
