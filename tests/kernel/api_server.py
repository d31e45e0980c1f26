"""
A server that speaks as much of the Kubernetes API as nettrace asks for, and misbehaves on demand.

Lives here: lists with pages and continue tokens over HTTP on loopback, from manifests; per resource a
refusal, a slow answer, one that breaks off, an expired continuation.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml

__all__ = ["Api", "api_server", "objects_of"]

PLURALS = {
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "Pod": "pods",
    "Node": "nodes",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
    "ConfigMap": "configmaps",
    "DaemonSet": "daemonsets",
}


def objects_of(directory: Path) -> list[dict[str, Any]]:
    """All objects in the manifests below a directory."""
    found: list[dict[str, Any]] = []
    for file in sorted(directory.rglob("*.y*ml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document:
                found.extend(document.get("items", [document]))
    return found


class Api:
    """
    What the server serves, and how it misbehaves.

    ``bad`` maps a plural to ``forbidden``, ``slow``, ``cut``, ``gone``, ``html`` or ``nonsense``.
    """

    def __init__(self, objects: list[dict[str, Any]], port: int) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {}
        for one in map(_served, objects):
            if one.get("kind") in PLURALS:
                self.objects.setdefault(PLURALS[one["kind"]], []).append(one)
        self.bad: dict[str, str] = {}
        self.page = 3
        self.port = port
        self.asked: list[str] = []
        self.gone: set[str] = set()

    def kubeconfig(self, file: Path) -> Path:
        """Write a kubeconfig that leads here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
        }
        file.write_text(yaml.safe_dump(config))
        return file


def _served(one: dict[str, Any]) -> dict[str, Any]:
    """Put kube-proxy's configuration into the ConfigMap in which a cluster has it."""
    if one.get("kind") != "KubeProxyConfiguration":
        return one
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
        "data": {"config.conf": yaml.safe_dump(one)},
    }


class _Handler(BaseHTTPRequestHandler):
    api: Api

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a list or a single object."""
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if len(parts) > 2 and parts[0] == "namespaces":
            parts = parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        api = self.api
        api.asked.append(f"{plural}?{query.get('continue', '')}")
        bad = api.bad.get(plural, "")
        if bad == "forbidden":
            return self._status(403, f"{plural} is forbidden: User u cannot list resource {plural}")
        if bad == "html":
            return self._send(502, b"<html>bad gateway</html>")
        if bad == "nonsense":
            return self._send(200, b'{"items": 7}')
        if plural not in api.objects:
            return self._status(404, f"the server could not find {plural}")
        if name:
            found = [o for o in api.objects[plural] if o["metadata"]["name"] == name]
            return self._send(200, json.dumps(found[0]).encode()) if found else self._status(404, name)
        return self._list(plural, query, bad)

    def _list(self, plural: str, query: dict[str, str], bad: str) -> None:
        api = self.api
        start = int(query.get("continue", "0"))
        if bad == "gone" and start and plural not in api.gone:
            api.gone.add(plural)
            return self._status(410, "the provided continue parameter is too old")
        items = api.objects[plural][start : start + api.page]
        metadata: dict[str, Any] = {"resourceVersion": "7"}
        if start + api.page < len(api.objects[plural]):
            metadata["continue"] = str(start + api.page)
        bare = [{k: v for k, v in one.items() if k not in ("kind", "apiVersion")} for one in items]
        body = json.dumps({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": bare}).encode()
        if bad == "cut" and start:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        if bad == "slow":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for byte in body[:60]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.1)
            self.close_connection = True
            return None
        return self._send(200, body)

    def _status(self, code: int, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
        self._send(code, json.dumps(status).encode())

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def api_server(objects: list[dict[str, Any]]) -> Iterator[Api]:
    """Serve *objects* on a free port of loopback."""

    class Handler(_Handler):
        """With what this server serves."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        api = Api(objects, server.server_address[1])
        Handler.api = api
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield api
        finally:
            server.shutdown()
            serving.join()
