"""
What an Ingress makes of a request: host, path, backend Service, its port.

Lives here: the rules of networking.k8s.io/v1: exact hosts before wildcards of one label, Exact
paths before Prefix, the longest prefix, whole path elements; which Service leads to a controller.
Not here: the connections on the way (nettrace.walk).
"""

from collections.abc import Sequence

from nettrace.model.errors import UserError
from nettrace.model.ingress import Ingress, IngressBackend, IngressPath, IngressRoute
from nettrace.model.kube import EndpointSlice, Service

__all__ = ["controller_service", "default_request", "host_matches", "path_matches", "route"]

_NAME = "app.kubernetes.io/name"


def default_request(ingress: Ingress) -> tuple[str, str]:
    """Host and path of the first rule, for a request that names none."""
    for one in ingress.paths:
        return one.host.replace("*", "any", 1), one.path
    return "", "/"


def host_matches(rule: str, host: str) -> bool:
    """Does a request's host fit a rule's?  ``*.`` stands for one label; "" for any host."""
    rule, host = rule.lower(), host.lower()
    if rule.startswith("*."):
        first, dot, rest = host.partition(".")
        return bool(first and dot) and rest == rule[2:]
    return rule in ("", host)


def path_matches(rule: IngressPath, path: str) -> bool:
    """Does a request's path fit?  A Prefix ends at an element: /a fits /a/b and not /ab."""
    if rule.path_type == "Exact":
        return path == rule.path
    prefix = rule.path.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")


def route(
    ingress: Ingress,
    host: str,
    path: str,
    services: Sequence[Service],
    slices: Sequence[EndpointSlice],
) -> IngressRoute:
    """Return what the Ingress makes of a request for *host* and *path*."""
    rules = [one for one in ingress.paths if host_matches(one.host, host)]
    best_host = max((_rank(one.host) for one in rules), default=0)
    rules = [one for one in rules if _rank(one.host) == best_host]
    asked = f"{host or 'any host'}{path}"
    fits = [one for one in rules if path_matches(one, path)]
    rule = max(fits, key=lambda one: (len(one.path.rstrip("/")), one.path_type == "Exact"), default=None)
    checks: list[tuple[bool, str]] = []
    if rule is not None:
        backend: IngressBackend | None = rule.backend
        checks.append((True, f"{asked} fits the rule {rule.host or '*'} {rule.path} ({rule.path_type})"))
    else:
        backend = ingress.default_backend
        no_path = f"no path of {rules[0].host or '*'} fits {path}" if rules else ""
        why = no_path or f"no rule has the host {host or '(none)'}"
        checks.append((backend is not None, why + (", the default backend takes it" if backend else "")))
    found = IngressRoute(host=host, path=path, rule=rule, checks=tuple(checks))
    if backend is None:
        return _with(found, status=404)
    return _backend(found, ingress, backend, services, slices)


def _backend(
    found: IngressRoute,
    ingress: Ingress,
    backend: IngressBackend,
    services: Sequence[Service],
    slices: Sequence[EndpointSlice],
) -> IngressRoute:
    key = f"{ingress.namespace}/{backend.service}"
    service = next((one for one in services if one.key == key), None)
    if service is None:
        return _with(found, (False, f"there is no Service {key}"), status=503)
    found = _with(found, (True, f"its backend is Service {key}"), service=key)
    port = next((one for one in service.ports if backend.port in (one.port, one.name)), None)
    if port is None or backend.port in (None, ""):
        names = [f"{one.port} ({one.name})" if one.name else f"{one.port}" for one in service.ports]
        has = ", ".join(names) or "none"
        return _with(found, (False, f"Service {key} has no port {backend.port}: it has {has}"), status=503)
    found = _with(found, (True, f"port {backend.port} is {port.port} of it"), port=port.port)
    ready = sum(
        len(endpoint.addresses)
        for one in slices
        if (one.namespace, one.service) == (service.namespace, service.name)
        for endpoint in one.endpoints
        if endpoint.ready
    )
    if not ready and service.type != "ExternalName":
        return _with(found, (False, f"Service {key} has no ready endpoint"), status=503)
    return found


def _rank(host: str) -> int:
    """Hosts in full before wildcards before any."""
    return 0 if not host else 1 if host.startswith("*") else 2


def _with(
    found: IngressRoute,
    check: tuple[bool, str] | None = None,
    *,
    service: str | None = None,
    port: int | None = None,
    status: int = 0,
) -> IngressRoute:
    return IngressRoute(
        host=found.host,
        path=found.path,
        rule=found.rule,
        service=service or found.service,
        port=port or found.port,
        status=status,
        checks=(*found.checks, *((check,) if check else ())),
    )


def controller_service(services: Sequence[Service]) -> Service:
    """
    Return the Service by which requests from outside reach the Ingress controller.

    Nothing in an Ingress says it: it is the one of type NodePort or LoadBalancer that selects pods
    whose recommended label app.kubernetes.io/name says ingress.  UserError for none, and several.
    """
    found = [
        one
        for one in services
        if one.type in ("NodePort", "LoadBalancer") and "ingress" in one.selector.get(_NAME, "")
    ]
    if len(found) == 1:
        return found[0]
    what = f"several: {', '.join(one.key for one in found)}" if found else "none"
    raise UserError(
        f"which Service leads to the Ingress controller is not clear: {what}",
        hint=f"it has type NodePort or LoadBalancer and selects pods by {_NAME}: ...ingress...",
    )
