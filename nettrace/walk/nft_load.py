"""
What expressions of nf_tables load into registers, other than the packet's bytes.

Lives here: meta, ct, fib, rt, socket, exthdr, numgen, hash.  A value that the snapshot does not
tell is a soft with the reason; None ends the rule (NFT_BREAK).
Not here: headers (nft_header), what is done (nft_do), what routes say (nft_fib).
Sources: net/netfilter/nft_meta.c, nft_ct.c, nft_rt.c, nft_exthdr.c, nft_numgen.c, nft_hash.c,
include/linux/jhash.h.
"""

from collections.abc import Callable
from typing import NamedTuple

from nettrace.model import nft_expr as e
from nettrace.walk.context import Run
from nettrace.walk.namespace import Namespace
from nettrace.walk.nft_fib import fib_device, fib_type
from nettrace.walk.nft_header import ARP, address_bytes, ethertype, load_payload, protocol_number
from nettrace.walk.nft_value import Value, drawn_value, port_value, unknown
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Conn, Skb, Tup

__all__ = ["LOADS", "Scene", "hashed"]

_IFNAMSIZ = 16
#: Kinds of devices that are Ethernet (ARPHRD_ETHER).
_ETHERNET = frozenset({"veth", "bridge", "vxlan", "dummy", "macvlan", "macvtap", "vlan"})
_MOST_OPTIONS = 4096

#: include/uapi/linux/rtnetlink.h
_ROUTE_TYPES = {
    "UNSPEC": 0,
    "UNICAST": 1,
    "LOCAL": 2,
    "BROADCAST": 3,
    "ANYCAST": 4,
    "MULTICAST": 5,
    "BLACKHOLE": 6,
    "UNREACHABLE": 7,
    "PROHIBIT": 8,
    "THROW": 9,
}

