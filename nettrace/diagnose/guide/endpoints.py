"""Has the Service endpoints: does its selector match pods, are they ready, do the slices follow them?"""

from nettrace.diagnose.causes.duplicate_ip import DUPLICATE_IP
from nettrace.diagnose.causes.svc_endpoints_stale import SVC_ENDPOINTS_STALE
from nettrace.diagnose.causes.svc_foreign_proxy import SVC_FOREIGN_PROXY
from nettrace.diagnose.causes.svc_ipfamily_mismatch import SVC_IPFAMILY_MISMATCH
from nettrace.diagnose.causes.svc_named_port_mismatch import SVC_NAMED_PORT_MISMATCH
from nettrace.diagnose.causes.svc_no_ready_endpoints import SVC_NO_READY_ENDPOINTS
from nettrace.diagnose.causes.svc_selector_mismatch import SVC_SELECTOR_MISMATCH
from nettrace.diagnose.guide.case import Case, Heading, advice, names
from nettrace.diagnose.guide.objects import (
    endpoints,
    families,
    find_service,
    matches,
    missing_words,
    nearest,
    pods,
    ready_addresses,
)
from nettrace.diagnose.guide.request import Asking, state
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check
from nettrace.model.kube import EndpointSlice, Pod, Service
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["selected"]

_TITLE = Heading("endpoints", Axis.ENDPOINTS, "Has it endpoints: selector, readiness, slices?")
_GONE = ("Succeeded", "Failed")


