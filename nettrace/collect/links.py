"""
Devices: RTM_GETLINK to model types.

Lives here: kinds, flags, bridge, port, VXLAN and IPIP attributes, both ends of a veth.
Not here: what hangs on devices (programs), addresses and neighbours (neighbours).
"""

from typing import Any

from nettrace.collect.peers import Candidates, names_of
from nettrace.collect.programs import Hung, programs_by_index, xdp_programs
from nettrace.collect.session import Session
from nettrace.model.links import BridgeAttrs, IpipAttrs, Link, MacvlanAttrs, Peer, PortAttrs, VxlanAttrs

__all__ = ["read_links"]

# include/uapi/linux/if.h
_UP, _LOOPBACK, _NOARP, _PROMISC, _LOWER_UP = 0x1, 0x8, 0x80, 0x100, 0x10000

_DF = {0: "unset", 1: "set", 2: "inherit"}  # enum ifla_vxlan_df, include/uapi/linux/if_link.h

#: IPPROTO_IPIP; 0 on tunl0, which takes what there is.
_IPIP = (0, 4)

_NTF_SELF = 0x02  # include/uapi/linux/neighbour.h

#: Kinds whose IFLA_LINK is the other end of a pair, not a device underneath.
_PAIRS = ("veth", "netkit")
#: Kinds on a device that may be in another namespace.
_ABOVE = ("macvlan", "macvtap")


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
        if message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") in (*_PAIRS, *_ABOVE)
    }
    peers = names_of(session, {number for number in numbers if number is not None}, candidates)
    programs = programs_by_index(session, names)
    taps = _taps(session)
    return tuple(
        _link(message, names, peers, session.name, programs.get(message["index"], Hung()), taps)
        for message in sorted(messages, key=lambda message: int(message["index"]))
    )


def _taps(session: Session) -> dict[int, list[str]]:
    """
    Return index -> unicast MAC addresses that somebody on top of a device asked it for.

    ndo_dflt_fdb_dump(), net/core/rtnetlink.c: a device's own list, which a macvlan enters itself in.
    """
    found: dict[int, list[str]] = {}
    for message in session.dump("fdb", "dump"):
        mac = message.get_attr("NDA_LLADDR")
        if mac is None or message.get_attr("NDA_MASTER") or not message["flags"] & _NTF_SELF:
            continue
        if not int(mac[:2], 16) & 1 and message.get_attr("NDA_DST") is None:
            found.setdefault(message["ifindex"], []).append(mac)
    return found


