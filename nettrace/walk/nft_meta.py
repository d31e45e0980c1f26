"""
What nf_tables' meta loads: what hangs on the packet other than its bytes.

Lives here: devices, marks, protocols, lengths, owners.
Not here: setting them (nft_do), the connection (nft_ct), other expressions (nft_load).
Source: net/netfilter/nft_meta.c.
"""

from collections.abc import Callable

from nettrace.model import nft_expr as e
from nettrace.model.protocol import protocol_number
from nettrace.walk.nft_header import ARP, ethertype
from nettrace.walk.nft_scene import Loaded, Scene, index_value, name_value
from nettrace.walk.nft_value import Value, unknown
from nettrace.walk.xfrm import came_by_ipsec

__all__ = ["load_meta"]

#: Kinds of devices that are Ethernet (ARPHRD_ETHER).
_ETHERNET = frozenset({"veth", "bridge", "vxlan", "dummy", "macvlan", "macvtap", "vlan"})


def load_meta(scene: Scene, expr: e.MetaExpr) -> Loaded:
    """nft_meta_get_eval."""
    load = _META.get(expr.key)
    if load is None:
        return unknown(_META_LENGTHS.get(expr.key, 4), f"meta {expr.key} is not in the snapshot")
    return load(scene)


def _user(scene: Scene) -> Loaded:
    """Only a packet with a socket of this namespace has an owner, which those of the kernel lack."""
    if scene.skb.by_kernel and scene.point.hook != "input":
        return None
    if scene.skb.own or scene.skb.carries_own or scene.point.hook == "input":
        return unknown(4, "whose socket it is, is not in the snapshot")
    return None


def _bridge_of(scene: Scene, device: str | None) -> Loaded:
    master = scene.ns.link(device).master if device is not None else None
    return name_value(master) if master is not None else None


def _l4proto(scene: Scene) -> Loaded:
    packet = scene.skb.packet
    return Value(bytes((protocol_number(packet.proto),))) if packet.proto != ARP else None


def _device_type(scene: Scene, device: str | None) -> Loaded:
    """ARPHRD_* of include/uapi/linux/if_arp.h; without a device there is none."""
    if device is None:
        return None
    kind = scene.ns.link(device).kind
    if kind == "loopback":
        return scene.host(772, 2)
    if kind in _ETHERNET:
        return scene.host(1, 2)
    return unknown(2, f"the type of {device} is not in the snapshot")


def _in_type(scene: Scene) -> Loaded:
    """
    The type of skb->dev, whatever the hook's own device is (nft_meta_get_eval).

    Behind routing that is the device by which the packet leaves; at OUTPUT IPv4 has set none yet.
    """
    point = scene.point
    if point.in_device is None and point.hook == "output" and scene.pf == 10:
        return unknown(2, "whether the packet has a device before it is sent is not walked")
    leaving = point.hook in ("postrouting", "egress") or scene.pf == 7
    return _device_type(scene, point.out_device if leaving and point.in_device is None else point.in_device)


def _packet_type(scene: Scene) -> Loaded:
    if scene.pf in (5, 7):
        return unknown(1, "the frame's packet type is not known")
    return Value(b"\0")  # PACKET_HOST


def _length(scene: Scene) -> Value:
    if scene.pf == 5:
        return unknown(4, "the length of the frame is not known")
    if not scene.sized:
        return unknown(4, "the length of the answer decides")
    return scene.host(scene.skb.packet.size)


def _ipsec(scene: Scene) -> Loaded:
    """secpath_exists."""
    if came_by_ipsec(scene.run, scene.point.ns, scene.skb) is None:
        return unknown(1, "whether what comes from outside came by IPsec is not told")
    return Value(b"\0")


_META: dict[str, Callable[[Scene], Loaded]] = {
    "length": _length,
    "protocol": lambda s: Value(ethertype(s.skb.packet).to_bytes(2)),
    "mark": lambda s: s.host(s.skb.packet.mark),
    "iif": lambda s: index_value(s, s.point.in_device),
    "oif": lambda s: index_value(s, s.point.out_device),
    "iifname": lambda s: name_value(s.point.in_device or ""),
    "oifname": lambda s: name_value(s.point.out_device or ""),
    "skuid": _user,
    "skgid": _user,
    "nfproto": lambda s: Value(bytes((s.pf,))),
    "l4proto": _l4proto,
    "pkttype": _packet_type,
    "iiftype": _in_type,
    "oiftype": lambda s: _device_type(s, s.point.out_device),
    "ipsec": _ipsec,
    "ibrname": lambda s: _bridge_of(s, s.point.in_device),
    "obrname": lambda s: _bridge_of(s, s.point.out_device),
}
_META_LENGTHS = {
    "sdifname": 16,
    "iifkind": 16,
    "oifkind": 16,
    "day": 1,
    "time": 8,
    "ibrpvid": 2,
    "ibrvproto": 2,
    "ibrhwaddr": 6,
}
