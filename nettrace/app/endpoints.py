"""
Endpoints: of one Service, what the API says, what the kernel does, and whether a connection arrives.

Lives here: putting the three side by side.  The kernel's part is the walk from a client to the
Service: it is the same for iptables, nftables, IPVS and maps of BPF.
Not here: why they differ (nettrace.diagnose), lines (nettrace.tui.service_lines).
"""

from msgspec import Struct

from nettrace.app.context import Context
from nettrace.app.debug import case_of
from nettrace.app.remember import Question
from nettrace.app.trace import BRIEF, walk_of
from nettrace.diagnose.goal import innermost, last_packet
from nettrace.diagnose.guide.objects import endpoints, find_service, ports_of, slices_unread
from nettrace.kube.endpoints import Backend
from nettrace.kube.services import ProxiedPort
from nettrace.model.errors import UserError
from nettrace.model.section import SectionKey
from nettrace.model.walk import Outcome, Path, Walk
from nettrace.observe.connect import connect

__all__ = ["EndpointRow", "PortRows", "compare_endpoints"]


class EndpointRow(Struct, frozen=True, kw_only=True):
    """
    One endpoint.

    ``said`` is what its EndpointSlice says (``ready``, ``not ready``, ``terminating``), "" for one
    that is in none.  ``share`` is how much of what comes the kernel sends there, None if that cannot
    be told.  ``reached`` is how a connection to it ended, None if none was made.
    """

    address: str
    port: int | None
    said: str
    share: float | None
    reached: Outcome | None = None
    pod: str | None = None

    @property
    def agrees(self) -> bool:
        """Does the kernel send something to it just if it is ready, and is it reached as far as tried?"""
        return (
            self.share is not None
            and (self.share > 0) == (self.said == "ready")
            and self.reached in (None, Outcome.CONNECTED)
        )


class PortRows(Struct, frozen=True, kw_only=True):
    """
    One port of a Service.

    ``lost`` is how much of what comes is sent to nobody, and ``why``; ``unknown`` says why the kernel's
    part cannot be told, ``unread`` why the API's cannot.
    """

    name: str
    target: str
    client: str
    rows: tuple[EndpointRow, ...]
    lost: float = 0.0
    why: str = ""
    unknown: str = ""
    unread: str = ""


def compare_endpoints(context: Context, service: str, *, with_probe: bool = False) -> tuple[PortRows, ...]:
    """
    Put the endpoints of *service* (``svc/NAMESPACE/NAME``) side by side, port by port.

    With *with_probe* a connection is made to each of them, from the same client as is walked from.
    UserError if there is no such Service or nobody to call it.
    """
    context.read_unread(
        [SectionKey("", f"kube/{n}") for n in ("services", "endpoint_slices", "pods", "nodes")]
    )
    case = case_of(context, service)
    found = find_service(context.snapshot, case.namespace, case.name)
    if found is None:
        known = context.snapshot.kube.services
        raise UserError(
            f"there is no Service {case.key}",
            where=context.label,
            hint=getattr(known, "reason", "") or "nettrace show services lists them",
        )
    everybody = endpoints(context.snapshot, found)
    ports = []
    for port in ports_of(found):
        mine = [backend for one, backend in everybody if one == port]
        if not port.cluster_ip:
            unknown = "headless: a client calls the endpoints themselves"
            ports.append(_rows(context, port, case.client, case.netns, mine, None, unknown, with_probe))
            continue
        target = f"{port.cluster_ip}:{port.port.port}/{port.proto}"
        if port.family == 6:
            target = f"[{port.cluster_ip}]:{port.port.port}/{port.proto}"
        try:
            walked, unknown = walk_of(context, Question(source=case.client, target=target)), ""
        except UserError as error:
            walked, unknown = None, error.what
        ports.append(_rows(context, port, case.client, case.netns, mine, walked, unknown, with_probe))
    return tuple(ports)


def _rows(
    context: Context,
    port: ProxiedPort,
    client: str,
    netns: str,
    mine: list[Backend],
    walked: Walk | None,
    unknown: str,
    with_probe: bool,
) -> PortRows:
    shares: dict[tuple[str, int | None], float] = {}
    lost, why = 0.0, ""
    for path in walked.paths if walked is not None else ():
        end = _sent_to(path, port)
        if end is not None:
            shares[end] = shares.get(end, 0.0) + path.probability
        elif path.outcome is Outcome.UNKNOWN:
            unknown = path.reason or path.request.reason or "the walk ends in what is not known"
        else:
            lost, why = lost + path.probability, path.reason or path.request.reason or path.verdict.value
    told = {(backend.address, backend.port): backend for backend in mine}
    rows = []
    for address, number in (*told, *(end for end in shares if end not in told)):
        backend = told.get((address, number or 0))
        share = shares.get((address, number), None if unknown else 0.0)
        reached = _reached(context, netns, address, number, port.proto) if with_probe else None
        rows.append(
            EndpointRow(
                address=address,
                port=number,
                said=_said(backend),
                share=share,
                reached=reached,
                pod=backend.pod if backend is not None else None,
            )
        )
    target = f"{port.subject}:{port.port.port}/{port.proto}"
    return PortRows(
        name=port.name,
        target=target,
        client=client,
        rows=tuple(rows),
        lost=lost,
        why=why,
        unknown=unknown,
        unread=slices_unread(context.snapshot),
    )


def _said(backend: Backend | None) -> str:
    if backend is None:
        return ""
    if backend.terminating:
        return "terminating"
    return "ready" if backend.ready else "not ready"


def _sent_to(path: Path, port: ProxiedPort) -> tuple[str, int | None] | None:
    """Return whom the kernel sends the request of a branch to, None if it is sent to nobody."""
    if path.endpoint is not None:
        return path.endpoint.address, path.endpoint.port
    packet = last_packet(path.request)
    if packet is None:
        return None
    inner = innermost(packet)
    number = inner.dport.single if inner.dport is not None else None
    if (inner.dst, number) == (port.cluster_ip, port.port.port):
        return None
    return inner.dst, number


def _reached(context: Context, netns: str, address: str, port: int | None, proto: str) -> Outcome | None:
    """Make one connection; None where none can be made."""
    if port is None or not context.live or proto not in ("tcp", "udp"):
        return None
    seen = connect(context.path(netns), None, address, port, proto, timeout=BRIEF)
    return seen.attempts[0].outcome if seen.attempts else None
