"""
Ingress objects as the configuration of a real nginx.

Lives here: what an Ingress controller writes for nginx: a server for each host, locations for its
paths (Exact and Prefix as networking.k8s.io/v1 has them), the Service's address behind each.
Not here: the pod that it runs in (topologies), the same question answered without nginx
(nettrace.kube.ingress).

Requests go on to the Service's ClusterIP, so that kube-proxy's rules are on the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from nettrace.lab.cluster.documents import Document, at, mapping_list, name_of, text_map, title
from nettrace.model.errors import UserError

__all__ = ["CONTROLLER_LABEL", "CONTROLLER_NAME", "ingress_notes", "nginx_conf"]

#: The label of the pods in which nginx runs, as ingress-nginx labels its own.
CONTROLLER_LABEL, CONTROLLER_NAME = "app.kubernetes.io/name", "ingress-nginx"

_SERVICE_LABEL = "kubernetes.io/service-name"
_UNAVAILABLE = "return 503;"


class _Rule(NamedTuple):
    """One path of one Ingress; ``kind`` is Exact or Prefix."""

    path: str
    kind: str
    action: str


def nginx_conf(
    ingresses: Sequence[Document],
    services: Sequence[Document],
    slices: Sequence[Document],
    home: PurePath,
    pid_file: PurePath,
    listens: Sequence[int],
) -> str:
    """
    Return nginx.conf for these Ingresses.

    *home* is the directory for its logs and temporary files.  UserError for an Ingress that makes
    no sense; a backend that does not exist is answered with 503, as the real controller does.
    """
    hosts: dict[str, list[_Rule]] = {"": []}
    for ingress in ingresses:
        for name, rule in _rules(ingress, services, slices):
            rules = hosts.setdefault(name, [])
            if all((rule.path, rule.kind) != (other.path, other.kind) for other in rules):
                rules.append(rule)
    temporary = [
        f"    {kind}_temp_path {home / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    servers = [line for name, rules in hosts.items() for line in _server(name, rules, listens)]
    return "\n".join(
        [
            "daemon on;",
            "user root;",
            "worker_processes 1;",
            f"pid {pid_file};",
            f"error_log {home / 'error.log'} warn;",
            "events { worker_connections 256; }",
            "http {",
            f"    access_log {home / 'access.log'};",
            *temporary,
            "    server_names_hash_bucket_size 256;",
            "    proxy_http_version 1.1;",
            "    proxy_set_header Host $host;",
            "    proxy_set_header X-Forwarded-For $remote_addr;",
            "    proxy_connect_timeout 2s;",
            *servers,
            "}",
            "",
        ]
    )


def ingress_notes(ingresses: Sequence[Document]) -> tuple[str, ...]:
    """Return what of the Ingresses the lab does not do."""
    return tuple(
        f"{title(one)}: no TLS in the lab, port 80 only" for one in ingresses if at(one, "spec.tls", list, [])
    )


def _rules(
    ingress: Document, services: Sequence[Document], slices: Sequence[Document]
) -> Iterator[tuple[str, _Rule]]:
    """Return (host or "", rule) of one Ingress, its default backend last."""
    for rule in mapping_list(ingress, "spec.rules"):
        name = at(rule, "host", str, "", of=ingress)
        if any(mark in name for mark in " ;{}\n\"'\\"):
            raise UserError(f"{title(ingress)}: {name!r} is not a host")
        for entry in mapping_list(rule, "http.paths", of=ingress):
            path, kind = at(entry, "path", str, "/", of=ingress), at(entry, "pathType", str, "", of=ingress)
            if kind not in ("Exact", "Prefix", "ImplementationSpecific"):
                raise UserError(
                    f"{title(ingress)}: pathType {kind!r}",
                    hint="it is Exact, Prefix or ImplementationSpecific",
                )
            if not path.startswith("/") or any(mark in path for mark in " ;{}\n\"'\\"):
                raise UserError(f"{title(ingress)}: {path!r} is not a path", hint="it begins with /")
            action = _action(ingress, at(entry, "backend", dict, {}, of=ingress), services, slices)
            exact = kind == "Exact"
            yield (
                name,
                _Rule(path if exact else path.rstrip("/") or "/", "Exact" if exact else "Prefix", action),
            )
    backend: dict[str, Any] = at(ingress, "spec.defaultBackend", dict, {})
    if backend:
        yield "", _Rule("/", "Prefix", _action(ingress, backend, services, slices))


def _action(
    ingress: Document, backend: Mapping[str, Any], services: Sequence[Document], slices: Sequence[Document]
) -> str:
    name = at(backend, "service.name", str, "", of=ingress)
    if not name:
        raise UserError(
            f"{title(ingress)}: a backend has no service.name", hint="resource backends are not run"
        )
    wanted: dict[str, Any] = at(backend, "service.port", dict, {}, of=ingress)
    key = (name_of(ingress)[0], name)
    service = next((one for one in services if name_of(one) == key), None)
    if service is None:
        return _UNAVAILABLE
    port = next(
        (
            entry
            for entry in mapping_list(service, "spec.ports")
            if (wanted.get("name") and entry.get("name") == wanted["name"])
            or (wanted.get("number") and entry.get("port") == wanted["number"])
        ),
        None,
    )
    if port is None:
        return _UNAVAILABLE
    address = at(service, "spec.clusterIP", str, "")
    if address and address != "None":
        return f"proxy_pass http://{address}:{port['port']};"
    ends = [f"{one}:{number}" for one, number in _endpoints(service, port, slices)]
    return f"proxy_pass http://{ends[0]};" if ends else _UNAVAILABLE


def _endpoints(
    service: Document, port: Mapping[str, Any], slices: Sequence[Document]
) -> Iterator[tuple[str, int]]:
    namespace, name = name_of(service)
    for found in slices:
        label = text_map(found, "metadata.labels").get(_SERVICE_LABEL)
        numbers = [
            entry.get("port")
            for entry in mapping_list(found, "ports")
            if (entry.get("name") or "") == (port.get("name") or "")
        ]
        if (name_of(found)[0], label) == (namespace, name) and numbers and numbers[0]:
            for endpoint in mapping_list(found, "endpoints"):
                if at(endpoint, "conditions.ready", bool, True, of=found):
                    yield from (
                        (str(one), numbers[0]) for one in at(endpoint, "addresses", list, [], of=found)
                    )


def _server(name: str, rules: Sequence[_Rule], listens: Sequence[int]) -> Iterator[str]:
    yield "    server {"
    default = "" if name else " default_server"
    yield from (f"        listen {port}{default};" for port in listens)
    if name.startswith("*."):  # one label, where nginx's own * is any number of them
        yield f"        server_name ~^[^.]+{name[1:].replace('.', chr(92) + '.')}$;"
    else:
        yield f"        server_name {name or '_'};"
    exact = {rule.path for rule in rules if rule.kind == "Exact"}
    for rule in rules:
        if rule.kind == "Exact" or (rule.path != "/" and rule.path not in exact):
            yield f"        location = {rule.path} {{ {rule.action} }}"
        if rule.kind == "Prefix":
            below = rule.path if rule.path == "/" else f"{rule.path}/"
            yield f"        location ^~ {below} {{ {rule.action} }}"
    if not any(rule.path == "/" and rule.kind == "Prefix" for rule in rules):
        yield "        location ^~ / { return 404; }"
    yield "    }"
