"""
What expressions of nf_tables load into registers.

Lives here: which function loads what, and fib, rt, socket, exthdr, numgen, hash.  A value that
the snapshot does not tell is a soft with the reason; None ends the rule (NFT_BREAK).
Not here: meta (nft_meta), ct (nft_ct), headers (nft_header), what is done (nft_do), what routes
say (nft_fib).
Sources: net/netfilter/nft_rt.c, nft_exthdr.c, nft_numgen.c, nft_hash.c.
"""

from collections.abc import Callable

from nettrace.model import nft_expr as e
from nettrace.walk.jhash import jhash, reciprocal_scale
from nettrace.walk.nft_ct import load_ct
from nettrace.walk.nft_fib import fib_device, fib_type
from nettrace.walk.nft_header import address_bytes, load_payload
from nettrace.walk.nft_meta import load_meta
from nettrace.walk.nft_scene import Loaded, Scene, index_value, name_value
from nettrace.walk.nft_value import Value, drawn_value, unknown

__all__ = ["LOADS", "hash_value"]

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
        return index_value(scene, device)
    return name_value(device or "")


def _rt(scene: Scene, expr: e.RtExpr) -> Loaded:
    """
    nft_rt_get_eval; before routing there is none.

    What is bridged has one of the bridge's own, without a gateway (bridge_parent_rtable).
    """
    route = scene.skb.route
    if expr.key == "ipsec":
        return Value(b"\0")  # the walk goes on only with what leaves as it is (nettrace.walk.xfrm)
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


_OTHERS_MSS = "the MSS that a client outside of the snapshot announces is not known"

# --- options of headers --------------------------------------------------------------------


def _exthdr(scene: Scene, expr: e.ExthdrExpr) -> Loaded:
    """Of TCP's options the walk knows the MSS; IP headers of the walk have no options."""
    skb = scene.skb
    if expr.op == "tcpopt":
        if skb.packet.proto != "tcp":
            return None
        if expr.option == 2:  # TCPOPT_MSS
            there = skb.mss is not None
            if there and scene.run.leg == "request" and scene.run.flow.origin.device is not None:
                return unknown(max(expr.length, 1), _OTHERS_MSS)
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


def hash_value(scene: Scene, expr: e.HashExpr, key: Value) -> Value:
    """jhash of known bytes with a known seed is certain; else it is a draw, the same for the same packet."""
    if expr.kind == "jenkins" and expr.seed is not None and not key.softs:
        number = reciprocal_scale(jhash(key.data, expr.seed, scene.byteorder), expr.modulus)
        return scene.host(expr.offset + number)
    if expr.modulus > _MOST_OPTIONS:
        return unknown(4, f"a hash mod {expr.modulus} decides")
    words = "jhash" if expr.kind == "jenkins" else "symhash"
    return _draw(scene, expr.modulus, expr.offset, f"{words} mod {expr.modulus}")


def _payload(scene: Scene, expr: e.PayloadExpr) -> Loaded:
    return load_payload(scene.skb, expr.base, expr.offset, expr.length, sized=scene.sized)


LOADS: dict[type, Callable[[Scene, object], Loaded]] = {
    e.PayloadExpr: _payload,  # type: ignore[dict-item]
    e.MetaExpr: load_meta,  # type: ignore[dict-item]
    e.CtExpr: load_ct,  # type: ignore[dict-item]
    e.FibExpr: _fib,  # type: ignore[dict-item]
    e.RtExpr: _rt,  # type: ignore[dict-item]
    e.SocketExpr: _socket,  # type: ignore[dict-item]
    e.ExthdrExpr: _exthdr,  # type: ignore[dict-item]
    e.NumgenExpr: _numgen,  # type: ignore[dict-item]
}
