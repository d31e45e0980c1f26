"""
What a rule does once it matches.

Lives here: every target of nettrace.model.xt_target that is not a verdict or a jump (those are in
rules).
Not here: translating packets (nat), making the answers of REJECT (icmp).
Sources: net/netfilter/xt_*.c and net/ipv4/netfilter/ipt_REJECT.c.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec.structs import replace

from nettrace.model.step import Verdict
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import (
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
)
from nettrace.parse.iptables import extension_options
from nettrace.walk.context import Run, undecided
from nettrace.walk.effect import Effect, bound
from nettrace.walk.extension_targets import EXTENSION_TARGETS
from nettrace.walk.icmp import send_error, send_reset
from nettrace.walk.icmp6 import UNREACHABLE, send_error6
from nettrace.walk.point import HookPoint
from nettrace.walk.routing import FlowKey, Found, address_type, lookup
from nettrace.walk.skb import Skb, Zone
from nettrace.walk.source import first_address, select_address
from nettrace.walk.source6 import first_address6, select_address6

__all__ = ["Effect", "Place", "apply_target", "target_word"]

#: The option's bytes, and what it says at most where a packet had none (RFC 879, RFC 8200 5).
_MSS_OPTION, _MSS_OF_NOBODY, _MSS_OF_NOBODY6 = 4, 536, 1220

#: Targets that change nothing a walk looks at.
_HARMLESS = frozenset(
    {
        "AUDIT",
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

#: --reject-with -> code of ICMPv6's type 1 (ip6t_REJECT.c, reject_tg6).
REJECT_CODES6 = {
    "icmp6-no-route": 0,
    "icmp6-adm-prohibited": 1,
    "icmp6-not-neighbour": 2,
    "icmp6-addr-unreachable": 3,
    "icmp6-port-unreachable": 4,
    "icmp6-policy-fail": 5,
    "icmp6-reject-route": 6,
}


class Place(NamedTuple):
    """A rule's place; ``rule`` counts from 1, 0 is the chain as such."""

    backend: str
    table: str
    chain: str
    rule: int


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
    """xt_connmark.c, connmark_tg_shift: set shifts the new mark, save and restore what they copy."""
    conn = skb.conn
    if conn is None:
        return Effect(note="no connection, nothing done")
    if target.action == "set":
        conn.mark = _shifted(conn.mark & ~target.ctmask ^ target.value, target.shift)
        return Effect(note=f"connection's mark {conn.mark:#x}")
    if target.action == "save":
        copied = _shifted(skb.packet.mark & target.nfmask, target.shift)
        conn.mark = (conn.mark & ~target.ctmask ^ copied) & 0xFFFFFFFF
        return Effect(note=f"connection's mark {conn.mark:#x}")
    copied = _shifted(conn.mark & target.ctmask, target.shift)
    mark = (skb.packet.mark & ~target.nfmask ^ copied) & 0xFFFFFFFF
    skb.packet = replace(skb.packet, mark=mark)
    return Effect(note=f"mark {mark:#x}")


def _shifted(mark: int, shift: int) -> int:
    return (mark << shift if shift >= 0 else mark >> -shift) & 0xFFFFFFFF


def _notrack(run: Run, skb: Skb, point: HookPoint, place: Place, target: Notrack) -> Effect:
    """xt_CT.c, xt_ct_target: the first rule of the kind stands, and what nf_ct_attach has marked stays."""
    if skb.conn is None and skb.template is None and not skb.attached:
        skb.state = "UNTRACKED"
        return Effect(note="not tracked")
    return Effect(note="nothing done")


def _ct(run: Run, skb: Skb, point: HookPoint, place: Place, target: Ct) -> Effect:
    """Helpers, timeouts and events change no packet of the walk; zones keep connections apart."""
    if skb.conn is not None or skb.template is not None or skb.state == "UNTRACKED":
        return Effect(note="nothing done")
    zone = Zone()
    for option, text in pairwise(target.text.split()):
        if option in ("--zone", "--zone-orig", "--zone-reply"):
            zone = Zone(
                0 if text == "mark" else int(text, 0),
                original=option != "--zone-reply",
                reply=option != "--zone-orig",
                marked=text == "mark",
            )
    skb.template = zone
    return Effect(note=f"zone {'of the mark' if zone.marked else zone.id}" if zone != Zone() else "")


def _tcpmss(run: Run, skb: Skb, point: HookPoint, place: Place, target: Tcpmss) -> Effect:
    """
    xt_TCPMSS.c, tcpmss_mangle_packet: never raised, and put in where there is none and no data.

    A rule of iptables-legacy has to ask for SYN; one of iptables-nft meets any segment.
    """
    headers, most = (60, _MSS_OF_NOBODY6) if skb.packet.family == 6 else (40, _MSS_OF_NOBODY)
    if skb.mss is None and not _may_be_given_mss(run, skb):
        return Effect(note="no MSS in this packet")
    wanted = target.mss if target.mss is not None else _path_mtu(run, skb, point) - headers
    if skb.mss is not None:
        skb.mss = min(skb.mss, wanted)
    else:
        skb.mss = min(wanted, most)
        skb.packet = replace(skb.packet, size=skb.packet.size + _MSS_OPTION)
    skb.stripped -= {2}
    return Effect(note=f"MSS {skb.mss}")


