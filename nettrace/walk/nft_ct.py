"""
What nf_tables' ct loads: the packet's connection.

Lives here: its state, status, mark, and the two tuples.
Not here: setting them (nft_do), making connections (conntrack), other expressions (nft_load).
Source: net/netfilter/nft_ct.c.
"""

from nettrace.model import nft_expr as e
from nettrace.model.protocol import protocol_number
from nettrace.walk.nft_header import address_bytes
from nettrace.walk.nft_scene import Loaded, Scene
from nettrace.walk.nft_value import Value, port_value, unknown
from nettrace.walk.skb import Conn, Skb, Tup

__all__ = ["load_ct"]

#: include/uapi/linux/netfilter/nf_conntrack_common.h
_STATES = {"ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}
_INVALID = 1


def load_ct(scene: Scene, expr: e.CtExpr) -> Loaded:
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
        case "l3proto":
            return Value(bytes((2 if ":" not in tup.src else 10,)))
        case "protocol":
            return Value(bytes((protocol_number(tup.proto),)))
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
