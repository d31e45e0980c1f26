"""
Do the pods serve, does the client reach them, does the Service lead to them, also to themselves?

Lives here: the checks that walk packets inside the cluster.
"""

from msgspec import Struct

from nettrace.diagnose.causes.itp_local_no_endpoint import ITP_LOCAL_NO_ENDPOINT
from nettrace.diagnose.causes.pod_not_listening import POD_NOT_LISTENING
from nettrace.diagnose.causes.svc_app_listens_localhost import SVC_APP_LISTENS_LOCALHOST
from nettrace.diagnose.causes.svc_wrong_targetport import SVC_WRONG_TARGETPORT
from nettrace.diagnose.guide.case import Case, Heading, advice, names
from nettrace.diagnose.guide.connections import remembered
from nettrace.diagnose.guide.flow import Tried, evidence_of, failed, tried, worst
from nettrace.diagnose.guide.objects import (
    endpoints,
    find_service,
    node_of,
    pod_at,
    pod_netns,
    slices_unread,
)
from nettrace.diagnose.guide.request import Asking, section, state
from nettrace.diagnose.look import holder_of
from nettrace.kube.endpoints import Backend
from nettrace.kube.services import ProxiedPort
from nettrace.model.addr import is_loopback
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check, CheckState
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import Socket
from nettrace.model.step import Verdict

__all__ = ["hairpin", "reached", "serving", "translated"]

_SERVE = Heading("pods", Axis.ENDPOINTS, "Do its pods serve, asked from their own node?")
_REACH = Heading("path", Axis.RULES, "Does the client reach each of them directly?")
_RULES = Heading("rules", Axis.RULES, "Does its address lead to them, from the client?")
_HAIRPIN = Heading("hairpin", Axis.RULES, "Do its own pods reach it, themselves included?")

#: Endpoints that are tried one by one; what is left out is said.
_MOST = 12
#: Connections to a Service for each of its endpoints.
_EACH = 3


class _End(Struct, frozen=True, kw_only=True):
    """One endpoint, and where it lives: its namespace and node, None where they were not read."""

    port: ProxiedPort
    backend: Backend
    netns: str | None
    node: str | None

    @property
    def proto(self) -> str:
        return self.port.proto

    @property
    def target(self) -> str:
        address = f"[{self.backend.address}]" if ":" in self.backend.address else self.backend.address
        return f"{address}:{self.backend.port}/{self.proto}"

    @property
    def words(self) -> str:
        return f"{self.backend.pod or self.backend.address} ({self.backend.text})"


def _ends(snapshot: Snapshot, case: Case) -> list[_End]:
    """Return the ready endpoints of the ports that are meant."""
    service = find_service(snapshot, case.namespace, case.name)
    if service is None:
        return []
    meant = {port.port for port in case.ports(service)}
    found = []
    for port, backend in endpoints(snapshot, service):
        if port.port.port not in meant or not (backend.ready or backend.drains):
            continue
        pod = pod_at(snapshot, backend.address)
        netns = pod_netns(snapshot, pod) if pod is not None else holder_of(snapshot, backend.address)
        node = node_of(snapshot, netns) if netns is not None else None
        found.append(_End(port=port, backend=backend, netns=netns, node=node))
    return found


def _left_out(ends: list[_End]) -> str:
    return f"; {len(ends) - _MOST} more endpoints were not tried" if len(ends) > _MOST else ""


def _gone(away: list[str]) -> str:
    return f"; not asked, for nothing was read of where they live: {names(away)}" if away else ""


def _none(heading: Heading, case: Case, snapshot: Snapshot) -> Check:
    if find_service(snapshot, case.namespace, case.name) is None:
        return heading.unknown(f"{case.key} is not known")
    unread = slices_unread(snapshot)
    return heading.unknown(unread) if unread else heading.skipped("there is no ready endpoint")


