"""
What the client's node remembers of its UDP connections to a Service.

Lives here: looking for an entry that leads past the Service's endpoints, which no fresh query meets.
"""

from nettrace.diagnose.guide.case import Case
from nettrace.diagnose.guide.flow import Tried, tried
from nettrace.diagnose.guide.objects import endpoints, node_of
from nettrace.diagnose.guide.request import Asking, section, state
from nettrace.diagnose.look import addresses_in
from nettrace.model.kube import Service
from nettrace.model.section import Known, SectionKey

__all__ = ["remembered"]


def remembered(case: Case, service: Service) -> Asking[Tried | None]:
    """Walk what is remembered of the client and leads to none of *service*'s endpoints; the first to fail."""
    snapshot = yield from state()
    here = node_of(snapshot, case.netns)
    ports = {port.port for port in service.ports if port.protocol == "UDP"}
    if case.external or here is None or not ports:
        return None
    entries = yield from section(SectionKey(snapshot.nodes[here].netns, "conntrack"))
    sockets = yield from section(SectionKey(case.netns, "sockets"))
    yield from section(SectionKey(case.netns, "addresses"))
    snapshot = yield from state()
    own = {address.address for address in addresses_in(snapshot, case.netns)}
    # a query that is over leaves an entry too, and hurts nobody: only ports that are still held count
    held = {s.port for s in sockets.value if s.proto == "udp"} if isinstance(sockets, Known) else set()
    ends = {(b.address, b.port) for p, b in endpoints(snapshot, service) if p.proto == "udp"}
    for entry in entries.value if isinstance(entries, Known) else ():
        one, other = entry.original, entry.reply
        if entry.proto != "udp" or one.src not in own or one.dst not in service.cluster_ips:
            continue
        if (
            one.dport not in ports
            or (other.src, other.sport) in ends
            or one.sport is None
            or one.sport not in held
        ):
            continue
        found = yield from tried(case.client, f"svc/{service.key}:{one.dport}/udp", sport=one.sport)
        if found.findings:
            return found
    return None
