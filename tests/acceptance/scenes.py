"""
What a lab looks like, read from its record, its manifests and the kernel, not through nettrace.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.bench import Bench
from tests.acceptance.faults import Scene

__all__ = ["docker_scene", "kubernetes_scene"]


def _address(bench: Bench, who: str, device: str = "eth0") -> str:
    shown = json.loads(bench.shell(who, f"ip -j -4 addr show {device}"))
    return str(shown[0]["addr_info"][0]["local"])


def _objects(bench: Bench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in sorted(Path(bench.record()["manifests"]).rglob("*.y*ml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document:
                found.extend(document.get("items", [document]))
    return found


def docker_scene(bench: Bench) -> Scene:
    """The docker lab: one node, published port 8088."""
    node = "docker-host"
    return Scene(
        bench=bench,
        service="",
        cluster_ip="",
        port=8088,
        node_port=8088,
        target_port=80,
        endpoints={"web": _address(bench, "web")},
        node_of={"web": node},
        client={node: "app"},
        pod_cidr={},
        node_ip={node: _address(bench, node)},
        outside_ip=_address(bench, "internet"),
    )


def kubernetes_scene(bench: Bench) -> Scene:
    """A Kubernetes lab: the Service with a node port and the most endpoints is the one under test."""
    objects = _objects(bench)
    services = [o for o in objects if o["kind"] == "Service"]
    slices = [o for o in objects if o["kind"] == "EndpointSlice"]
    pods = [o for o in objects if o["kind"] == "Pod"]
    service = next(s for s in services if any(p.get("nodePort") for p in s["spec"]["ports"]))
    meta, port = service["metadata"], next(p for p in service["spec"]["ports"] if p.get("nodePort"))
    key = f"{meta.get('namespace', 'default')}/{meta['name']}"
    addresses = [
        address
        for piece in slices
        if piece["metadata"]["labels"]["kubernetes.io/service-name"] == meta["name"]
        and piece["metadata"].get("namespace", "default") == meta.get("namespace", "default")
        for endpoint in piece["endpoints"]
        for address in endpoint["addresses"]
    ]
    by_address = {p["status"]["podIP"]: p for p in pods if p.get("status", {}).get("podIP")}

    def name(pod: dict[str, Any]) -> str:
        return f"{pod['metadata'].get('namespace', 'default')}/{pod['metadata']['name']}"

    endpoints = {name(by_address[a]): a for a in addresses}
    node_of = {name(by_address[a]): str(by_address[a]["spec"]["nodeName"]) for a in addresses}
    nodes = [o["metadata"]["name"] for o in objects if o["kind"] == "Node"]
    served = {a for piece in slices for endpoint in piece["endpoints"] for a in endpoint["addresses"]}
    client = {
        node: next(
            name(p) for a, p in by_address.items() if a not in served and p["spec"]["nodeName"] == node
        )
        for node in nodes
    }
    target_port = next(
        p["port"]
        for piece in slices
        if piece["metadata"]["labels"]["kubernetes.io/service-name"] == meta["name"]
        for p in piece["ports"]
    )
    return Scene(
        bench=bench,
        service=key,
        cluster_ip=str(service["spec"]["clusterIP"]),
        port=int(port["port"]),
        node_port=int(port["nodePort"]),
        target_port=int(target_port),
        endpoints=endpoints,
        node_of=node_of,
        client=client,
        pod_cidr={o["metadata"]["name"]: str(o["spec"]["podCIDR"]) for o in objects if o["kind"] == "Node"},
        node_ip={node: _address(bench, node) for node in nodes},
        outside_ip=_address(bench, "internet"),
    )
