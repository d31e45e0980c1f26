"""
What the files of a director ask for.

Lives here: the virtual servers of /etc/ipvsadm.rules (ipvsadm(8), Debian's init script loads it), the
local routes that lead their addresses to IPVS (interfaces(5)), IPVS's sysctls (sysctl.d(5)).
Not here: reading the files (nettrace.collect), a person's other routes and sysctls.
"""

import re
from collections.abc import Iterator

from nettrace.model.addr import canonical_address
from nettrace.model.errors import UserError
from nettrace.model.ipvs import VirtualServer
from nettrace.model.owed import Owed, OwedRoute, OwedSysctl, OwedVirtualServer
from nettrace.model.routes import TABLE_LOCAL, NextHop, Route
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.parse.ipvs import end_text, parse_ipvsadm_save

__all__ = ["OWNERS", "RULES", "kept_servers", "owed_by_files"]

#: Where Debian and Red Hat keep what ipvsadm-save printed.
RULES = ("/etc/ipvsadm.rules", "/etc/sysconfig/ipvsadm")

OWNERS = ("ipvsadm", "ifupdown", "sysctl.d")

_ROUTE = re.compile(
    r"^\s*(?:post-)?up\s+ip\s+route\s+(?:add|replace)\s+local\s+(?P<address>[0-9.]+)(?:/32)?\s+dev\s+(?P<device>\S+)\s*$",
    re.MULTILINE,
)
_SYSCTL = re.compile(r"^\s*(?P<name>net[./]ipv4[./]vs[./]\w+)\s*=\s*(?P<value>\S+)\s*$", re.MULTILINE)


def kept_servers(snapshot: Snapshot, node: str) -> tuple[str, tuple[VirtualServer, ...]]:
    """Return the file that keeps a node's virtual servers, and these; "" where none can be read."""
    files = _files(snapshot, node)
    for path in RULES:
        if path in files:
            try:
                return path, parse_ipvsadm_save(files[path])
            except UserError:
                return "", ()  # it may hold names, which only its own machine can resolve
    return "", ()


def owed_by_files(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield virtual servers, routes to their addresses, and IPVS's sysctls; nothing without the first."""
    source, servers = kept_servers(snapshot, node)
    if not servers:
        return
    netns = snapshot.nodes[node].netns
    for server in servers:
        name = f"mark {server.fwmark}" if server.fwmark else end_text(server.address, server.port)
        yield OwedVirtualServer(
            netns=netns, owner="ipvsadm", source=source, about=f"virtual server {name}", server=server
        )
    addresses = {server.address for server in servers}
    for path, text in _files(snapshot, node).items():
        if path.startswith("/etc/network/interfaces"):
            for found in _ROUTE.finditer(text):
                address = canonical_address(found["address"])
                if address in addresses:
                    yield _local(netns, path, address, found["device"])
        if path.startswith("/etc/sysctl.d/"):
            for found in _SYSCTL.finditer(text):
                name = found["name"].replace("/", ".")
                yield OwedSysctl(
                    netns=netns,
                    owner="sysctl.d",
                    source=path,
                    about="of IPVS",
                    name=name,
                    values=(found["value"],),
                )


def _local(netns: str, source: str, address: str, device: str) -> OwedRoute:
    route = Route(
        dst=f"{address}/32",
        table=TABLE_LOCAL,
        type="local",
        nexthops=(NextHop(device=device),),
        scope="host",
        protocol="boot",
    )
    return OwedRoute(
        netns=netns, owner="ifupdown", source=source, about=f"virtual address {address}", route=route
    )


def _files(snapshot: Snapshot, node: str) -> dict[str, str]:
    state = snapshot.nodes.get(node)
    return state.files.value if state is not None and isinstance(state.files, Known) else {}
