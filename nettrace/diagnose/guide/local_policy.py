"""
externalTrafficPolicy Local: which nodes have an endpoint, who says so, and who asks.

Lives here: telling nodes without an endpoint from those that do not know theirs; the balancer's question.
Not here: calling the entrances (outside.py).
Sources: pkg/proxy/topology.go (CategorizeEndpoints), pkg/proxy/healthcheck/service_health.go.
"""

from collections.abc import Iterable
from itertools import pairwise

from msgspec.structs import replace

from nettrace.diagnose.causes.etp_local_hostname_mismatch import ETP_LOCAL_HOSTNAME_MISMATCH
from nettrace.diagnose.causes.etp_local_no_endpoint import ETP_LOCAL_NO_ENDPOINT
from nettrace.diagnose.causes.healthcheck_nodeport_failing import HEALTHCHECK_NODEPORT_FAILING
from nettrace.diagnose.guide.case import Case, advice, names
from nettrace.diagnose.guide.flow import Tried, evidence_of, tried
from nettrace.diagnose.guide.objects import endpoints, node_of
from nettrace.diagnose.guide.request import Asking
from nettrace.diagnose.look import holder_of, step_text
from nettrace.kube.endpoints import Backend
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import CheckState
from nettrace.model.kube import Service
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["bare", "has_local", "health_asked", "misnamed"]

#: kube-proxy's own words in the rule, or in the element of its map (pkg/proxy/iptables, nftables).
_DROPS = "has no local endpoints"


def has_local(snapshot: Snapshot, service: Service, node: str, asked: str) -> bool:
    """Do the slices have an endpoint on *node* for the node port *asked* (``30080/tcp``)?"""
    return any(
        backend.local and (backend.ready or backend.drains)
        for port, backend in endpoints(snapshot, service, node)
        if f"{port.port.node_port}/{port.proto}" == asked
    )


def misnamed(
    case: Case, snapshot: Snapshot, service: Service, node: str, tried_: Tried | None = None
) -> Finding | None:
    """
    Return the finding if an endpoint lives on *node* and is not taken for local there.

    *tried_* is a call of the node's port that failed; None where the slices themselves name no endpoint
    here, so that kube-proxy cannot know better.
    """
    here = [backend for backend in _ready(snapshot, service) if _lives_on(snapshot, backend, node)]
    if not here:
        return None
    named = _node_names(snapshot, service, here)
    drop = _dropping(tried_)
    if tried_ is not None and drop is None:
        return None
    ends = names(sorted({backend.text for backend in here}))
    proxy = _proxy_name(snapshot, node)
    called = names(sorted(named)) or "no node"
    own = f"calls itself {proxy}" if proxy else "goes by another name"
    return advice(
        ETP_LOCAL_HOSTNAME_MISMATCH,
        f"{ends} of {case.key} is on {node}, and kube-proxy there does not take it for local: "
        f"the EndpointSlice says {called}, kube-proxy {own}",
        subject=case.subject,
        where=node,
        evidence=(
            Evidence(ref="kube/endpoint_slices", text=f"nodeName of {ends}: {called}"),
            *(
                Evidence(
                    ref=f"{holder_of(snapshot, one.address)}/addresses",
                    text=f"{one.address} is in {holder_of(snapshot, one.address)} on {node}",
                    note="so it is local",
                )
                for one in here
            ),
            *((drop,) if drop is not None else ()),
            *(
                (Evidence(ref=f"node:{node}/processes", text=f"kube-proxy --hostname-override={proxy}"),)
                if proxy
                else ()
            ),
        ),
    )


def bare(case: Case, service: Service, snapshot: Snapshot, nodes: Iterable[str]) -> Finding:
    """Return the finding that no endpoint is on any of *nodes*, as the policy has it."""
    wanting = sorted(set(nodes))
    ends = [backend.text for backend in _ready(snapshot, service)]
    return advice(
        ETP_LOCAL_NO_ENDPOINT,
        f"{case.key} has externalTrafficPolicy Local, and there is no endpoint of it on {names(wanting)}",
        subject=case.subject,
        where=wanting[0],
        evidence=(Evidence(ref="kube/endpoint_slices", text=f"its endpoints: {names(ends)}"),),
    )


