"""
A glimpse of a namespace: just enough to guess what it is for, in half a millisecond.

Lives here: a few attributes of devices, addresses and default routes, by raw rtnetlink.
Not here: reading them for a snapshot (links, routes), the guess (roles).
Numbers from include/uapi/linux/if_link.h, if_addr.h and rtnetlink.h.
"""

import struct
from pathlib import Path

from msgspec import Struct

from nettrace.collect.peers import Candidates, names_of
from nettrace.collect.session import Session
from nettrace.collect.wire import attribute, attributes, text

__all__ = ["Device", "Glimpse", "glimpse"]

_GETLINK, _GETADDR, _GETROUTE = 18, 22, 26
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, lengths, tos, table, protocol, scope, type, flags
_NEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, index
_INT = struct.Struct("=i")

_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_IFNAME, _LINK, _LINKINFO, _EXT_MASK, _LINK_NETNSID = 3, 5, 18, 29, 37
_INFO_KIND, _INFO_SLAVE_KIND = 1, 4
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_SCOPE_GLOBAL, _UNICAST, _TABLE_MAIN = 0, 1, 254
_OIF, _MULTIPATH, _TABLE = 4, 9, 15


class Device(Struct, frozen=True, kw_only=True):
    """One device that is up.  ``port``: of a bridge.  ``peer``: the namespace of a veth's other end."""

    name: str
    kind: str
    port: bool = False
    peer: str | None = None


class Glimpse(Struct, frozen=True, kw_only=True):
    """Devices that are up, loopback aside; any global address?; devices of default routes; forwarding."""

    devices: tuple[Device, ...] = ()
    addressed: bool = False
    defaults: frozenset[str] = frozenset()
    forwards: bool = False


def glimpse(session: Session, candidates: Candidates) -> Glimpse:
    """Look at the session's namespace; OSError from the kernel."""
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(_EXT_MASK, struct.pack("=I", _SKIP_STATS))
    links = [
        (_IFINFOMSG.unpack_from(payload), attributes(payload, _IFINFOMSG.size))
        for payload in session.rtnetlink.dump(_GETLINK, request)
    ]
    numbers = {_INT.unpack(found[_LINK_NETNSID])[0] for _, found in links if _LINK_NETNSID in found}
    peers = names_of(session, numbers, candidates)
    names = {head[2]: text(found[_IFNAME]) for head, found in links}
    addresses = session.rtnetlink.dump(_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0))
    defaults: set[int] = set()
    for payload in session.rtnetlink.dump(_GETROUTE, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)):
        defaults |= _default(payload)
    return Glimpse(
        devices=tuple(
            _device(found, peers)
            for head, found in links
            if head[3] & _IFF_UP and not head[3] & _IFF_LOOPBACK
        ),
        addressed=any(_IFADDRMSG.unpack_from(payload)[3] == _SCOPE_GLOBAL for payload in addresses),
        defaults=frozenset(names[index] for index in defaults if index in names),
        forwards=Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1",
    )


def _device(found: dict[int, bytes], peers: dict[int, str]) -> Device:
    info = attributes(found[_LINKINFO]) if _LINKINFO in found else {}
    kind = text(info[_INFO_KIND]) if _INFO_KIND in info else "device"
    number = _INT.unpack(found[_LINK_NETNSID])[0] if _LINK_NETNSID in found else None
    return Device(
        name=text(found[_IFNAME]),
        kind=kind,
        port=_INFO_SLAVE_KIND in info and text(info[_INFO_SLAVE_KIND]) == "bridge",
        peer=peers.get(number) if number is not None and kind == "veth" else None,
    )


def _default(payload: bytes) -> set[int]:
    """The devices of a default route of the main table; none for any other route."""
    _, length, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(payload)
    if length or kind != _UNICAST or table != _TABLE_MAIN:
        return set()
    found = attributes(payload, _RTMSG.size)
    devices = {_INT.unpack(found[_OIF])[0]} if _OIF in found else set()
    hops, start = found.get(_MULTIPATH, b""), 0
    while start + _NEXTHOP.size <= len(hops):
        size, _, _, index = _NEXTHOP.unpack_from(hops, start)
        if size < _NEXTHOP.size:
            break
        devices.add(index)
        start += (size + 3) & ~3
    return devices
