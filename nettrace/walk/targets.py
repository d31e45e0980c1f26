"""
What a rule does once it matches.

Lives here: every target of nettrace.model.xt that is not a verdict or a jump (those are in
rules).
Not here: translating packets (nat), making the answers of REJECT (icmp).
Sources: net/netfilter/xt_*.c and net/ipv4/netfilter/ipt_REJECT.c.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from nettrace.model.step import Verdict
from nettrace.model.xt import (
    ConnmarkTarget,
    Ct,
    Dnat,
    ExtensionTarget,
    Jump,
    Log,
    MarkTarget,
    Masquerade,
    NatRange,
    Nflog,
    Notrack,
    PassThrough,
    Redirect,
    Reject,
    Snat,
    Target,
    Tcpmss,
    UnknownTarget,
    XtRule,
)
from nettrace.walk.context import Run, undecided
from nettrace.walk.icmp import send_error, send_reset
from nettrace.walk.nat import bind
from nettrace.walk.point import HookPoint
from nettrace.walk.routing import FlowKey, Found, address_type, lookup
from nettrace.walk.skb import Skb
from nettrace.walk.source import first_address, select_address

__all__ = ["Effect", "Place", "apply_target", "target_word"]

#: Targets that change nothing a walk looks at.
_HARMLESS = frozenset(
    {
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNSECMARK",
        "IDLETIMER",
        "LED",
        "RATEEST",
        "SECMARK",
        "TEE",
        "TRACE",
        "ULOG",
    }
)

#: --reject-with -> ICMP code of type 3 (ipt_REJECT.c, reject_tg).
REJECT_CODES = {
    "icmp-net-unreachable": 0,
    "icmp-host-unreachable": 1,
    "icmp-proto-unreachable": 2,
    "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9,
    "icmp-host-prohibited": 10,
    "icmp-admin-prohibited": 13,
}


class Place(NamedTuple):
    """A rule's place; ``rule`` counts from 1, 0 is the chain as such."""

    backend: str
    table: str
    chain: str
    rule: int


class Effect(NamedTuple):
    """What a target did: ``bound`` a translation, which ends the nat hook; ``ends`` the leg."""

    note: str = ""
    bound: bool = False
    ends: Verdict | None = None


def target_word(target: Target) -> str:
    """Return the target's name as it is written after ``-j``."""
    if isinstance(target, Jump):
        return target.chain
    if isinstance(target, ExtensionTarget | UnknownTarget):
        return target.name
    if isinstance(target, PassThrough):
        return "continue"
    return str(target.__struct_config__.tag)


def apply_target(run: Run, skb: Skb, point: HookPoint, place: Place, rule: XtRule) -> Effect:
    """Apply *rule*'s target to *skb* and its connection."""
    apply = _APPLY.get(type(rule.target))
    if apply is None:
        return _unknown(run, skb, point, place, UnknownTarget(target_word(rule.target), ""))
    return apply(run, skb, point, place, rule.target)


def _nothing(run: Run, skb: Skb, point: HookPoint, place: Place, target: Log | Nflog | PassThrough) -> Effect:
    return Effect()


def _mark(run: Run, skb: Skb, point: HookPoint, place: Place, target: MarkTarget) -> Effect:
    """xt_mark.c, mark_tg."""
    old = skb.packet.mark
    new = (old & ~target.mask ^ target.value) & 0xFFFFFFFF
    skb.packet = replace(skb.packet, mark=new)
    return Effect(note=f"mark {old:#x} -> {new:#x}")


def _connmark(run: Run, skb: Skb, point: HookPoint, place: Place, target: ConnmarkTarget) -> Effect:
    """xt_connmark.c, connmark_tg_shift."""
    conn = skb.conn
    if conn is None:
        return Effect(note="no connection, nothing done")
    if target.action == "set":
        conn.mark = (conn.mark & ~target.ctmask ^ target.value) & 0xFFFFFFFF
        return Effect(note=f"connection's mark {conn.mark:#x}")
    if target.action == "save":
        conn.mark = (conn.mark & ~target.ctmask ^ skb.packet.mark & target.nfmask) & 0xFFFFFFFF
        return Effect(note=f"connection's mark {conn.mark:#x}")
    mark = (skb.packet.mark & ~target.nfmask ^ conn.mark & target.ctmask) & 0xFFFFFFFF
    skb.packet = replace(skb.packet, mark=mark)
    return Effect(note=f"mark {mark:#x}")


def _notrack(run: Run, skb: Skb, point: HookPoint, place: Place, target: Notrack) -> Effect:
    if skb.conn is None:
        skb.state = "UNTRACKED"
    return Effect(note="not tracked")


def _ct(run: Run, skb: Skb, point: HookPoint, place: Place, target: Ct) -> Effect:
    """Helpers, timeouts and events change no packet of the walk; zones keep connections apart."""
    if "zone" in target.text:
        undecided(
            f"rule {place.rule} of {place.chain} puts the connection into a zone of its own: {target.text}"
        )
    return Effect()