def _link(
    message: Any,
    names: dict[int, str],
    peers: dict[int, str],
    own: str,
    hung: Hung,
    taps: dict[int, list[str]],
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
    macvlan = None
    if kind in _ABOVE and link and data is not None:
        mode = str(data.get_attr(f"IFLA_{kind.upper()}_MODE"))
        where = own if number is None else peers.get(number)
        macvlan = MacvlanAttrs(mode=mode, netns=where, ifindex=link)
    mac = message.get_attr("IFLA_ADDRESS") or "00:00:00:00:00:00"
    shared = not message.get_attr("IFLA_MASTER") and kind not in ("bridge", "vxlan")
    vxlan = _vxlan(data, names) if kind == "vxlan" and data is not None else None
    ipip = _ipip(data, names) if kind == "ipip" and data is not None else None
    xdp = xdp_programs(message)
    words = (*xdp.words, *hung.words)
    if kind == "vxlan" and data is not None and data.get_attr("IFLA_VXLAN_COLLECT_METADATA"):
        words = (*words, "vxlan external")  # where to is said by a program or a route
    return Link(
        index=index,
        name=names[index],
        kind=kind,
        mac=mac,
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(flags & _UP),
        carrier=bool(flags & _LOWER_UP),
        promisc=bool(flags & _PROMISC),
        noarp=bool(flags & _NOARP),
        group=message.get_attr("IFLA_GROUP") or 0,
        master=names.get(message.get_attr("IFLA_MASTER") or 0),
        peer=peer,
        lower=names.get(link) if peer is None and number is None and link != index else None,
        bridge=_bridge(data) if kind == "bridge" and data is not None else None,
        port=_port(message),
        vxlan=vxlan,
        ipip=ipip,
        macvlan=macvlan,
        promiscuity=message.get_attr("IFLA_PROMISCUITY") or 0,
        taps=tuple(sorted(tap for tap in taps.get(index, ()) if tap != mac)) if shared else (),
        programs=words,
        bpf=(*xdp.bpf, *hung.bpf),
    )


def _bridge(data: Any) -> BridgeAttrs:
    return BridgeAttrs(
        vlan_filtering=bool(data.get_attr("IFLA_BR_VLAN_FILTERING")),
        stp=bool(data.get_attr("IFLA_BR_STP_STATE")),
        nf_call_iptables=bool(data.get_attr("IFLA_BR_NF_CALL_IPTABLES")),
        nf_call_ip6tables=bool(data.get_attr("IFLA_BR_NF_CALL_IP6TABLES")),
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
        # a kernel that is older than an attribute does what it does with that attribute's default
        bcast_flood=data.get_attr("IFLA_BRPORT_BCAST_FLOOD") != 0,
        mcast_flood=data.get_attr("IFLA_BRPORT_MCAST_FLOOD") != 0,
        neigh_suppress=bool(data.get_attr("IFLA_BRPORT_NEIGH_SUPPRESS")),
        proxy_arp=bool(data.get_attr("IFLA_BRPORT_PROXYARP")),
        proxy_arp_wifi=bool(data.get_attr("IFLA_BRPORT_PROXYARP_WIFI")),
        locked=bool(data.get_attr("IFLA_BRPORT_LOCKED")),
        state=data.get_attr("IFLA_BRPORT_STATE"),
    )


def _ipip(data: Any, names: dict[int, str]) -> IpipAttrs:
    ends = [data.get_attr(f"IFLA_IPIP_{end}") for end in ("LOCAL", "REMOTE")]
    local, remote = (end if end not in (None, "0.0.0.0") else None for end in ends)
    return IpipAttrs(
        local=local,
        remote=remote,
        device=names.get(data.get_attr("IFLA_IPIP_LINK") or 0),
        ttl=data.get_attr("IFLA_IPIP_TTL") or 0,
        pmtudisc=bool(data.get_attr("IFLA_IPIP_PMTUDISC")),
        fwmark=data.get_attr("IFLA_IPIP_FWMARK") or 0,
        special=tuple(
            word
            for word, there in (
                ("external", data.get_attr("IFLA_IPIP_COLLECT_METADATA") is not None),
                ("other protocols", data.get_attr("IFLA_IPIP_PROTO") not in (None, *_IPIP)),
                ("encap", bool(data.get_attr("IFLA_IPIP_ENCAP_TYPE"))),
            )
            if there
        ),
    )


def _vxlan(data: Any, names: dict[int, str]) -> VxlanAttrs:
    local6, group6 = data.get_attr("IFLA_VXLAN_LOCAL6"), data.get_attr("IFLA_VXLAN_GROUP6")
    sums = not data.get_attr("IFLA_VXLAN_UDP_ZERO_CSUM6_TX")
    if not (local6 or group6):
        sums = data.get_attr("IFLA_VXLAN_UDP_CSUM") in (None, 1)
    return VxlanAttrs(
        vni=data.get_attr("IFLA_VXLAN_ID") or 0,
        local=data.get_attr("IFLA_VXLAN_LOCAL") or local6,
        device=names.get(data.get_attr("IFLA_VXLAN_LINK") or 0),
        group=data.get_attr("IFLA_VXLAN_GROUP") or group6,
        port=data.get_attr("IFLA_VXLAN_PORT"),
        learning=bool(data.get_attr("IFLA_VXLAN_LEARNING")),
        df=_DF.get(data.get_attr("IFLA_VXLAN_DF") or 0, "unset"),
        ttl=data.get_attr("IFLA_VXLAN_TTL") or 0,
        special=tuple(word for word in ("proxy", "rsc") if data.get_attr(f"IFLA_VXLAN_{word.upper()}")),
        udp_checksum=sums,
    )