def selected(case: Case) -> Asking[Check]:
    """Compare selector, pods and EndpointSlices."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    slices = snapshot.kube.endpoint_slices
    looked = ("spec.selector, labels and readiness of the pods, EndpointSlices",)
    if service is None or not isinstance(slices, Known):
        reason = f"{case.key} is not known" if service is None else missing_words("EndpointSlices", slices)
        return _TITLE.unknown(reason, checked=looked)
    if service.type == "ExternalName":
        return _TITLE.skipped(f"it is an alias for {service.external_name}: nobody stands behind it here")
    own = tuple(s for s in slices.value if (s.namespace, s.service) == (service.namespace, service.name))
    everyone = pods(snapshot)
    finding = None
    if service.selector and everyone is not None:
        finding = _of_selector(case, service, own, everyone)
    finding = finding or _of_slices(case, snapshot, service, own) or _twice(case, own, everyone or ())
    ready = [f"{a}" for s in own for e in s.endpoints if e.ready for a in e.addresses]
    if finding is not None:
        return _TITLE.problem(
            finding,
            checked=looked,
        )
    kind = "" if service.selector else "it has no selector: its EndpointSlices are written by hand; "
    said = f"{kind}{len(ready)} ready: {names(ready)}"
    seen = tuple(Evidence(ref="kube/endpoint_slices", text=_slice_words(s)) for s in own[:4])
    if everyone is None and service.selector:
        reason = (
            f"{said}; whether they are the pods that it selects: {missing_words('pods', snapshot.kube.pods)}"
        )
        return _TITLE.unknown(reason, checked=looked, seen=seen)
    return _TITLE.passed(said, checked=looked, seen=seen)


def _slice_words(found: EndpointSlice) -> str:
    ports = ", ".join(f"{p.port}/{p.protocol}" for p in found.ports)
    ends = names([f"{a}{'' if e.ready else ' (not ready)'}" for e in found.endpoints for a in e.addresses])
    return f"{found.name}: {ends}; port {ports or 'none'}"


def _selector(service: Service) -> str:
    return ",".join(f"{key}={value}" for key, value in service.selector.items())


def _of_selector(
    case: Case, service: Service, own: tuple[EndpointSlice, ...], everyone: tuple[Pod, ...]
) -> Finding | None:
    """Compare the selector with the pods, and these with the slices."""
    alive = [p for p in everyone if p.namespace == service.namespace and p.phase not in _GONE]
    chosen = [p for p in alive if matches(service.selector, p.labels)]
    selector = _selector(service)
    if not chosen:
        near = nearest(service, alive)
        evidence = [Evidence(ref="kube/services", text=f"selector {selector}", note="matches no pod")]
        if near is not None:
            evidence.append(
                Evidence(
                    ref="kube/pods", text=f"pod {near[0].key} lacks {', '.join(near[1])}", note="the nearest"
                )
            )
        return advice(
            SVC_SELECTOR_MISMATCH,
            f"no pod in {service.namespace} has the labels {selector} that {service.key} selects",
            subject=case.subject,
            evidence=tuple(evidence),
            lasting=f"kubectl -n {service.namespace} set selector service {service.name} KEY=VALUE, "
            "or correct the pods' labels",
        )
    ready = [p for p in chosen if p.ready or service.publish_not_ready_addresses]
    if not ready:
        return advice(
            SVC_NO_READY_ENDPOINTS,
            f"none of the {len(chosen)} pods that {service.key} selects is ready",
            subject=case.subject,
            evidence=tuple(
                Evidence(ref="kube/pods", text=f"pod {p.key} {p.phase}, not ready") for p in chosen[:4]
            ),
            lasting=f"kubectl -n {service.namespace} describe pod {chosen[0].name}",
        )
    unnamed = _unnamed_port(case, service, ready)
    if unnamed is not None:
        return unnamed
    return _stale(case, service, own, chosen, ready)


def _unnamed_port(case: Case, service: Service, ready: list[Pod]) -> Finding | None:
    for port in case.ports(service):
        if not isinstance(port.target_port, str):
            continue
        declared = [(c, p) for p in ready for container in p.containers for c in container.ports]
        if any((c.name, c.protocol) == (port.target_port, port.protocol) for c, _ in declared):
            continue
        has = names(sorted({f"{c.name or 'unnamed'} {c.container_port}/{c.protocol}" for c, _ in declared}))
        return advice(
            SVC_NAMED_PORT_MISMATCH,
            f"port {port.port} of {service.key} leads to a port called {port.target_port!r}, "
            "which no container of its pods declares",
            subject=case.subject,
            evidence=(
                Evidence(ref="kube/services", text=f"port {port.port}: targetPort {port.target_port}"),
                Evidence(ref="kube/pods", text=f"the pods declare {has}"),
            ),
            lasting=f"name the container's port {port.target_port!r}, or give its number as targetPort",
        )
    return None


def _stale(
    case: Case, service: Service, own: tuple[EndpointSlice, ...], chosen: list[Pod], ready: list[Pod]
) -> Finding | None:
    """Compare the addresses in the slices with those of the pods, family by family."""
    wanted = families(service.cluster_ips) or families(ip for p in ready for ip in p.ips)
    in_slices = {a for s in own for e in s.endpoints for a in e.addresses}
    for family in wanted:
        of_pods = {ip for p in ready for ip in p.ips if families((ip,)) == (family,)}
        if not of_pods:
            return advice(
                SVC_IPFAMILY_MISMATCH,
                f"{service.key} has an IPv{family} address, and none of its ready pods has one",
                subject=case.subject,
                evidence=(
                    Evidence(ref="kube/services", text=f"clusterIPs {', '.join(service.cluster_ips)}"),
                    Evidence(ref="kube/pods", text=f"podIPs {names([ip for p in ready for ip in p.ips])}"),
                ),
            )
        lacking = sorted(of_pods - in_slices)
        if lacking:
            return _not_following(case, service, f"lack {names(lacking)} of ready pods", own)
    any_pod = {ip for p in chosen for ip in p.ips}
    foreign = sorted(in_slices - any_pod)
    if foreign:
        return _not_following(case, service, f"have {names(foreign)}, which no selected pod has", own)
    return None


def _not_following(case: Case, service: Service, how: str, own: tuple[EndpointSlice, ...]) -> Finding:
    return advice(
        SVC_ENDPOINTS_STALE,
        f"the EndpointSlices of {service.key} {how}",
        subject=case.subject,
        evidence=tuple(Evidence(ref="kube/endpoint_slices", text=_slice_words(s)) for s in own[:4])
        or (Evidence(ref="kube/endpoint_slices", text="there is none"),),
    )


def _of_slices(
    case: Case, snapshot: Snapshot, service: Service, own: tuple[EndpointSlice, ...]
) -> Finding | None:
    """Look whether each port that is meant has a ready endpoint, or a headless Service any."""
    if service.headless and not service.ports and not ready_addresses(snapshot, service):
        return _without(case, "", own, service)
    usable = {
        port.port.port for port, backend in endpoints(snapshot, service) if backend.ready or backend.drains
    }
    lacking = [port for port in case.ports(service) if port.port not in usable]
    if not lacking:
        return None
    if own and all(one.foreign for one in own):
        return _left_to_others(case, own, service)
    return _without(case, f"port {lacking[0].port} of ", own, service)


def _left_to_others(case: Case, own: tuple[EndpointSlice, ...], service: Service) -> Finding:
    return advice(
        SVC_FOREIGN_PROXY,
        f"kube-proxy passes the EndpointSlices of {service.key} over: "
        f"{own[0].name} is labelled {own[0].foreign}",
        subject=case.subject,
        evidence=tuple(
            Evidence(ref="kube/endpoint_slices", text=f"{one.name}: label {one.foreign}") for one in own[:4]
        ),
    )


def _without(case: Case, port: str, own: tuple[EndpointSlice, ...], service: Service) -> Finding:
    cause = SVC_NO_READY_ENDPOINTS if own else SVC_ENDPOINTS_STALE
    what = "has no ready endpoint" if own else "has no EndpointSlice"
    return advice(
        cause,
        f"{port}{service.key} {what}",
        subject=case.subject,
        evidence=tuple(Evidence(ref="kube/endpoint_slices", text=_slice_words(s)) for s in own[:4])
        or (Evidence(ref="kube/endpoint_slices", text="there is none"),),
    )


def _twice(case: Case, own: tuple[EndpointSlice, ...], everyone: tuple[Pod, ...]) -> Finding | None:
    """Look for an endpoint whose address two pods have."""
    addresses = {a for s in own for e in s.endpoints for a in e.addresses}
    for address in sorted(addresses):
        holders = [p for p in everyone if address in p.ips and not p.host_network and p.phase not in _GONE]
        if len(holders) > 1:
            return advice(
                DUPLICATE_IP,
                f"{names([p.key for p in holders])} have the same address {address}",
                subject=f"pod/{holders[-1].key}",
                evidence=tuple(
                    Evidence(ref="kube/pods", text=f"pod {p.key} on {p.node_name}: {', '.join(p.ips)}")
                    for p in holders
                ),
            )
    return None
