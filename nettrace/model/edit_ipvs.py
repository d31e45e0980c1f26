"""
Virtual and real servers, changed in the model.

Lives here: what makes two the same, and what adding, deleting and setting one does.
Source: net/netfilter/ipvs/ip_vs_ctl.c (ip_vs_add_service, ip_vs_add_dest, ip_vs_edit_dest): the kernel
puts a new real server in front of the others.
"""

from msgspec.structs import replace

from nettrace.model.change import IpvsDestAdd, IpvsDestDelete, IpvsDestSet, IpvsServiceAdd, IpvsServiceDelete
from nettrace.model.edit_tables import known_section, put_section
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.snapshot import Snapshot

__all__ = ["edit_ipvs", "name_of", "real_at", "same_real", "server_at"]

_Change = IpvsServiceAdd | IpvsServiceDelete | IpvsDestAdd | IpvsDestDelete | IpvsDestSet


def name_of(server: VirtualServer) -> VirtualServer:
    """Return a virtual server with nothing but what names it."""
    return VirtualServer(
        address=server.address, port=server.port, proto=server.proto, fwmark=server.fwmark, six=server.six
    )


def server_at(servers: tuple[VirtualServer, ...], named: VirtualServer) -> VirtualServer | None:
    """Return the virtual server of this name."""
    return next((one for one in servers if name_of(one) == name_of(named)), None)


def real_at(server: VirtualServer, real: RealServer) -> RealServer | None:
    """Return the real server of this address and port."""
    wanted = (real.address, real.port)
    return next((one for one in server.real_servers if (one.address, one.port) == wanted), None)


def same_real(one: RealServer, other: RealServer) -> bool:
    """Are they the same, but for what they count?"""
    return replace(one, active=0, inactive=0) == replace(other, active=0, inactive=0)


def edit_ipvs(snapshot: Snapshot, change: _Change) -> Snapshot:
    """Return *snapshot* with one virtual or real server added, taken away or set."""
    servers: tuple[VirtualServer, ...] = known_section(snapshot, change.netns, "ipvs")
    there = server_at(servers, change.server)
    words = _words(change.server)
    if isinstance(change, IpvsServiceAdd):
        if there is not None:
            raise ValueError(f"{change.netns} already has the virtual server {words}")
        return put_section(snapshot, change.netns, "ipvs", (*servers, change.server))
    if there is None:
        raise ValueError(f"{change.netns} has no virtual server {words}")
    if isinstance(change, IpvsServiceDelete):
        return put_section(snapshot, change.netns, "ipvs", tuple(one for one in servers if one is not there))
    new = replace(there, real_servers=_reals(there, change, words))
    return put_section(snapshot, change.netns, "ipvs", tuple(new if one is there else one for one in servers))


def _reals(
    there: VirtualServer, change: IpvsDestAdd | IpvsDestDelete | IpvsDestSet, words: str
) -> tuple[RealServer, ...]:
    held = real_at(there, change.real)
    who = f"real server {change.real.address}:{change.real.port} of {words}"
    if isinstance(change, IpvsDestAdd):
        if held is not None:
            raise ValueError(f"{change.netns} already has the {who}")
        return (replace(change.real, active=0, inactive=0), *there.real_servers)
    expected = change.old if isinstance(change, IpvsDestSet) else change.real
    if held is None or not same_real(held, expected):
        raise ValueError(f"{change.netns} has no {who} as it is expected")
    if isinstance(change, IpvsDestDelete):
        return tuple(one for one in there.real_servers if one is not held)
    new = replace(change.real, active=held.active, inactive=held.inactive)
    return tuple(new if one is held else one for one in there.real_servers)


def _words(server: VirtualServer) -> str:
    if server.fwmark:
        return f"of mark {server.fwmark}"
    return f"{server.proto} {server.address}:{server.port}"
