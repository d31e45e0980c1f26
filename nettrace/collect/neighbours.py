"""
Addresses, neighbours and forwarding databases: rtnetlink to model types.

Lives here: RTM_GETADDR and RTM_GETNEIGH of all families.
Not here: devices (links), routes (routes).
"""

import socket
import struct
from typing import Any

from nettrace.collect.session import Session
from nettrace.collect.wire import attributes
from nettrace.model.links import Address, FdbEntry, Neighbour

__all__ = ["read_addresses", "read_fdb", "read_neighbours"]

# include/uapi/linux/rtnetlink.h, enum rt_scope_t
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}

_IFA_F_SECONDARY = 0x01  # include/uapi/linux/if_addr.h; of IPv6 the same bit means temporary
#: The other flags of that file that decide about packets, by ip-address(8)'s words.
_ADDRESS_FLAGS = {
    0x01: "temporary",
    0x02: "nodad",
    0x04: "optimistic",
    0x08: "dadfailed",
    0x10: "home",
    0x20: "deprecated",
    0x40: "tentative",
    0x100: "mngtmpaddr",
    0x200: "noprefixroute",
}
_NTF_PROXY = 0x08

# include/uapi/linux/neighbour.h
_NUD = {
    0x00: "none",
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_RTM_GETNEIGH, _NDA_DST = 30, 1
_NDMSG = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, ifindex, state, flags, type


def read_addresses(session: Session) -> tuple[Address, ...]:
    """Read the addresses of all devices, IPv4 before IPv6, in the kernel's order."""
    messages = session.dump("get_addr")
    names = _names()
    return tuple(
        _address(message, names[message["index"]]) for message in messages if message["index"] in names
    )


def _address(message: Any, device: str) -> Address:
    local, far = message.get_attr("IFA_LOCAL"), message.get_attr("IFA_ADDRESS")
    own = local or far  # IPv6 has IFA_LOCAL only beside a peer
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    return Address(
        device=device,
        address=own,
        prefixlen=message["prefixlen"],
        scope=_SCOPES.get(message["scope"], str(message["scope"])),
        peer=far if far != own else None,
        secondary=message["family"] == socket.AF_INET and bool(flags & _IFA_F_SECONDARY),
        flags=frozenset(
            word
            for bit, word in _ADDRESS_FLAGS.items()
            if flags & bit and (bit != _IFA_F_SECONDARY or message["family"] == socket.AF_INET6)
        ),
    )


def read_neighbours(session: Session) -> tuple[Neighbour, ...]:
    """Read the ARP and ND entries of all devices, proxied addresses first."""
    messages = session.dump("get_neighbours")
    names = _names()
    return (*_proxies(session, names), *_entries(messages, names))


def _proxies(session: Session, names: dict[int, str]) -> list[Neighbour]:
    """Read what devices answer for on behalf of others: they are dumped only on request."""
    asked = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, _NTF_PROXY, 0)
    found = []
    for payload in session.rtnetlink.dump(_RTM_GETNEIGH, asked):
        family, index, _, _, _ = _NDMSG.unpack_from(payload)
        address = attributes(payload, _NDMSG.size).get(_NDA_DST)
        if family in (socket.AF_INET, socket.AF_INET6) and index in names and address is not None:
            text = socket.inet_ntop(family, address)
            found.append(Neighbour(device=names[index], address=text, mac=None, state="proxy"))
    return found


def _entries(messages: list[Any], names: dict[int, str]) -> tuple[Neighbour, ...]:
    return tuple(
        Neighbour(
            device=names[message["ifindex"]],
            address=message.get_attr("NDA_DST"),
            mac=message.get_attr("NDA_LLADDR"),
            state=_NUD.get(message["state"], str(message["state"])),
        )
        for message in messages
        if message["family"] in (socket.AF_INET, socket.AF_INET6)
        and message["ifindex"] in names
        and message.get_attr("NDA_DST") is not None
    )


def read_fdb(session: Session) -> tuple[FdbEntry, ...]:
    """
    Read the forwarding databases of bridges and VXLAN devices.

    What other devices report as their own entries are receive filters, not forwarding
    (ndo_dflt_fdb_dump(), net/core/rtnetlink.c); they are left out.
    """
    messages = session.dump("fdb", "dump")
    tunnels = {link["index"] for link in session.dump("get_links", kind="vxlan")}
    names = _names()
    return tuple(
        FdbEntry(
            device=names[message["ifindex"]],
            mac=message.get_attr("NDA_LLADDR"),
            master=names.get(message.get_attr("NDA_MASTER") or 0),
            dst=message.get_attr("NDA_DST"),
            port=message.get_attr("NDA_PORT"),
            vni=message.get_attr("NDA_VNI"),
            via=names.get(message.get_attr("NDA_IFINDEX") or 0),
            nexthop=message.get_attr("NDA_NH_ID"),
            vlan=message.get_attr("NDA_VLAN"),
            permanent=bool(message["state"] & _NUD_PERMANENT),
            static=message["state"] & (_NUD_NOARP | _NUD_PERMANENT) == _NUD_NOARP,
        )
        for message in messages
        if message["ifindex"] in names
        and message.get_attr("NDA_LLADDR") is not None
        and (message.get_attr("NDA_MASTER") or message["ifindex"] in tunnels)
    )


def _names() -> dict[int, str]:
    """Interface index -> name in the namespace of this thread."""
    return dict(socket.if_nameindex())
