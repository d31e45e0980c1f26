"""
What dockerd has written down about its containers.

Lives here: reading config.v2.json and hostconfig.json under /var/lib/docker/containers.
Not here: what follows from it (owes.py).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from nettrace.model.addr import canonical_address, family_of, network_of
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["CONTAINERS", "Container", "Network", "Published", "has_proxy", "running_containers"]

CONTAINERS = "/var/lib/docker/containers/"
DAEMON = "/etc/docker/daemon.json"


class Network(Struct, frozen=True, kw_only=True):
    """A container's place in one Docker network; ``prefix`` is the whole network."""

    name: str
    address: str
    gateway: str
    prefix: str


class Published(Struct, frozen=True, kw_only=True):
    """One published port; ``host_ip`` is "" for all addresses of the host."""

    proto: str
    port: int
    host_ip: str
    host_port: int


class Container(Struct, frozen=True, kw_only=True):
    """A running container; ``source`` is the record it was read from, its id cut as docker does."""

    name: str
    source: str
    networks: tuple[Network, ...]
    published: tuple[Published, ...]


def running_containers(snapshot: Snapshot, node: str) -> tuple[Container, ...]:
    """Return the running containers of *node* by name; what is no such record is left out."""
    state = snapshot.nodes.get(node)
    files: Mapping[str, str] = state.files.value if state and isinstance(state.files, Known) else {}
    found = [
        container
        for path in sorted(files)
        if path.startswith(CONTAINERS) and path.endswith("/config.v2.json")
        if (container := _container(path, files)) is not None
    ]
    return tuple(sorted(found, key=lambda container: (container.name, container.source)))


def has_proxy(snapshot: Snapshot, node: str) -> bool:
    """Does dockerd run its userland proxy?  It does unless daemon.json says no."""
    state = snapshot.nodes.get(node)
    files: Mapping[str, str] = state.files.value if state and isinstance(state.files, Known) else {}
    return _json(files.get(DAEMON, "")).get("userland-proxy") is not False


def _container(path: str, files: Mapping[str, str]) -> Container | None:
    config = _json(files[path])
    host = _json(files.get(path.removesuffix("config.v2.json") + "hostconfig.json", ""))
    if not _at(config, "State", "Running"):
        return None
    networks = _at(config, "NetworkSettings", "Networks")
    bindings = _at(config, "NetworkSettings", "Ports") or _at(host, "PortBindings")
    ident = path.split("/")[-2]
    return Container(
        name=str(config.get("Name", "")).lstrip("/") or ident[:12],
        source=path.replace(ident, f"{ident[:12]}...") if len(ident) > 12 else path,
        networks=tuple(_networks(networks)) if isinstance(networks, dict) else (),
        published=tuple(_published(bindings)) if isinstance(bindings, dict) else (),
    )


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _at(value: Any, *keys: str) -> Any:
    """Return what stands at a path of keys; None where the path ends early."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _networks(networks: Mapping[str, Any]) -> Iterator[Network]:
    for name in sorted(networks):
        address, gateway = (
            str(_at(networks[name], "IPAddress") or ""),
            str(_at(networks[name], "Gateway") or ""),
        )
        length = _at(networks[name], "IPPrefixLen")
        try:
            own, way = canonical_address(address), canonical_address(gateway)
        except ValueError:
            continue
        if family_of(own) == 4 and isinstance(length, int) and 0 < length <= 32:
            yield Network(name=name, address=own, gateway=way, prefix=network_of(own, length))


def _is_ipv4(text: str) -> bool:
    try:
        return family_of(canonical_address(text)) == 4
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 65536


def _published(bindings: Mapping[str, Any]) -> Iterator[Published]:
    for inside in sorted(bindings):
        port, _, proto = inside.partition("/")
        rows = bindings[inside]
        for row in rows if isinstance(rows, list) else ():
            host_ip, host_port = str(_at(row, "HostIp") or ""), str(_at(row, "HostPort") or "")
            if not _is_ipv4(host_ip or "0.0.0.0") or not _is_port(port) or not _is_port(host_port):
                continue
            yield Published(
                proto=proto or "tcp",
                port=int(port),
                host_ip="" if host_ip == "0.0.0.0" else host_ip,
                host_port=int(host_port),
            )
