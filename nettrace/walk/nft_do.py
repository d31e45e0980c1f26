"""
What expressions of nf_tables do to a packet and its connection.

Lives here: setting marks and header fields, address translation, reject, notrack, and what a walk
cannot follow.
Not here: tests (nft_rule), binding a translation (nat), answers (icmp).
Sources: net/netfilter/nft_meta.c, nft_ct.c, nft_nat.c, nft_masq.c, nft_redir.c, nft_reject.c.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.packet import PortRange
from nettrace.model.step import Verdict
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Dnat, Masquerade, NatRange, Redirect, Reject, Snat, Target
from nettrace.walk.checksum import finish, spoil
from nettrace.walk.context import undecided
from nettrace.walk.nft_header import address_bytes, address_text, store_payload, writes_checksum
from nettrace.walk.nft_scene import Scene
from nettrace.walk.nft_value import Registers, Value
from nettrace.walk.targets import Place, apply_target

__all__ = ["DEEDS", "Deed", "harmless"]


class Deed(NamedTuple):
    """
    What came of it.

    ``word`` names a verdict of its own (``dnat``), "" for none; ``accepts`` ends the base chain;
    ``ends`` the leg; ``breaks`` the rule.
    """

    word: str = ""
    note: str = ""
    accepts: bool = False
    ends: Verdict | None = None
    breaks: bool = False


_NOTHING = Deed()

#: meta and ct keys that no later stage of the walk looks at.
_META_HARMLESS = frozenset({"priority", "nftrace", "secmark", "rtclassid", "cgroup"})
_CT_HARMLESS = frozenset({"label", "event", "secmark", "helper"})


def harmless(expr: e.Expression) -> bool:
    """Does it leave the packet, its connection and the verdict as they are?"""
    if isinstance(expr, s.MetaSetExpr):
        return expr.key in _META_HARMLESS
    if isinstance(expr, s.CtSetExpr):
        return expr.key in _CT_HARMLESS
    return type(expr) in (s.CounterExpr, s.LastExpr, s.LogExpr, s.DupExpr)


def _certain(scene: Scene, value: Value, what: str) -> bytes:
    if value.softs:
        undecided(f"{scene.where} sets {what} to what is not known: {value.reason}")
    return value.data


def _number(scene: Scene, value: Value, what: str) -> int:
    return int.from_bytes(_certain(scene, value, what), scene.byteorder)  # type: ignore[arg-type]


def _meta_set(scene: Scene, registers: Registers, expr: s.MetaSetExpr, place: Place) -> Deed:
    if expr.key == "mark":
        old = scene.skb.packet.mark
        new = _number(scene, registers.load(expr.sreg, 4), "the mark")
        scene.skb.packet = replace(scene.skb.packet, mark=new)
        return Deed(note=f"mark {old:#x} -> {new:#x}")
    if expr.key in _META_HARMLESS or (expr.key == "pkttype" and scene.pf in (2, 10)):
        return _NOTHING
    undecided(f"{scene.where} sets meta {expr.key}, which is not followed")


def _ct_set(scene: Scene, registers: Registers, expr: s.CtSetExpr, place: Place) -> Deed:
    conn = scene.skb.conn
    if expr.key == "mark":
        if conn is None:
            return Deed(note="no connection, nothing done")
        conn.mark = _number(scene, registers.load(expr.sreg, 4), "the connection's mark")
        return Deed(note=f"connection's mark {conn.mark:#x}")
    if expr.key in _CT_HARMLESS:
        return _NOTHING
    if expr.key == "zone" and (conn is not None or not _number(scene, registers.load(expr.sreg, 2), "zone")):
        return _NOTHING
    undecided(f"{scene.where} sets ct {expr.key}, which is not followed")


def _payload_set(scene: Scene, registers: Registers, expr: s.PayloadSetExpr, place: Place) -> Deed:
    before = scene.skb.packet
    value = registers.load(expr.sreg, expr.length)
    if writes_checksum(scene.skb, expr.base, expr.offset, value):
        spoil(scene.run, scene.point.ns, scene.skb, scene.where)
        return Deed(note="checksum written over")
    said = store_payload(scene.skb, expr.base, expr.offset, value)
    if said is None:
        return Deed(breaks=True)
    if said:
        undecided(f"{scene.where} writes into the {expr.base} header: {said}")
    return Deed(note="header rewritten" if scene.skb.packet != before else "")


def _exthdr_set(scene: Scene, registers: Registers, expr: s.ExthdrSetExpr, place: Place) -> Deed:
    """nft_exthdr_tcp_set_eval: an MSS is only ever made smaller."""
    skb = scene.skb
    if expr.op != "tcpopt" or skb.packet.proto != "tcp":
        return Deed(breaks=True)
    if expr.option != 2:
        return _NOTHING
    if skb.mss is None:
        return Deed(note="no MSS in this packet")
    if expr.sreg is None:
        skb.mss = None
        return Deed(note="MSS taken out")
    value = registers.load(expr.sreg, expr.length)
    skb.mss = min(skb.mss, int.from_bytes(_certain(scene, value, "the MSS")))
    return Deed(note=f"MSS {skb.mss}")


def _notrack(scene: Scene, registers: Registers, expr: s.NotrackExpr, place: Place) -> Deed:
    if scene.skb.conn is None:
        scene.skb.state = "UNTRACKED"
    return Deed(note="not tracked")


# --- translation ---------------------------------------------------------------------------


def _ports(scene: Scene, registers: Registers, low: int | None, high: int | None) -> PortRange | None:
    if low is None:
        return None
    first = int.from_bytes(_certain(scene, registers.load(low, 2), "a port"))
    last = first if high is None else int.from_bytes(_certain(scene, registers.load(high, 2), "a port"))
    return PortRange(first, last)


def _is_random(flags: frozenset[str]) -> bool:
    return bool(flags & {"random", "fully-random"})


def _nat(scene: Scene, registers: Registers, expr: s.NatExpr, place: Place) -> Deed:
    """nft_nat_eval; of a rule for the other family nothing comes (nft_nat_inet_eval)."""
    if {"ip": 2, "ip6": 10}.get(expr.family, scene.pf) != scene.pf:
        return _NOTHING
    length = 4 if scene.pf == 2 else 16
    low = high = None
    if expr.addr_min is not None:
        first = _certain(scene, registers.load(expr.addr_min, length), "an address")
        last = first
        if expr.addr_max is not None:
            last = _certain(scene, registers.load(expr.addr_max, length), "an address")
        if "netmap" in expr.flags:
            packet = scene.skb.packet
            first = last = _netmap(
                address_bytes(packet.src if expr.kind == "snat" else packet.dst), first, last
            )
        low, high = address_text(first), address_text(last)
    to = NatRange(lo=low, hi=high, ports=_ports(scene, registers, expr.port_min, expr.port_max))
    random, persistent = _is_random(expr.flags), "persistent" in expr.flags
    target: Target
    if expr.kind == "dnat":
        target = Dnat(to=to, random=random, persistent=persistent)
    else:
        target = Snat(to=to, random=random, persistent=persistent)
    return _as_xt(scene, target, place, expr.kind)


def _netmap(address: bytes, low: bytes, high: bytes) -> bytes:
    """nft_nat_setup_netmap: the network's bits from the range, the host's from the packet."""
    return bytes((a & (x ^ y)) | (x & ~(x ^ y) & 0xFF) for a, x, y in zip(address, low, high, strict=True))


def _masq(scene: Scene, registers: Registers, expr: s.MasqExpr, place: Place) -> Deed:
    ports = _ports(scene, registers, expr.port_min, expr.port_max)
    return _as_xt(scene, Masquerade(ports=ports, random=_is_random(expr.flags)), place, "masquerade")


def _redir(scene: Scene, registers: Registers, expr: s.RedirExpr, place: Place) -> Deed:
    ports = _ports(scene, registers, expr.port_min, expr.port_max)
    return _as_xt(scene, Redirect(ports=ports, random=_is_random(expr.flags)), place, "redirect")


def _as_xt(scene: Scene, target: Target, place: Place, word: str) -> Deed:
    """The same functions of the kernel stand behind iptables' targets."""
    effect = apply_target(scene.run, scene.skb, scene.point, place, XtRule(target=target))
    return Deed(word, effect.note, accepts=effect.bound, ends=effect.ends)


