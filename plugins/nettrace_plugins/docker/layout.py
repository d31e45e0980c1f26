"""
The rules of dockerd in its two layouts: before version 28, and since.

Lives here: what dockerd writes for its networks and published ports, as texts of rules.  Without the
userland proxy (``"userland-proxy": false``), so that the kernel alone leads every packet.
Not here: what a host is owed (owes, filtering), the lab (networks).
Source: moby, integration/network/bridge/iptablesdoc/generated (usernet-portmap-noproxy.md,
usernet-internal.md) and libnetwork/drivers/bridge/setup_ip_tables_linux.go.
"""

from collections.abc import Sequence

from msgspec import Struct

__all__ = ["BEFORE_28", "SINCE_28", "DockerNetwork", "PublishedPort", "rules_text"]

BEFORE_28, SINCE_28 = "before 28", "28 or newer"

_KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


class PublishedPort(Struct, frozen=True, kw_only=True):
    """A container's TCP port, and that of the host which leads there."""

    host_port: int
    address: str
    port: int


class DockerNetwork(Struct, frozen=True, kw_only=True):
    """A network: its bridge, its prefix, who is in it; ``internal`` ones have no way out."""

    bridge: str
    prefix: str
    containers: tuple[str, ...]
    published: tuple[PublishedPort, ...] = ()
    internal: bool = False


def rules_text(layout: str, networks: Sequence[DockerNetwork]) -> str:
    """Return dockerd's rules in iptables-save's format, for networks in the order of their making."""
    made = _since_28(networks) if layout == SINCE_28 else _before_28(networks)
    return "".join(f"{line}\n" for line in (*_nat(networks), *made))


def _nat(networks: Sequence[DockerNetwork]) -> list[str]:
    lines = ["*nat", *(f":{name} ACCEPT [0:0]" for name in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"))]
    jumps = (f"-A {c} -m addrtype --dst-type LOCAL -j DOCKER" for c in ("PREROUTING", "OUTPUT"))
    lines += [":DOCKER - [0:0]", *jumps]
    outward = [one for one in networks if not one.internal]
    for one in reversed(outward):
        lines.append(f"-A POSTROUTING -o {one.bridge} -m addrtype --src-type LOCAL -j MASQUERADE")
        lines.append(f"-A POSTROUTING -s {one.prefix} ! -o {one.bridge} -j MASQUERADE")
    for port in (port for one in outward for port in one.published):
        ends = f"-s {port.address}/32 -d {port.address}/32"
        lines.append(f"-A POSTROUTING {ends} -p tcp -m tcp --dport {port.port} -j MASQUERADE")
    for port in (port for one in outward for port in one.published):
        to = f"{port.address}:{port.port}"
        lines.append(f"-A DOCKER -p tcp -m tcp --dport {port.host_port} -j DNAT --to-destination {to}")
    return [*lines, "COMMIT"]


def _accepts(network: DockerNetwork) -> list[str]:
    ends = f"! -i {network.bridge} -o {network.bridge}"
    return [
        f"-A DOCKER -d {port.address}/32 {ends} -p tcp -m tcp --dport {port.port} -j ACCEPT"
        for port in network.published
    ]


def _closed(network: DockerNetwork) -> list[str]:
    """Return what keeps an internal network to itself."""
    return [
        f"-A DOCKER-ISOLATION-STAGE-1 ! -s {network.prefix} -o {network.bridge} -j DROP",
        f"-A DOCKER-ISOLATION-STAGE-1 ! -d {network.prefix} -i {network.bridge} -j DROP",
    ]


def _isolated(networks: Sequence[DockerNetwork]) -> list[str]:
    outward = [one for one in reversed(networks) if not one.internal]
    first = [line for one in networks if one.internal for line in _closed(one)]
    first += [
        f"-A DOCKER-ISOLATION-STAGE-1 -i {one.bridge} ! -o {one.bridge} -j DOCKER-ISOLATION-STAGE-2"
        for one in outward
    ]
    return [*first, *(f"-A DOCKER-ISOLATION-STAGE-2 -o {one.bridge} -j DROP" for one in outward)]


def _filter(chains: Sequence[str]) -> list[str]:
    built_in = (":INPUT ACCEPT [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]")
    return ["*filter", *built_in, *(f":{name} - [0:0]" for name in chains)]


def _before_28(networks: Sequence[DockerNetwork]) -> list[str]:
    chains = ("DOCKER", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER")
    lines = [*_filter(chains), "-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-ISOLATION-STAGE-1"]
    for one in reversed(networks):
        if not one.internal:
            lines += [f"-A FORWARD -o {one.bridge} {_KNOWN}", f"-A FORWARD -o {one.bridge} -j DOCKER"]
            lines.append(f"-A FORWARD -i {one.bridge} ! -o {one.bridge} -j ACCEPT")
        lines.append(f"-A FORWARD -i {one.bridge} -o {one.bridge} -j ACCEPT")
    lines += [line for one in networks for line in _accepts(one)]
    lines += _isolated(networks)
    ends = ("DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER")
    return [*lines, *(f"-A {name} -j RETURN" for name in ends), "COMMIT"]


def _since_28(networks: Sequence[DockerNetwork]) -> list[str]:
    outward = [one for one in networks if not one.internal]
    own = ("DOCKER", "DOCKER-BRIDGE", "DOCKER-CT", "DOCKER-FORWARD")
    chains = (*own, "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER")
    lines = [*_filter(chains), "-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-FORWARD"]
    lines += [line for one in networks for line in _accepts(one)]
    for one in outward:
        lines.append(f"-A DOCKER ! -i {one.bridge} -o {one.bridge} -j DROP")
        lines.append(f"-A DOCKER-BRIDGE -o {one.bridge} -j DOCKER")
        lines.append(f"-A DOCKER-CT -o {one.bridge} {_KNOWN}")
    lines += [
        f"-A DOCKER-FORWARD -j {name}" for name in ("DOCKER-CT", "DOCKER-ISOLATION-STAGE-1", "DOCKER-BRIDGE")
    ]
    lines += [
        f"-A DOCKER-FORWARD -i {one.bridge} {f'-o {one.bridge} ' if one.internal else ''}-j ACCEPT"
        for one in networks
    ]
    lines += [*_isolated(networks), "-A DOCKER-USER -j RETURN", "COMMIT"]
    direct = [f"-A PREROUTING -d {a}/32 ! -i {one.bridge} -j DROP" for one in outward for a in one.containers]
    return [*lines, "*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", *direct, "COMMIT"]