def _may_be_given_mss(run: Run, skb: Skb) -> bool:
    """Is it a segment of TCP without data?  Of a crafted one only a bare header is known to be."""
    packet = skb.packet
    if packet.proto != "tcp" or run.leg in ("data", "reply-data"):
        return False
    crafted = run.leg == "request" and run.flow.origin.device is not None
    return not crafted or packet.size == (60 if packet.family == 6 else 40)


def _path_mtu(run: Run, skb: Skb, point: HookPoint) -> int:
    """Return the smaller MTU of the route it takes and the route back (tcpmss_reverse_mtu)."""
    ns = point.ns
    mtus = [65535]
    if skb.route is not None:
        mtus.append(skb.route.route.mtu or _mtu(point, skb.route.device))
    back = lookup(run, ns, FlowKey(dst=skb.packet.src))
    if isinstance(back, Found) and back.hop is not None and back.hop.device is not None:
        mtus.append(back.route.mtu or _mtu(point, back.hop.device))
    return min(mtus)


def _mtu(point: HookPoint, device: str) -> int:
    return point.ns.mtu6(device) if point.family == 6 else point.ns.link(device).mtu


def _reject(run: Run, skb: Skb, point: HookPoint, place: Place, target: Reject) -> Effect:
    """Drop, and answer as the rule says (nf_reject_ipv4.c)."""
    if target.with_ == "tcp-reset":
        answered = send_reset(run, skb, attach=True)
    else:
        code = (REJECT_CODES6 if point.family == 6 else REJECT_CODES).get(target.with_)
        if code is None:
            undecided(
                f"rule {place.rule} of {place.chain} rejects with {target.with_}, which is not understood"
            )
        if point.family == 6:
            answered = send_error6(run, skb, UNREACHABLE, code)
        else:
            local = address_type(run, point.ns, skb.packet.dst) == "LOCAL"
            answered = send_error(run, skb, 3, code, local=local)
    return Effect(note=f"answered with {target.with_}" if answered else "not answered", ends=Verdict.REJECTED)


def _dnat(run: Run, skb: Skb, point: HookPoint, place: Place, target: Dnat) -> Effect:
    return bound(run, skb, "dst", target.to, random=target.random, persistent=target.persistent)


def _snat(run: Run, skb: Skb, point: HookPoint, place: Place, target: Snat) -> Effect:
    return bound(
        run,
        skb,
        "src",
        target.to,
        random=target.random or target.random_fully,
        persistent=target.persistent,
    )


def _masquerade(run: Run, skb: Skb, point: HookPoint, place: Place, target: Masquerade) -> Effect:
    """nf_nat_masquerade_ipv4, nf_nat_masquerade_ipv6: the address of the device it leaves by."""
    device = point.out_device or ""
    near = skb.packet.dst
    if point.family == 6:
        address = select_address6(point.ns, device, near)
    else:
        if skb.route is not None and skb.route.gateway:
            near = skb.route.gateway
        address = select_address(point.ns, device, near)
    if address is None:
        return Effect(note=f"{device} has no address to masquerade with", ends=Verdict.DROPPED_BY_RULE)
    return bound(
        run,
        skb,
        "src",
        NatRange(lo=address, hi=address, ports=target.ports),
        random=target.random or target.random_fully,
    )


def _redirect(run: Run, skb: Skb, point: HookPoint, place: Place, target: Redirect) -> Effect:
    """nf_nat_redirect_ipv4, nf_nat_redirect_ipv6."""
    six = point.family == 6
    address: str | None = "::1" if six else "127.0.0.1"
    if point.hook != "output":
        device = point.in_device or ""
        address = first_address6(point.ns, device, skb.packet.dst) if six else first_address(point.ns, device)
    if address is None:
        return Effect(note=f"{point.in_device} has no address to redirect to", ends=Verdict.DROPPED_BY_RULE)
    return bound(
        run,
        skb,
        "dst",
        NatRange(lo=address, hi=address, ports=target.ports),
        random=target.random,
    )


def _extension(run: Run, skb: Skb, point: HookPoint, place: Place, target: ExtensionTarget) -> Effect:
    """Apply what is kept as text; values that cannot be read leave it open."""
    if target.name in _HARMLESS:
        return Effect()
    apply = EXTENSION_TARGETS.get(target.name)
    if apply is not None:
        try:
            return apply(run, skb, point, extension_options(target))
        except (KeyError, ValueError):
            pass
    return _unknown(run, skb, point, place, target)


def _unknown(
    run: Run, skb: Skb, point: HookPoint, place: Place, target: ExtensionTarget | UnknownTarget
) -> Effect:
    undecided(
        f"rule {place.rule} of {place.chain} in {place.table} does {target.name} {target.text}".rstrip()
        + ", which is not understood",
        f"{point.ns.name}/{point.xt}/{place.backend}/{place.table}/{place.chain}/{place.rule}",
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