def _tcpmss(run: Run, skb: Skb, point: HookPoint, place: Place, target: Tcpmss) -> Effect:
    """xt_TCPMSS.c, tcpmss_mangle_packet: never raised."""
    if skb.mss is None or "SYN" not in skb.packet.tcp_flags:
        return Effect(note="no MSS in this packet")
    wanted = target.mss if target.mss is not None else _path_mtu(run, skb, point) - 40
    skb.mss = min(skb.mss, wanted)
    return Effect(note=f"MSS {skb.mss}")


def _path_mtu(run: Run, skb: Skb, point: HookPoint) -> int:
    """Return the smaller MTU of the route it takes and the route back (tcpmss_reverse_mtu)."""
    ns = point.ns
    mtus = [65535]
    if skb.route is not None:
        mtus.append(skb.route.route.mtu or ns.link(skb.route.device).mtu)
    back = lookup(run, ns, FlowKey(dst=skb.packet.src))
    if isinstance(back, Found) and back.hop is not None and back.hop.device is not None:
        mtus.append(back.route.mtu or ns.link(back.hop.device).mtu)
    return min(mtus)


def _reject(run: Run, skb: Skb, point: HookPoint, place: Place, target: Reject) -> Effect:
    """Drop, and answer as the rule says (nf_reject_ipv4.c)."""
    if target.with_ == "tcp-reset":
        answered = send_reset(run, skb, attach=True)
    else:
        code = REJECT_CODES.get(target.with_)
        if code is None:
            undecided(
                f"rule {place.rule} of {place.chain} rejects with {target.with_}, which is not understood"
            )
        local = address_type(run, point.ns, skb.packet.dst) == "LOCAL"
        answered = send_error(run, skb, 3, code, local=local)
    return Effect(note=f"answered with {target.with_}" if answered else "not answered", ends=Verdict.REJECTED)


def _dnat(run: Run, skb: Skb, point: HookPoint, place: Place, target: Dnat) -> Effect:
    return _bind(run, skb, point, place, "dst", target.to, random=target.random)


def _snat(run: Run, skb: Skb, point: HookPoint, place: Place, target: Snat) -> Effect:
    return _bind(run, skb, point, place, "src", target.to, random=target.random or target.random_fully)


def _masquerade(run: Run, skb: Skb, point: HookPoint, place: Place, target: Masquerade) -> Effect:
    """nf_nat_masquerade_ipv4: the address of the device it leaves by, towards the next hop."""
    device = point.out_device or ""
    near = skb.packet.dst
    if skb.route is not None and skb.route.gateway:
        near = skb.route.gateway
    address = select_address(point.ns, device, near)
    if address is None:
        return Effect(note=f"{device} has no address to masquerade with", ends=Verdict.DROPPED_BY_RULE)
    return _bind(
        run,
        skb,
        point,
        place,
        "src",
        NatRange(lo=address, hi=address, ports=target.ports),
        random=target.random or target.random_fully,
    )


def _redirect(run: Run, skb: Skb, point: HookPoint, place: Place, target: Redirect) -> Effect:
    """nf_nat_redirect_ipv4."""
    address: str | None = "127.0.0.1"
    if point.hook != "output":
        address = first_address(point.ns, point.in_device or "")
    if address is None:
        return Effect(note=f"{point.in_device} has no address to redirect to", ends=Verdict.DROPPED_BY_RULE)
    return _bind(
        run,
        skb,
        point,
        place,
        "dst",
        NatRange(lo=address, hi=address, ports=target.ports),
        random=target.random,
    )


def _bind(
    run: Run, skb: Skb, point: HookPoint, place: Place, manip: str, to: NatRange, *, random: bool
) -> Effect:
    conn = skb.conn
    if conn is None:
        return Effect(note="no connection, nothing done")
    where = f"{point.ns.name}/xt/{place.backend}/{place.table}/{place.chain}/{place.rule}"
    bind(run, conn, manip, to, random=random, where=where)
    end = (conn.reply.src, conn.reply.sport) if manip == "dst" else (conn.reply.dst, conn.reply.dport)
    port = "" if end[1] is None else f":{end[1] if end[1].single is not None else '*'}"
    return Effect(note=f"{'to' if manip == 'dst' else 'from'} {end[0]}{port}", bound=True)


def _extension(run: Run, skb: Skb, point: HookPoint, place: Place, target: ExtensionTarget) -> Effect:
    if target.name in _HARMLESS:
        return Effect()
    return _unknown(run, skb, point, place, target)


def _unknown(
    run: Run, skb: Skb, point: HookPoint, place: Place, target: ExtensionTarget | UnknownTarget
) -> Effect:
    undecided(
        f"rule {place.rule} of {place.chain} in {place.table} does {target.name} {target.text}".rstrip()
        + ", which is not understood",
        f"{point.ns.name}/xt/{place.backend}/{place.table}/{place.chain}/{place.rule}",
    )


_APPLY: dict[type, Callable[[Run, Skb, HookPoint, Place, Any], Effect]] = {
    ConnmarkTarget: _connmark,
    Ct: _ct,
    Dnat: _dnat,
    ExtensionTarget: _extension,
    Log: _nothing,
    MarkTarget: _mark,
    Masquerade: _masquerade,
    Nflog: _nothing,
    Notrack: _notrack,
    PassThrough: _nothing,
    Redirect: _redirect,
    Reject: _reject,
    Snat: _snat,
    Tcpmss: _tcpmss,
    UnknownTarget: _unknown,
}
