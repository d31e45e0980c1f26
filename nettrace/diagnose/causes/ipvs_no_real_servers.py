"""ipvs-no-real-servers: a virtual server has lost all its real servers."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.virtual import asked_servers, name_of_server, server_candidate, server_there
from nettrace.model.change import IpvsDestAdd

__all__ = ["IPVS_NO_REAL_SERVERS"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for owed, lacking in asked_servers(context, IpvsDestAdd):
        there = server_there(context, owed)
        if there is not None and not there.real_servers:
            yield server_candidate(
                context,
                "ipvs-no-real-servers",
                lacking,
                f"the virtual server {name_of_server(owed)} has no real server, and {len(lacking)} are owed",
            )


IPVS_NO_REAL_SERVERS = Cause(
    id="ipvs-no-real-servers",
    title="a virtual server has no real servers",
    what="IPVS has the virtual server, and nobody behind it, though there are endpoints that serve.",
    shows="Every new connection is refused at once; in the kernel's log: no destination available.",
    dies="In IPVS, behind INPUT (from the node itself in OUTPUT): answered with ICMP port unreachable.",
    proof="ipvsadm -Ln shows the virtual server without a line that begins with ->.",
    repair="ipvsadm -a for each endpoint; restart who keeps the virtual servers.",
    owner="Who keeps the virtual servers: kube-proxy, keepalived, the person who wrote them.",
    source="kubernetes#75262, kubernetes#91812, kubernetes#92019",
    candidates=_candidates,
)