def serving(case: Case) -> Asking[Check]:
    """Ask each endpoint from the node that it is on."""
    snapshot = yield from state()
    ends = _ends(snapshot, case)
    if not ends:
        return _none(_SERVE, case, snapshot)
    found: list[Tried] = []
    away: list[str] = []
    for end in ends[:_MOST]:
        if end.node is None or end.netns is None:
            away.append(end.words)
            continue
        one = yield from tried(f"node/{end.node}", end.target)
        found.append(one)
        finding = yield from _not_served(case, end, one)
        if finding is not None:
            return _SERVE.problem(
                finding,
                checked=tuple(t.words for t in found),
                flow=(one.source, one.target),
            )
        if one.state is CheckState.PROBLEM:
            return failed(_SERVE, one, found)
    states = [one.state for one in found] + [CheckState.UNKNOWN] * bool(away)
    said = f"{len(found)} of {len(ends)} asked{_gone(away)}{_left_out(ends)}"
    checked = tuple(one.words for one in found)
    return _SERVE.ended(worst(states), said, checked=checked)


def _not_served(case: Case, end: _End, one: Tried) -> Asking[Finding | None]:
    """Return the finding if the endpoint is reached and nobody listens there."""
    there = [path.failing_step for path in one.walk.paths if path.verdict is Verdict.NOT_LISTENING]
    if end.netns is None or not any(step is not None and step.netns == end.netns for step in there):
        return None
    sockets = yield from section(SectionKey(end.netns, "sockets"))
    waiting = [s for s in sockets.value if _waits(s, end.proto)] if isinstance(sockets, Known) else []
    here = [s for s in waiting if s.port == end.backend.port]
    port, name = end.backend.port, end.backend.pod or end.netns
    listing = tuple(
        Evidence(ref=f"{end.netns}/sockets/{end.proto}/{s.port}", text=f"{end.netns} listens on {_at(s)}")
        for s in sorted(waiting, key=lambda s: s.port)[:4]
    ) or (
        Evidence(ref=f"{end.netns}/sockets", text=f"nobody in {end.netns} listens on any {end.proto} port"),
    )
    if here and all(is_loopback(s.address) for s in here):
        return advice(
            SVC_APP_LISTENS_LOCALHOST,
            f"{name} listens on {_at(here[0])} only, which nobody else reaches",
            subject=f"pod/{name}",
            where=end.node or "",
            evidence=listing,
        )
    if any(not is_loopback(s.address) for s in waiting):
        repairable = yield from _translated_wrong(case, end)
        return repairable or advice(
            SVC_WRONG_TARGETPORT,
            f"{case.key} leads to port {port} of {name}, on which nobody listens",
            subject=case.subject,
            where=end.node or "",
            evidence=listing,
        )
    return advice(
        POD_NOT_LISTENING,
        f"nobody in {name} listens on {end.proto} port {port}",
        subject=f"pod/{name}",
        where=end.node or "",
        evidence=listing,
    )


def _translated_wrong(case: Case, end: _End) -> Asking[Finding | None]:
    """Return the finding of the Service's own way to the endpoint, which may have a repair."""
    if end.port.service.headless:
        return None
    caller = f"node/{end.node}" if case.external else case.client
    through = yield from tried(caller, case.target(end.port.port))
    return next((found for found in through.findings if found.cause == SVC_WRONG_TARGETPORT.id), None)


def _waits(found: Socket, proto: str) -> bool:
    return found.proto == proto and found.state in ("listen", "unconn")


def _at(found: Socket) -> str:
    address = f"[{found.address}]" if ":" in found.address else found.address
    return f"{address}:{found.port}"


