"""
IPVS of a namespace: virtual servers with their real servers, and the connections it remembers.

Lives here: pyroute2's messages, and /proc/net/ip_vs_conn, as model types.
Not here: the sysctls of IPVS (sysctls), ipvsadm's text (nettrace.parse.ipvs).
Sources: net/netfilter/ipvs/ip_vs_ctl.c (ip_vs_genl_dump_service, ip_vs_genl_fill_dest),
ip_vs_conn.c (ip_vs_conn_seq_show).

Asking for a generic netlink family that is not there loads its module, so it is asked for only
where the module is.  pyroute2's own IPVSService and IPVSDest fill what they do not find under short
names with defaults; here the attributes themselves are read.
"""

import errno
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from nettrace.collect.modules import has_module
from nettrace.model.ipvs import IpvsConnection, RealServer, VirtualServer
from nettrace.model.protocol import protocol_name

__all__ = ["read_ipvs", "read_ipvs_connections"]

#: IP_VS_CONN_F_FWD_MASK and its values.
_FORWARDING = {0: "masq", 1: "local", 2: "tunnel", 3: "route", 4: "bypass"}
_FORWARDING_MASK = 7
_TUNNELS = {0: "ipip", 1: "gue", 2: "gre"}

# IP_VS_SVC_F_*
_PERSISTENT, _ONE_PACKET, _FIRST_OF_SCHEDULER = 0x1, 0x4, 0x8
#: What the scheduler's own flags are called (ipvsadm(8), -b).
_SCHEDULER_FLAGS = {
    "sh": ("sh-fallback", "sh-port"),
    "mh": ("mh-fallback", "mh-port"),
}

_CONNECTIONS = Path("/proc/thread-self/net/ip_vs_conn")


def read_ipvs() -> tuple[VirtualServer, ...]:
    """
    Read the virtual servers of the calling thread's namespace; none where the kernel has no IPVS.

    Real servers come in the order in which the kernel keeps them.  OSError from the kernel.
    """
    if not has_module("ip_vs"):
        return ()
    # pyroute2 takes a fifth of a second to import and is not needed for questions to a file.
    from pyroute2 import IPVS  # noqa: PLC0415
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        asked = IPVS()
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return ()  # loaded, but this namespace has it not
        raise OSError(error.code, str(error.args[-1])) from error
    try:
        services = [_attributes(message, "SERVICE") for message in asked.service("dump")]
        return tuple(_virtual(one, _dests(asked, one)) for one in services)
    except NetlinkError as error:
        raise OSError(error.code, str(error.args[-1])) from error
    finally:
        asked.close()


def _attributes(message: Any, what: str) -> dict[str, Any]:
    """Return the attributes inside a message by their short names."""
    prefix = {"SERVICE": "IPVS_SVC_ATTR_", "DEST": "IPVS_DEST_ATTR_"}[what]
    inside = message.get_attr(f"IPVS_CMD_ATTR_{what}")
    return {name.removeprefix(prefix): value for name, value in inside["attrs"]}


def _dests(asked: Any, service: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    from pyroute2.ipvs import IPVSService  # noqa: PLC0415

    named = {"af": service["AF"]}
    if service.get("FWMARK"):
        named["fwmark"] = service["FWMARK"]
    else:
        named |= {name.lower(): service[name] for name in ("PROTOCOL", "ADDR", "PORT")}
    return [_attributes(message, "DEST") for message in asked.dest("dump", service=IPVSService(**named))]


def _virtual(found: Mapping[str, Any], dests: Iterable[Mapping[str, Any]]) -> VirtualServer:
    flags = found["FLAGS"]["flags"]
    scheduler = found["SCHED_NAME"]
    mark = found.get("FWMARK", 0)
    proto = found.get("PROTOCOL", 0)
    return VirtualServer(
        address="" if mark else str(found["ADDR"]),
        port=0 if mark else found["PORT"],
        proto="" if mark else protocol_name(proto),
        scheduler=scheduler,
        persistent=found["TIMEOUT"] if flags & _PERSISTENT else None,
        flags=tuple(_flags(flags, scheduler)),
        real_servers=tuple(_real(one, found["AF"]) for one in dests),
        fwmark=mark,
        six=bool(mark) and found["AF"] == socket.AF_INET6,
        netmask=_length(found["NETMASK"], found["AF"]),
        engine=found.get("PE_NAME", ""),
    )


def _flags(flags: int, scheduler: str) -> Iterable[str]:
    for bit in range(3):
        if flags & _FIRST_OF_SCHEDULER << bit:
            names = _SCHEDULER_FLAGS.get(scheduler, ())
            yield names[bit] if bit < len(names) else f"flag-{bit + 1}"
    if flags & _ONE_PACKET:
        yield "ops"


def _length(mask: Any, family: int) -> int | None:
    """
    Return how many bits of a client's address count, None for all.

    IPv4's is a mask; IPv6's a number in the host's order, which pyroute2 takes for an address.
    """
    packed = ip_address(str(mask)).packed
    if family == socket.AF_INET6:
        length = int.from_bytes(packed, "little")
        return None if length == 128 else length
    length = int.from_bytes(packed, "big").bit_count()
    return None if length == 32 else length


def _real(found: Mapping[str, Any], family: int) -> RealServer:
    method = found["FWD_METHOD"] & _FORWARDING_MASK
    return RealServer(
        address=str(found["ADDR"]),
        port=found["PORT"],
        weight=found["WEIGHT"],
        forwarding=_FORWARDING.get(method, str(method)),
        upper=found["U_THRESH"],
        lower=found["L_THRESH"],
        active=found["ACTIVE_CONNS"],
        inactive=found["INACT_CONNS"],
        tunnel=_TUNNELS.get(found.get("TUN_TYPE", 0), str(found.get("TUN_TYPE"))),
    )


def read_ipvs_connections() -> tuple[IpvsConnection, ...]:
    """Read what IPVS remembers in the calling thread's namespace; nothing where there is no IPVS."""
    try:
        text = _CONNECTIONS.read_text(encoding="ascii")
    except FileNotFoundError:
        return ()
    return tuple(_connection(line.split()) for line in text.splitlines()[1:])


def _connection(words: list[str]) -> IpvsConnection:
    proto, client, client_port, address, port, server, server_port, state, expires, *_ = words
    return IpvsConnection(
        proto=proto.lower(),
        client=_address(client),
        client_port=int(client_port, 16),
        address=_address(address),
        port=int(port, 16),
        server=_address(server),
        server_port=int(server_port, 16),
        state=state.lower(),
        expires=int(expires),
    )


def _address(word: str) -> str:
    """IPv4 stands there as eight hex digits, IPv6 with all its colons."""
    return str(ip_address(word if ":" in word else int(word, 16)))
