"""
Devices: RTM_GETLINK to model types.

Lives here: kinds, flags, bridge, port and VXLAN attributes, both ends of a veth.
Not here: what hangs on devices (programs), addresses and neighbours (neighbours).
"""

from typing import Any

from nettrace.collect.peers import Candidates, names_of
from nettrace.collect.programs import programs_by_index, xdp_programs
from nettrace.collect.session import Session
from nettrace.model.links import BridgeAttrs, Link, Peer, PortAttrs, VxlanAttrs

__all__ = ["read_links"]

# include/uapi/linux/if.h
_UP, _LOOPBACK, _NOARP, _PROMISC, _LOWER_UP = 0x1, 0x8, 0x80, 0x100, 0x10000

#: Kinds whose IFLA_LINK is the other end of a pair, not a device underneath.
_PAIRS = ("veth", "netkit")


def read_links(session: Session, candidates: Candidates) -> tuple[Link, ...]:
    """
    Read all devices of the session's namespace.

    *candidates* are the namespaces that peers may be in, by name.  OSError from the kernel.
    """
    messages = session.dump("get_links")
    names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in messages}
    numbers = {
        message.get_attr("IFLA_LINK_NETNSID")
        for message in messages
        if message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") in _PAIRS
    }
    peers = names_of(session, {number for number in numbers if number is not None}, candidates)
    programs = programs_by_index(session, names)
    return tuple(
        _link(message, names, peers, session.name, programs.get(message["index"], ()))
        for message in sorted(messages, key=lambda message: int(message["index"]))
    )


def _link(
    message: Any, names: dict[int, str], peers: dict[int, str], own: str, programs: tuple[str, ...]
) -> Link:
    flags, index = message["flags"], message["index"]
    kind = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    if kind is None:
        kind = "loopback" if flags & _LOOPBACK else "device"
    data = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
    link, number = message.get_attr("IFLA_LINK"), message.get_attr("IFLA_LINK_NETNSID")
    peer = None
    if kind in _PAIRS and link:
        peer = Peer(own if number is None else peers.get(number), link)
    vxlan = _vxlan(data, names) if kind == "vxlan" and data is not None else None
    if kind == "vxlan" and data is not None and data.get_attr("IFLA_VXLAN_COLLECT_METADATA"):
        programs = (*programs, "vxlan external")  # where to is said by a program or a route
    return Link(
        index=index,
        name=names[index],
        kind=kind,
        mac=message.get_attr("IFLA_ADDRESS") or "00:00:00:00:00:00",
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(flags & _UP),
        carrier=bool(flags & _LOWER_UP),
        promisc=bool(flags & _PROMISC),
        noarp=bool(flags & _NOARP),
        master=names.get(message.get_attr("IFLA_MASTER") or 0),
        peer=peer,
        lower=names.get(link) if peer is None and number is None and link != index else None,
        bridge=_bridge(data) if kind == "bridge" and data is not None else None,
        port=_port(message),
        vxlan=vxlan,
        programs=xdp_programs(message) + programs,
    )


def _bridge(data: Any) -> BridgeAttrs:
    return BridgeAttrs(
        vlan_filtering=bool(data.get_attr("IFLA_BR_VLAN_FILTERING")),
        stp=bool(data.get_attr("IFLA_BR_STP_STATE")),
        nf_call_iptables=bool(data.get_attr("IFLA_BR_NF_CALL_IPTABLES")),
    )


def _port(message: Any) -> PortAttrs | None:
    if message.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_KIND") != "bridge":
        return None
    data = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA")
    return PortAttrs(
        # BRPORT_MODE is the flag BR_HAIRPIN_MODE: br_port_fill_attrs(), net/bridge/br_netlink.c
        hairpin=bool(data.get_attr("IFLA_BRPORT_MODE")),
        isolated=bool(data.get_attr("IFLA_BRPORT_ISOLATED")),
        learning=bool(data.get_attr("IFLA_BRPORT_LEARNING")),
        flood=bool(data.get_attr("IFLA_BRPORT_UNICAST_FLOOD")),
        state=data.get_attr("IFLA_BRPORT_STATE"),
    )


def _vxlan(data: Any, names: dict[int, str]) -> VxlanAttrs:
    return VxlanAttrs(
        vni=data.get_attr("IFLA_VXLAN_ID") or 0,
        local=data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6"),
        device=names.get(data.get_attr("IFLA_VXLAN_LINK") or 0),
        group=data.get_attr("IFLA_VXLAN_GROUP") or data.get_attr("IFLA_VXLAN_GROUP6"),
        port=data.get_attr("IFLA_VXLAN_PORT"),
        learning=bool(data.get_attr("IFLA_VXLAN_LEARNING")),
    )