#: include/uapi/linux/netfilter/nf_conntrack_common.h
_STATES = {"ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}
_INVALID = 1


class Scene(NamedTuple):
    """Where an expression is evaluated; ``pf`` is the protocol family of the hook (2, 5, 7, 10)."""

    run: Run
    skb: Skb
    point: HookPoint
    pf: int
    byteorder: str
    where: str  # FAMILY TABLE CHAIN RULE, for words and draws

    @property
    def sized(self) -> bool:
        """Is the packet's length known?  Not of an answer of UDP."""
        return self.run.leg == "request" or self.skb.packet.proto != "udp"

    @property
    def ns(self) -> Namespace:
        """The namespace."""
        return self.point.ns

    def host(self, value: int, length: int = 4) -> Value:
        """A number in the host's order."""
        return Value(value.to_bytes(length, self.byteorder))  # type: ignore[arg-type]


Loaded = Value | None


def _name(text: str) -> Value:
    return Value(text.encode()[: _IFNAMSIZ - 1].ljust(_IFNAMSIZ, b"\0"))


# --- meta ----------------------------------------------------------------------------------


def _meta(scene: Scene, expr: e.MetaExpr) -> Loaded:
    load = _META.get(expr.key)
    if load is None:
        return unknown(_META_LENGTHS.get(expr.key, 4), f"meta {expr.key} is not in the snapshot")
    return load(scene)


def _index(scene: Scene, device: str | None) -> Value:
    return scene.host(scene.ns.link(device).index if device is not None else 0)


def _user(scene: Scene) -> Loaded:
    """Only a packet with a socket of this namespace has an owner."""
    if scene.skb.own or scene.skb.carries_own or scene.point.hook == "input":
        return unknown(4, "whose socket it is, is not in the snapshot")
    return None


def _bridge_of(scene: Scene, device: str | None) -> Loaded:
    master = scene.ns.link(device).master if device is not None else None
    return _name(master) if master is not None else None


def _l4proto(scene: Scene) -> Loaded:
    packet = scene.skb.packet
    return Value(bytes((protocol_number(packet),))) if packet.proto != ARP else None


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


_META: dict[str, Callable[[Scene], Loaded]] = {
    "length": _length,
    "protocol": lambda s: Value(ethertype(s.skb.packet).to_bytes(2)),
    "mark": lambda s: s.host(s.skb.packet.mark),
    "iif": lambda s: _index(s, s.point.in_device),
    "oif": lambda s: _index(s, s.point.out_device),
    "iifname": lambda s: _name(s.point.in_device or ""),
    "oifname": lambda s: _name(s.point.out_device or ""),
    "skuid": _user,
    "skgid": _user,
    "nfproto": lambda s: Value(bytes((s.pf,))),
    "l4proto": _l4proto,
    "pkttype": _packet_type,
    "iiftype": _in_type,
    "oiftype": lambda s: _device_type(s, s.point.out_device),
    "ipsec": lambda s: Value(b"\0"),
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


# --- conntrack -----------------------------------------------------------------------------


def _ct(scene: Scene, expr: e.CtExpr) -> Loaded:
    """nft_ct_get_eval; without a connection only the state is there."""
    skb, conn = scene.skb, scene.skb.conn
    if expr.key == "state":
        if conn is None:
            return scene.host(_STATES["UNTRACKED"] if skb.state == "UNTRACKED" else _INVALID)
        return scene.host(_STATES.get(skb.state, _INVALID))
    if conn is None:
        return None
    tup = conn.reply if expr.direction == "reply" else conn.original
    match expr.key:
        case "direction":
            return Value(bytes((int(skb.reply),)))
        case "status":
            return scene.host(_status(skb, conn))
        case "mark":
            return scene.host(conn.mark)
        case "zone":
            return scene.host(0, 2)
        case "l3protocol":
            return Value(bytes((2 if ":" not in tup.src else 10,)))
        case "protocol":
            return Value(bytes((protocol_number(skb.packet),))) if skb.state != "RELATED" else _protocol(tup)
        case "saddr" | "ip_saddr" | "ip6_saddr":
            return _address(expr.key, tup.src)
        case "daddr" | "ip_daddr" | "ip6_daddr":
            return _address(expr.key, tup.dst)
        case "proto-src" | "proto-dst":
            return _tuple_port(tup, source=expr.key == "proto-src")
    return unknown(_CT_LENGTHS.get(expr.key, 4), f"ct {expr.key} is not in the snapshot")


_CT_LENGTHS = {"label": 16, "packets": 8, "bytes": 8, "avgpkt": 8, "helper": 16}


def _address(key: str, text: str) -> Loaded:
    wanted = {"ip_": 4, "ip6": 16}.get(key[:3])
    data = address_bytes(text)
    return Value(data) if wanted in (None, len(data)) else None


def _protocol(tup: Tup) -> Value:
    numbers = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
    number = numbers.get(tup.proto)
    return Value(bytes((number,))) if number is not None else unknown(1, "the connection's protocol decides")


def _tuple_port(tup: Tup, *, source: bool) -> Value:
    """The two halves of a tuple; of ICMP the identifier, and type with code."""
    if tup.icmp_type is not None:
        if not source:
            return Value(bytes((tup.icmp_type, 0)))
        if tup.icmp_id is None or tup.icmp_id < 0:
            return unknown(2, "the packet's ICMP identifier decides")
        return Value(tup.icmp_id.to_bytes(2))
    return port_value(tup.sport if source else tup.dport, "connection's port")


def _status(skb: Skb, conn: Conn) -> int:
    """enum ip_conntrack_status."""
    bits = (
        (1, conn.seen_reply),
        (2, conn.assured),
        (3, conn.confirmed),
        (4, conn.src_nat),
        (5, conn.dst_nat),
        (7, conn.src_done),
        (8, conn.dst_done),
    )
    return sum(1 << bit for bit, on in bits if on)


# --- routes --------------------------------------------------------------------------------


def _fib(scene: Scene, expr: e.FibExpr) -> Loaded:
    if expr.result == "type":
        kind = fib_type(scene.run, scene.skb, scene.point, expr.flags)
        return scene.host(_ROUTE_TYPES[kind])
    return _fib_result(scene, expr, fib_device(scene.run, scene.skb, scene.point, expr.flags))


def _fib_result(scene: Scene, expr: e.FibExpr, device: str | None) -> Value:
    if "present" in expr.flags:
        return Value(bytes((int(device is not None),)))
    if expr.result == "oif":
        return _index(scene, device)
    return _name(device or "")


def _rt(scene: Scene, expr: e.RtExpr) -> Loaded:
    """
    nft_rt_get_eval; before routing there is none.

    What is bridged has one of the bridge's own, without a gateway (bridge_parent_rtable).
    """
    route = scene.skb.route
    if expr.key == "ipsec":
        return Value(b"\0")
    if route is None:
        if scene.skb.in_port is None or scene.pf not in (2, 10) or scene.point.hook == "prerouting":
            return None
        if (expr.key, scene.pf) == ("nexthop4", 2):
            return Value(address_bytes(scene.skb.packet.dst))
        if (expr.key, scene.pf) in (("nexthop6", 2), ("nexthop4", 10)):
            return None
        return unknown(
            2 if expr.key == "tcpmss" else 16 if expr.key == "nexthop6" else 4,
            f"rt {expr.key} of a bridged packet is not in the snapshot",
        )
    if expr.key == "nexthop4":
        return Value(address_bytes(route.gateway or scene.skb.packet.dst)) if scene.pf == 2 else None
    if expr.key == "nexthop6":
        return Value(address_bytes(route.gateway or scene.skb.packet.dst)) if scene.pf == 10 else None
    return unknown(2 if expr.key == "tcpmss" else 4, f"rt {expr.key} is not in the snapshot")


def _socket(scene: Scene, expr: e.SocketExpr) -> Loaded:
    length = {"transparent": 1, "wildcard": 1, "mark": 4, "cgroupv2": 8}[expr.key]
    return unknown(length, "which socket would take the packet, and what it is set to, is not evaluated")


# --- options of headers --------------------------------------------------------------------


def _exthdr(scene: Scene, expr: e.ExthdrExpr) -> Loaded:
    """Of TCP's options the walk knows the MSS; IP headers of the walk have no options."""
    skb = scene.skb
    if expr.op == "tcpopt":
        if skb.packet.proto != "tcp":
            return None
        if expr.option == 2:  # TCPOPT_MSS
            there = skb.mss is not None and "SYN" in skb.packet.tcp_flags
            if expr.present:
                return Value(bytes((int(there),)))
            if there and skb.mss is not None and (expr.offset, expr.length) == (2, 2):
                return Value(skb.mss.to_bytes(2))
            if not there:
                return None
        return unknown(max(expr.length, 1), f"TCP option {expr.option} is not part of the walk's packet")
    if expr.op in ("ipv4", "ipv6"):
        return Value(b"\0") if expr.present else None
    if expr.op == "sctp" and skb.packet.proto != "sctp":
        return None
    return unknown(max(expr.length, 1), f"{expr.op} chunks are not part of the walk's packet")


# --- numbers -------------------------------------------------------------------------------


def _numgen(scene: Scene, expr: e.NumgenExpr) -> Loaded:
    """``inc`` counts from a place that no dump shows: for one packet as good as a draw."""
    if expr.modulus > _MOST_OPTIONS:
        return unknown(4, f"numgen {expr.kind} mod {expr.modulus} decides")
    return _draw(scene, expr.modulus, expr.offset, f"numgen {expr.kind} mod {expr.modulus}")


def _draw(scene: Scene, modulus: int, offset: int, reason: str) -> Value:
    options = tuple(scene.host(offset + number & 0xFFFFFFFF).data for number in range(max(modulus, 1)))
    return drawn_value(options, reason)


def hashed(data: bytes, seed: int, byteorder: str) -> int:
    """jhash() of include/linux/jhash.h: Jenkins' lookup3."""

    def rol(value: int, by: int) -> int:
        return (value << by | value >> (32 - by)) & 0xFFFFFFFF

    def word(at: int) -> int:
        return int.from_bytes(data[at : at + 4], byteorder)  # type: ignore[arg-type]

    a = b = c = (0xDEADBEEF + len(data) + seed) & 0xFFFFFFFF
    at, left = 0, len(data)
    while left > 12:
        a, b, c = a + word(at), b + word(at + 4), c + word(at + 8)
        for by in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & 0xFFFFFFFF) ^ rol(c & 0xFFFFFFFF, by)
            c = (c + b) & 0xFFFFFFFF
            a, b, c = b, c, a
        at, left = at + 12, left - 12
    if left:
        tail = data[at:].ljust(12, b"\0")
        a += int.from_bytes(tail[0:4], "little")
        b += int.from_bytes(tail[4:8], "little")
        c += int.from_bytes(tail[8:12], "little")
        a, b, c = a & 0xFFFFFFFF, b & 0xFFFFFFFF, c & 0xFFFFFFFF
        c = ((c ^ b) - rol(b, 14)) & 0xFFFFFFFF
        a = ((a ^ c) - rol(c, 11)) & 0xFFFFFFFF
        b = ((b ^ a) - rol(a, 25)) & 0xFFFFFFFF
        c = ((c ^ b) - rol(b, 16)) & 0xFFFFFFFF
        a = ((a ^ c) - rol(c, 4)) & 0xFFFFFFFF
        b = ((b ^ a) - rol(a, 14)) & 0xFFFFFFFF
        c = ((c ^ b) - rol(b, 24)) & 0xFFFFFFFF
    return c


def hash_value(scene: Scene, expr: e.HashExpr, key: Value) -> Value:
    """jhash of known bytes with a known seed is certain; else it is a draw, the same for the same packet."""
    if expr.kind == "jenkins" and expr.seed is not None and not key.softs:
        number = hashed(key.data, expr.seed, scene.byteorder) * expr.modulus >> 32
        return scene.host(expr.offset + number)
    if expr.modulus > _MOST_OPTIONS:
        return unknown(4, f"a hash mod {expr.modulus} decides")
    words = "jhash" if expr.kind == "jenkins" else "symhash"
    return _draw(scene, expr.modulus, expr.offset, f"{words} mod {expr.modulus}")


def _payload(scene: Scene, expr: e.PayloadExpr) -> Loaded:
    return load_payload(scene.skb, expr.base, expr.offset, expr.length, sized=scene.sized)


LOADS: dict[type, Callable[[Scene, object], Loaded]] = {
    e.PayloadExpr: _payload,  # type: ignore[dict-item]
    e.MetaExpr: _meta,  # type: ignore[dict-item]
    e.CtExpr: _ct,  # type: ignore[dict-item]
    e.FibExpr: _fib,  # type: ignore[dict-item]
    e.RtExpr: _rt,  # type: ignore[dict-item]
    e.SocketExpr: _socket,  # type: ignore[dict-item]
    e.ExthdrExpr: _exthdr,  # type: ignore[dict-item]
    e.NumgenExpr: _numgen,  # type: ignore[dict-item]
}