# --- reject --------------------------------------------------------------------------------

#: Codes of ICMP type 3 and of ICMPv6 type 1, by iptables' words for them (RFC 792, RFC 4443).
_ICMP = {
    0: "icmp-net-unreachable",
    1: "icmp-host-unreachable",
    2: "icmp-proto-unreachable",
    3: "icmp-port-unreachable",
    9: "icmp-net-prohibited",
    10: "icmp-host-prohibited",
    13: "icmp-admin-prohibited",
}
_ICMP6 = {
    0: "icmp6-no-route",
    1: "icmp6-adm-prohibited",
    3: "icmp6-addr-unreachable",
    4: "icmp6-port-unreachable",
    5: "icmp6-policy-fail",
    6: "icmp6-reject-route",
}
#: nft_reject_icmp_code(), nft_reject_icmpv6_code(): no-route, port, host, admin-prohibited.
_ICMPX = {2: (0, 3, 1, 13), 10: (0, 4, 3, 1)}


def _reject(scene: Scene, registers: Registers, expr: s.RejectExpr, place: Place) -> Deed:
    if scene.pf not in (2, 10) or scene.point.hook == "ingress":
        undecided(f"{scene.where} rejects in a bridge or at a device, which is not followed")
    if expr.kind == "tcp-reset":
        with_ = "tcp-reset"
    else:
        code = _ICMPX[scene.pf][expr.code] if expr.kind == "icmpx" else expr.code
        found = (_ICMP if scene.pf == 2 else _ICMP6).get(code)
        if found is None:
            undecided(f"{scene.where} rejects with code {code}, which is not understood")
        with_ = found
    return _as_xt(scene, Reject(with_=with_), place, "reject")


