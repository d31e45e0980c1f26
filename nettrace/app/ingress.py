"""
Trace through an Ingress: client to controller, the Ingress object's rules, controller to backend.

Lives here: the use case behind ``nettrace trace SRC ingress/NAMESPACE/NAME[:host/path]``.
Not here: what the rules say (nettrace.kube.ingress), one flow (trace).
"""

from typing import Any

from nettrace.app.context import Context
from nettrace.app.remember import Question
from nettrace.app.trace import trace
from nettrace.kube.ingress import controller_service, default_request, route
from nettrace.model.errors import UserError
from nettrace.model.ingress import Ingress
from nettrace.model.ingress_report import IngressPart, IngressReport
from nettrace.model.kube import EndpointSlice, KubeNode, Pod, Service
from nettrace.model.section import Known
from nettrace.model.walk import Outcome
from nettrace.parse.target import IngressTarget

__all__ = ["trace_ingress"]

_STATUS = {404: "not_found", 503: "unavailable"}


def trace_ingress(
    context: Context, source: str, target: IngressTarget, *, with_probe: bool = False, count: int = 1
) -> IngressReport:
    """
    Walk from *source* to the controller, and from each controller that is reached to the backend.

    UserError without Kubernetes objects, for an Ingress that is not there, and where no Service
    leads to a controller.  The second flow is left out where no rule leads on, or no controller
    is reached.
    """
    ingresses: tuple[Ingress, ...] = _objects(context, "ingresses", "Ingresses")
    services: tuple[Service, ...] = _objects(context, "services", "Services")
    slices: tuple[EndpointSlice, ...] = _objects(context, "endpoint_slices", "EndpointSlices")
    ingress = _named(ingresses, target)
    host, path = default_request(ingress)
    host, path = (target.host or host), (target.path or ("/" if target.host else path))
    found = route(ingress, host, path, services, slices)
    controller = controller_service(services)
    options: dict[str, Any] = {"with_probe": with_probe, "count": count}
    entry = _entry(context, controller)
    first = trace(context, Question(source=source, target=entry), **options)
    parts = [IngressPart(source=source, target=f"svc/{controller.key}", report=first)]
    if found.status == 0 and found.service is not None:
        service = next(one for one in services if one.key == found.service)
        port = next(one for one in service.ports if one.port == found.port)
        for pod in _reached(context, first):
            onward = f"svc/{service.key}:{port.port}/{port.protocol.lower()}"
            report = trace(context, Question(source=f"pod/{pod}", target=onward), **options)
            parts.append(IngressPart(source=f"pod/{pod}", target=onward, report=report))
    failed = [part.report.walk.outcome for part in parts if part.report.walk.outcome is not Outcome.CONNECTED]
    if failed:
        outcome = failed[0].value
    elif found.status:
        outcome = _STATUS[found.status]
    else:
        outcome = Outcome.CONNECTED.value if len(parts) > 1 else Outcome.UNKNOWN.value
    return IngressReport(
        ingress=ingress.key,
        controller=controller.key,
        route=found,
        parts=tuple(parts),
        outcome=outcome,
        context=context.label,
    )


def _objects(context: Context, name: str, words: str) -> Any:
    section = getattr(context.snapshot.kube, name)
    if isinstance(section, Known):
        return section.value
    raise UserError(
        f"no {words} are known: {section.reason or 'nobody read them'}",
        where=context.label,
        hint="give --manifests DIR: kubectl get ingress,svc,endpointslices,pods,nodes -A -o yaml",
    )


def _named(ingresses: tuple[Ingress, ...], target: IngressTarget) -> Ingress:
    found = [
        one for one in ingresses if one.name == target.name and target.namespace in (None, one.namespace)
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"ingress/{one.key}" for one in (found or ingresses)) or "none"
    what = "is ambiguous" if found else "is not there"
    raise UserError(f"Ingress {target.name!r} {what}", where=target.text, hint=f"there is {names}")


def _entry(context: Context, controller: Service) -> str:
    """Where a client outside knocks: the balancer's address, or a node port of the first node."""
    port = next((one for one in controller.ports if one.name == "http" or one.port == 80), None)
    if port is None:
        raise UserError(f"Service {controller.key} has no port 80 and none called http")
    for address, _ in controller.load_balancer_status:
        return f"ip/{address}:{port.port}"
    nodes: tuple[KubeNode, ...] = _objects(context, "nodes", "Nodes")
    addresses = [one for node in nodes for one in node.internal_ips]
    if not addresses or port.node_port is None:
        raise UserError(
            f"Service {controller.key} has no balancer's address, and no node to knock at is known"
        )
    return f"ip/{addresses[0]}:{port.node_port}"


def _reached(context: Context, report: Any) -> list[str]:
    """The controllers (namespace/name) that the first flow ends at, in the order of the branches."""
    pods: tuple[Pod, ...] = _objects(context, "pods", "Pods")
    ends = [path.endpoint for path in report.walk.paths if path.endpoint is not None]
    names = [
        pod.key for end in ends for pod in pods if end.address in pod.ips and pod.netns in (None, end.netns)
    ]
    return list(dict.fromkeys(names))
