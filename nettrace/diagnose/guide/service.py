"""Does the Service exist, and is it defined for what is asked of it?"""

from difflib import get_close_matches

from nettrace.diagnose.causes.svc_externalname import SVC_EXTERNALNAME
from nettrace.diagnose.causes.svc_foreign_proxy import SVC_FOREIGN_PROXY
from nettrace.diagnose.causes.svc_headless_port import SVC_HEADLESS_PORT
from nettrace.diagnose.causes.svc_missing import SVC_MISSING
from nettrace.diagnose.causes.svc_port_not_listed import SVC_PORT_NOT_LISTED
from nettrace.diagnose.causes.svc_protocol_mismatch import SVC_PROTOCOL_MISMATCH
from nettrace.diagnose.causes.svc_wrong_namespace import SVC_WRONG_NAMESPACE
from nettrace.diagnose.guide.case import Case, Heading, advice, names
from nettrace.diagnose.guide.objects import find_service, missing_words, services
from nettrace.diagnose.guide.request import Asking, state
from nettrace.kube.services import is_proxied
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check
from nettrace.model.kube import Service
from nettrace.model.snapshot import Snapshot

__all__ = ["definition", "exists"]

_EXISTS = Heading("service", Axis.ENDPOINTS, "Does the Service exist?")
_DEFINED = Heading("definition", Axis.ENDPOINTS, "Is it defined for what is asked of it?")


def exists(case: Case) -> Asking[Check]:
    """Look for the Service; UNKNOWN where the objects were not read."""
    snapshot = yield from state()
    known = services(snapshot)
    looked = (f"Services of {snapshot.kube.origin or 'this source'}",)
    if known is None:
        reason = missing_words("Services", snapshot.kube.services)
        return _EXISTS.unknown(reason, checked=looked)
    service = find_service(snapshot, case.namespace, case.name)
    if service is not None:
        seen = (Evidence(ref="kube/services", text=_described(service)),)
        return _EXISTS.passed("it does", checked=looked, seen=seen)
    finding = _absent(case, snapshot, known)
    return _EXISTS.problem(
        finding,
        checked=looked,
    )


def _described(service: Service) -> str:
    ports = ", ".join(
        f"{p.port}/{p.protocol}" + (f" -> {p.target_port}" if p.target_port else "") for p in service.ports
    )
    address = ", ".join(service.cluster_ips) or ("None" if service.headless else service.external_name or "-")
    return f"{service.key} {service.type} {address} {ports}".rstrip()


def _absent(case: Case, snapshot: Snapshot, known: tuple[Service, ...]) -> Finding:
    elsewhere = [service for service in known if service.name == case.name]
    if elsewhere:
        there = elsewhere[0]
        return advice(
            SVC_WRONG_NAMESPACE,
            f"there is no Service {case.key}; {names([s.key for s in elsewhere])} has that name",
            subject=f"svc/{there.key}",
            evidence=(Evidence(ref="kube/services", text=_described(there)),),
            lasting=f"call it {there.name}.{there.namespace}, or deploy it in {case.namespace}",
        )
    like = get_close_matches(case.name, {service.name for service in known}, n=2)
    near = [service.key for name in like for service in known if service.name == name][:2]
    same = [service.name for service in known if service.namespace == case.namespace]
    return advice(
        SVC_MISSING,
        f"there is no Service {case.key}" + (f"; is {' or '.join(near)} meant?" if near else ""),
        subject=case.subject,
        evidence=(Evidence(ref="kube/services", text=f"{case.namespace} has {names(same)}"),),
    )


def definition(case: Case) -> Asking[Check]:
    """Hold what is asked against the Service's type, ports, protocols and labels."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    looked = ("spec.type, spec.clusterIP, spec.ports, labels",)
    if service is None:
        reason = f"{case.key} is not known"
        return _DEFINED.unknown(reason, checked=looked)
    seen = (Evidence(ref="kube/services", text=_described(service)),)
    finding = _misfit(case, service)
    if finding is not None:
        return _DEFINED.problem(
            finding,
            checked=looked,
            seen=seen,
        )
    if service.headless:
        said = "headless: its name leads to the pods themselves, and there are no rules for it"
    else:
        said = "port and protocol are listed: " + names(
            [f"{port.port}/{port.protocol}" for port in case.ports(service)]
        )
    return _DEFINED.passed(said, checked=looked, seen=seen)


def _misfit(case: Case, service: Service) -> Finding | None:
    """Return what of the definition does not fit, the first thing that counts."""
    patch = f"kubectl -n {service.namespace} edit service {service.name}"
    if service.type == "ExternalName":
        return advice(
            SVC_EXTERNALNAME,
            f"{service.key} is an alias for {service.external_name}: "
            "it has no address, and no rule on any node is about it",
            subject=case.subject,
        )
    meant = case.ports(service)
    if not meant and not (service.headless and not service.ports and case.port is None):
        wanted = f"{case.port if case.port is not None else 'any port'}/{case.proto or 'any protocol'}"
        has = names([f"{p.port}/{p.protocol}" + (f" ({p.name})" if p.name else "") for p in service.ports])
        other = [p for p in service.ports if case.port in (None, p.port, p.name)]
        cause = SVC_PROTOCOL_MISMATCH if other and service.ports else SVC_PORT_NOT_LISTED
        return advice(
            cause,
            f"{service.key} has no port {wanted}; it has {has}",
            subject=case.subject,
            evidence=(Evidence(ref="kube/services", text=_described(service)),),
            lasting=f"use one of its ports, or add it: {patch}",
        )
    if service.headless:
        for port in meant:
            if isinstance(port.target_port, int) and port.target_port != port.port and case.port == port.port:
                return advice(
                    SVC_HEADLESS_PORT,
                    f"{service.key} is headless: its port {port.port} is not translated, "
                    f"its pods listen on {port.target_port}",
                    subject=case.subject,
                    evidence=(Evidence(ref="kube/services", text=_described(service)),),
                    lasting=f"call port {port.target_port}, or make `port` the same: {patch}",
                )
        return None
    if not is_proxied(service):
        labels = {k: v for k, v in service.labels.items() if k.startswith("service.kubernetes.io/")}
        return advice(
            SVC_FOREIGN_PROXY,
            f"kube-proxy passes {service.key} over: {', '.join(f'{k}={v!r}' for k, v in labels.items())}",
            subject=case.subject,
            lasting=f"run that proxy, or take the label off: {patch}",
        )
    return None