# --- beyond the walk -----------------------------------------------------------------------


def _queue(scene: Scene, registers: Registers, expr: s.QueueExpr, place: Place) -> Deed:
    undecided(f"{scene.where} hands the packet to a program of user space, which decides")


def _tproxy(scene: Scene, registers: Registers, expr: s.TproxyExpr, place: Place) -> Deed:
    undecided(f"{scene.where} hands the packet to a transparent proxy, which is not followed")


def _fwd(scene: Scene, registers: Registers, expr: s.FwdExpr, place: Place) -> Deed:
    undecided(f"{scene.where} sends the packet by another device, which is not followed")


def _synproxy(scene: Scene, registers: Registers, expr: s.SynproxyExpr, place: Place) -> Deed:
    if scene.skb.packet.proto != "tcp":
        return Deed(breaks=True)
    undecided(f"{scene.where} answers for the server (synproxy), which is not followed")


def _flow_offload(scene: Scene, registers: Registers, expr: s.FlowOffloadExpr, place: Place) -> Deed:
    """nft_flow_offload_eval: only an established connection is taken past the hooks."""
    if scene.skb.conn is None or scene.skb.state != "ESTABLISHED":
        return _NOTHING
    undecided(f"{scene.where} takes what follows past the hooks (flow offload), which is not followed")


_OBJECTS_HARMLESS = frozenset(
    {1, 3, 6, 7, 8, 9}
)  # counter, ct helper, tunnel, ct timeout, secmark, expectation


def object_is_harmless(kind: int) -> bool:
    """Does an object of this type only count, or tell conntrack something the walk does not ask?"""
    return kind in _OBJECTS_HARMLESS


def _xt_target(scene: Scene, registers: Registers, expr: e.XtTargetExpr, place: Place) -> Deed:
    if expr.name == "CHECKSUM":
        finish(scene.skb)
        return _NOTHING
    if expr.name in ("LOG", "NFLOG", "AUDIT", "CLASSIFY", "IDLETIMER", "LED", "TRACE"):
        return _NOTHING
    undecided(f"{scene.where} does iptables' {expr.name}, which is not understood in a rule of nftables")


def _unknown(scene: Scene, registers: Registers, expr: e.UnknownExpr, place: Place) -> Deed:
    undecided(f"{scene.where} has an expression {expr.name}, which is not understood")


DEEDS: dict[type, Callable[[Scene, Registers, Any, Place], Deed]] = {
    s.CounterExpr: lambda *_: _NOTHING,
    s.CtSetExpr: _ct_set,
    s.DupExpr: lambda *_: _NOTHING,
    s.ExthdrSetExpr: _exthdr_set,
    s.FlowOffloadExpr: _flow_offload,
    s.FwdExpr: _fwd,
    s.LastExpr: lambda *_: _NOTHING,
    s.LogExpr: lambda *_: _NOTHING,
    s.MasqExpr: _masq,
    s.MetaSetExpr: _meta_set,
    s.NatExpr: _nat,
    s.NotrackExpr: _notrack,
    s.PayloadSetExpr: _payload_set,
    s.QueueExpr: _queue,
    s.RedirExpr: _redir,
    s.RejectExpr: _reject,
    s.SynproxyExpr: _synproxy,
    s.TproxyExpr: _tproxy,
    e.UnknownExpr: _unknown,
    e.XtTargetExpr: _xt_target,
}
