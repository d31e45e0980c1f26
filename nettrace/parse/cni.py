"""
CNI's files to model: network configurations, host-local's leases, libcni's cache of results.

Lives here: what makes a configuration valid, and the ranges as host-local completes them.
Not here: which of several configurations counts (nettrace.kube.ipam).

Sources: CNI specification 1.0.0; libcni/conf.go and libcni/api.go; plugins/ipam/host-local
(backend/allocator/range.go, backend/disk/backend.go).
"""

import json
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from nettrace.model.addr import canonical_address
from nettrace.model.cni import CniConf, CniPlugin, Ipam, IpRange, Lease, Sandbox

__all__ = ["DATA_DIRECTORY", "parse_conf", "parse_lease", "parse_plugin", "parse_sandbox", "whole_range"]

#: Where host-local keeps its leases unless told otherwise.
DATA_DIRECTORY = "/var/lib/cni/networks"


def parse_conf(path: str, text: str) -> CniConf:
    """Return a network configuration; what is none has ``error`` in words."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return CniConf(path=path, error=f"it is not JSON: {error}")
    if not isinstance(value, dict):
        return CniConf(path=path, error="it is not a JSON object")
    name, version = value.get("name"), value.get("cniVersion")
    found = CniConf(
        path=path,
        name=name if isinstance(name, str) else "",
        version=version if isinstance(version, str) else "",
    )
    if not found.name:
        return _with_error(found, "it has no name")
    plugins = value.get("plugins") if path.endswith(".conflist") else [value]
    if not isinstance(plugins, list) or not plugins:
        return _with_error(found, "it lists no plugins")
    for number, plugin in enumerate(plugins, 1):
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str) or not plugin["type"]:
            return _with_error(found, f"plugin {number} has no type")
    return CniConf(
        path=path,
        name=found.name,
        version=found.version,
        plugins=tuple(parse_plugin(plugin) for plugin in plugins),
    )


def _with_error(conf: CniConf, error: str) -> CniConf:
    return CniConf(path=conf.path, name=conf.name, version=conf.version, error=error)


def parse_plugin(value: Mapping[str, Any], *, problem: str = "", source: str = "") -> CniPlugin:
    """Return one plugin's part of a configuration."""
    ipam = value.get("ipam")
    capabilities = value.get("capabilities")
    kind = str(value.get("type", ""))
    return CniPlugin(
        type=kind,
        ipam=_ipam(ipam) if isinstance(ipam, dict) and ipam.get("type") else None,
        bridge=str(value.get("bridge") or "cni0") if kind == "bridge" else "",
        capabilities=frozenset(k for k, on in capabilities.items() if on)
        if isinstance(capabilities, dict)
        else frozenset(),
        settings=dict(value),
        problem=problem,
        source=source,
    )


def _ipam(value: Mapping[str, Any]) -> Ipam:
    kind = str(value["type"])
    if kind != "host-local":
        return Ipam(type=kind)
    sets = value.get("ranges")
    found: list[tuple[IpRange, ...]] = []
    if value.get("subnet"):  # the form with one range, which comes first (allocator/config.go)
        found.append((_range(value),))
    for one in sets if isinstance(sets, list) else ():
        rows = tuple(_range(row) for row in one if isinstance(row, dict)) if isinstance(one, list) else ()
        if rows:
            found.append(rows)
    return Ipam(type=kind, ranges=tuple(found), data_dir=str(value.get("dataDir") or DATA_DIRECTORY))


def _range(value: Mapping[str, Any]) -> IpRange:
    return whole_range(
        str(value.get("subnet", "")),
        *(str(value.get(key) or "") for key in ("rangeStart", "rangeEnd", "gateway")),
    )


def whole_range(subnet: str, first: str = "", last: str = "", gateway: str = "") -> IpRange:
    """Complete a range as host-local does; a subnet that is no network stays as it is."""
    try:
        network = ip_network(subnet, strict=False)
        return IpRange(
            subnet=str(network),
            first=canonical_address(first) if first else str(network.network_address + 1),
            last=canonical_address(last) if last else str(_last(network)),
            gateway=canonical_address(gateway) if gateway else str(network.network_address + 1),
        )
    except ValueError:
        return IpRange(subnet=subnet)


def _last(network: IPv4Network | IPv6Network) -> Any:
    last = network.broadcast_address
    return last - 1 if network.version == 4 else last


def parse_lease(path: str, text: str) -> Lease | None:
    """Return the lease in a file called as its address; None for host-local's other files."""
    *_, network, name = path.split("/")
    try:
        address = str(ip_address(name))
    except ValueError:
        return None
    container, _, ifname = text.strip().partition("\n")
    return Lease(
        address=address, container=container.strip(), ifname=ifname.strip(), network=network, path=path
    )


def parse_sandbox(path: str, text: str) -> Sandbox | None:
    """Return an entry of libcni's cache; None for what is none (also of one before cniCacheV1)."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("kind") != "cniCacheV1":
        return None
    container, network, ifname = (value.get(key) for key in ("containerId", "networkName", "ifName"))
    if not all(isinstance(word, str) and word for word in (container, network, ifname)):
        return None
    args = _pairs(value.get("cniArgs"))
    name = args.get("K8S_POD_NAME", "")
    result = value.get("result")
    result = result if isinstance(result, dict) else {}
    return Sandbox(
        container=str(container),
        network=str(network),
        ifname=str(ifname),
        netns=str(value.get("netns") or _netns_of(result)),
        pod=f"{args.get('K8S_POD_NAMESPACE', '')}/{name}" if name else "",
        uid=args.get("K8S_POD_UID", ""),
        addresses=tuple(_addresses(result)),
        ports=tuple(_ports(value.get("capabilityArgs"))),
        path=path,
    )


def _pairs(value: Any) -> dict[str, str]:
    rows = value if isinstance(value, list) else ()
    return {str(row[0]): str(row[1]) for row in rows if isinstance(row, list) and len(row) == 2}


def _netns_of(result: Mapping[str, Any]) -> str:
    """Return the sandbox's namespace by the devices in it: older libraries keep it nowhere else."""
    devices = result.get("interfaces")
    for device in devices if isinstance(devices, list) else ():
        if isinstance(device, dict) and device.get("sandbox"):
            return str(device["sandbox"])
    return ""


def _addresses(result: Mapping[str, Any]) -> list[str]:
    found = []
    rows = result.get("ips")
    for row in rows if isinstance(rows, list) else ():
        text = str(row.get("address", "")) if isinstance(row, dict) else ""
        try:
            found.append(canonical_address(text.partition("/")[0]))
        except ValueError:
            continue
    return found


def _ports(value: Any) -> list[tuple[int, int, str]]:
    rows = value.get("portMappings") if isinstance(value, dict) else None
    found = []
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        host, inside = row.get("hostPort"), row.get("containerPort")
        if isinstance(host, int) and isinstance(inside, int) and host:
            found.append((host, inside, str(row.get("protocol") or "tcp").lower()))
    return found