def reached(case: Case) -> Asking[Check]:
    """Walk from the client to each endpoint, past the Service: the network's own part."""
    if case.external:
        return _REACH.skipped("from outside the pods have no address")
    snapshot = yield from state()
    everyone = _ends(snapshot, case)
    ends = [end for end in everyone if end.netns != case.netns]
    if not everyone:
        return _none(_REACH, case, snapshot)
    if not ends:
        return _REACH.skipped("the client is its only endpoint")
    here = node_of(snapshot, case.netns)
    ends.sort(key=lambda end: end.node != here)
    found: list[Tried] = []
    for end in ends[:_MOST]:
        one = yield from tried(case.client, end.target)
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return failed(_REACH, one, found)
    far = sum(1 for end in ends[:_MOST] if end.node is None or end.node != here)
    said = f"{len(found) - far} on its own node, {far} on others{_left_out(ends)}"
    state_ = worst([one.state for one in found])
    return _REACH.ended(state_, said, checked=tuple(one.words for one in found))


def translated(case: Case) -> Asking[Check]:
    """Walk from the client to the Service's address, each port of it."""
    if case.external:
        return _RULES.skipped("it is called from outside")
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    if service is None:
        return _RULES.unknown(f"{case.key} is not known")
    if service.headless or not service.cluster_ips:
        return _RULES.skipped("it has no address of its own")
    here = node_of(snapshot, case.netns)
    ports = case.ports(service)
    if not ports:
        return _RULES.skipped("it has no such port")
    found: list[Tried] = []
    for port in ports:
        ends = [
            b for p, b in endpoints(snapshot, service, here or "") if p.port.port == port.port and b.ready
        ]
        local = service.internal_traffic_policy == "Local" and here is not None
        if local and ends and not any(b.local for b in ends):
            return _no_local(case, here or "", [b.text for b in ends])
        one = yield from tried(case.client, case.target(port), _EACH * max(1, min(len(ends), _MOST)))
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return failed(_RULES, one, found)
    old = yield from remembered(case, service)
    if old is not None:
        checked = (*(one.words for one in found), f"what the node remembers of {case.client}'s connections")
        flow = (old.source, old.target)
        return _RULES.problem(old.findings[0], checked=checked, flow=flow, sport=old.sport)
    state_ = worst([one.state for one in found])
    seen = tuple(e for one in found for e in evidence_of(one)) if state_ is CheckState.UNKNOWN else ()
    said = "; ".join(f"port {one.target.rpartition(':')[2]}: {one.result}" for one in found)
    checked = tuple(one.words for one in found)
    return _RULES.ended(state_, said, checked=checked, seen=seen)


def _no_local(case: Case, node: str, ends: list[str]) -> Check:
    finding = advice(
        ITP_LOCAL_NO_ENDPOINT,
        f"{case.key} has internalTrafficPolicy Local, and no endpoint of it is on {node}",
        subject=case.subject,
        where=node,
        evidence=(Evidence(ref="kube/endpoint_slices", text=f"its endpoints: {names(ends)}"),),
    )
    return _RULES.problem(
        finding,
    )


def hairpin(case: Case) -> Asking[Check]:
    """Walk from each endpoint to the Service: one of the branches leads back to itself."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    if service is not None and (service.headless or not service.cluster_ips):
        return _HAIRPIN.skipped("it has no address of its own")
    everyone = _ends(snapshot, case)
    if not everyone:
        return _none(_HAIRPIN, case, snapshot)
    ends = [end for end in everyone if _is_pod(snapshot, end)]
    away = [end.words for end in everyone if end.netns is None]
    if not ends and not away:
        return _HAIRPIN.skipped("its endpoints are no pods of their own network")
    found: list[Tried] = []
    for end in ends[:_MOST]:
        one = yield from tried(
            f"netns/{end.netns}", case.target(end.port.port), _EACH * min(len(ends), _MOST)
        )
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return failed(_HAIRPIN, one, found)
    said = f"{len(found)} pods called it{_gone(away)}{_left_out(ends)}"
    state_ = worst([one.state for one in found] + [CheckState.UNKNOWN] * bool(away))
    return _HAIRPIN.ended(state_, said, checked=tuple(one.words for one in found))


def _is_pod(snapshot: Snapshot, end: _End) -> bool:
    return end.netns is not None and snapshot.namespaces[end.netns].role == "pod"