def health_asked(
    case: Case, snapshot: Snapshot, service: Service, asker: str
) -> Asking[tuple[list[Tried], Finding | None]]:
    """
    Ask, as the balancer does, every node that has an endpoint: the calls, and the finding of the first lost.

    Nothing is asked of a Service without healthCheckNodePort.  What the answer says (200 or 503) is not read.
    """
    number, found = service.health_check_node_port, list[Tried]()
    if not number or service.type != "LoadBalancer" or service.external_traffic_policy != "Local":
        return found, None
    for node in sorted(snapshot.nodes):
        if not any(b.local and b.ready for _, b in endpoints(snapshot, service, node)):
            continue
        one = yield from tried(asker, f"node/{node}:{number}/tcp")
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return found, _unhealthy(case, node, number, one)
    return found, None


def _unhealthy(case: Case, node: str, number: int, one: Tried) -> Finding:
    """Say why the question is lost, with the repair of whatever loses it where there is one."""
    inner = one.findings[0] if one.findings else None
    silent = any(path.verdict is Verdict.NOT_LISTENING for path in one.walk.paths)
    why = (
        "nobody listens there: kube-proxy does not serve it"
        if silent
        else inner.message
        if inner is not None
        else one.words
    )
    found = advice(
        HEALTHCHECK_NODEPORT_FAILING,
        f"the balancer asks {node} at healthCheckNodePort {number} for {case.key} and gets no answer: {why}",
        subject=case.subject,
        where=node,
        evidence=(
            Evidence(ref="kube/services", text=f"{case.key}: healthCheckNodePort {number}"),
            *evidence_of(one),
            *(inner.evidence if inner is not None else ()),
        ),
    )
    mends = inner.repairs if inner is not None and not silent else ()
    return replace(found, repairs=mends) if any(repair.changes for repair in mends) else found


def _ready(snapshot: Snapshot, service: Service) -> list[Backend]:
    """Return the ready endpoints, each address once for each of its ports."""
    return list({b.text: b for _, b in endpoints(snapshot, service) if b.ready}.values())


def _lives_on(snapshot: Snapshot, backend: Backend, node: str) -> bool:
    held = holder_of(snapshot, backend.address)
    return held is not None and node_of(snapshot, held) == node


def _node_names(snapshot: Snapshot, service: Service, among: list[Backend]) -> set[str]:
    """Return what the slices call the nodes of these endpoints."""
    section = snapshot.kube.endpoint_slices
    addresses = {backend.address for backend in among}
    return {
        end.node_name
        for found in (section.value if isinstance(section, Known) else ())
        if (found.namespace, found.service) == (service.namespace, service.name)
        for end in found.endpoints
        if end.node_name and addresses.intersection(end.addresses)
    }


def _dropping(tried_: Tried | None) -> Evidence | None:
    """Return kube-proxy's rule that drops for want of a local endpoint, if that is where the call ends."""
    for path in tried_.walk.paths if tried_ is not None else ():
        step = path.failing_step
        if step is not None and path.verdict is Verdict.DROPPED_BY_RULE and _DROPS in step_text(step):
            ref = step.why.ref if step.why is not None else ""
            return Evidence(ref=ref, text=step_text(step), note="kube-proxy's own rule")
    return None


def _proxy_name(snapshot: Snapshot, node: str) -> str:
    """Return the name that a kube-proxy process of the node was given, "" where it is not known."""
    section = snapshot.nodes[node].processes
    for process in section.value if isinstance(section, Known) else ():
        words = process.cmdline if process.name == "kube-proxy" else ()
        for word, after in pairwise((*words, "")):
            option, _, value = word.partition("=")
            if option == "--hostname-override":
                return value or after
    return ""
