"""
Does a rule match a packet?  Yes, no, or it cannot be told.

Lives here: the header tests and every match of nettrace.model.xt_match but ``statistic``, which is
a draw (rules), ``set`` (sets) and ``recent`` (recent).
Not here: what a rule then does (targets).
Sources: net/ipv4/netfilter/ip_tables.c (ip_packet_match), net/netfilter/xt_*.c, each named
at its function.
"""

from collections.abc import Callable
from typing import Any

from nettrace.model.addr import in_prefix, is_multicast
from nettrace.model.protocol import base_protocol
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import (
    Addrtype,
    Comment,
    Connmark,
    Conntrack,
    Extension,
    Icmp,
    Limit,
    Mark,
    Multiport,
    Negatable,
    Nfacct,
    Physdev,
    Ports,
    Recent,
    Rpfilter,
    SetMatch,
    State,
    Statistic,
    Tcp,
    Udp,
    UnknownMatch,
)
from nettrace.parse.iptables import extension_options
from nettrace.walk.context import Run
from nettrace.walk.extensions import HEADER_TESTS
from nettrace.walk.extensions_state import STATE_TESTS
from nettrace.walk.matches6 import addrtype6, rpfilter6
from nettrace.walk.octets import tcp_option
from nettrace.walk.point import Answered, HookPoint, Unsure, in_ports, negated
from nettrace.walk.recent import recent
from nettrace.walk.routing import Failed, FlowKey, address_type, lookup
from nettrace.walk.sets import set_matches
from nettrace.walk.skb import Skb, Tup

__all__ = ["device_fits", "header_matches", "match_matches"]

_CONNTRACK_STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")


def header_matches(skb: Skb, point: HookPoint, rule: XtRule) -> bool:
    """ip_packet_match: addresses, devices, protocol, fragment.  All are known, so never unsure."""
    packet = skb.packet
    if rule.dst is not None and in_prefix(packet.dst, rule.dst.value) == rule.dst.invert:
        return False
    if rule.proto is not None and not _protocol_fits(packet.proto, rule.proto):
        return False
    if rule.src is not None and in_prefix(packet.src, rule.src.value) == rule.src.invert:
        return False
    for device, wanted in ((point.in_device, rule.in_device), (point.out_device, rule.out_device)):
        if wanted is not None and device_fits(device, wanted.value) == wanted.invert:
            return False
    # the walk's packets are whole: -f never, ! -f always
    return rule.fragment is not True


def _protocol_fits(proto: str, wanted: Negatable) -> bool:
    name = base_protocol(wanted.value)
    return (name in ("all", "0") or name == base_protocol(proto)) != wanted.invert


def device_fits(device: str | None, wanted: str) -> bool:
    """Is *device* the one named, or does it begin as ``NAME+`` says?"""
    if wanted.endswith("+"):
        return device is not None and device.startswith(wanted[:-1])
    return device == wanted


def match_matches(run: Run, skb: Skb, point: HookPoint, match: Any) -> Answered:
    """Evaluate one match of a rule."""
    test = _TESTS.get(type(match))
    if test is None:
        return Unsure(f"match {type(match).__name__} is not evaluated")
    return test(run, skb, point, match)


def _always(run: Run, skb: Skb, point: HookPoint, match: Comment | Nfacct) -> Answered:
    return True


def _addrtype(run: Run, skb: Skb, point: HookPoint, match: Addrtype) -> Answered:
    """xt_addrtype.c, addrtype_mt_v1."""
    if point.family == 6:
        return addrtype6(run, skb, point, match)
    device = None
    if match.limit_iface_in:
        device = point.in_device
    elif match.limit_iface_out:
        device = point.out_device
    for address, wanted in ((skb.packet.src, match.src_type), (skb.packet.dst, match.dst_type)):
        if wanted is None:
            continue
        kind = address_type(run, point.ns, address, device)
        if (kind in wanted.value.split(",")) == wanted.invert:
            return False
    return True


def _conntrack(run: Run, skb: Skb, point: HookPoint, match: Conntrack) -> Answered:
    """xt_conntrack.c, conntrack_mt."""
    if match.states and not _state_fits(skb, match.states, invert=match.invert):
        return False
    conn = skb.conn
    if conn is None:
        return bool(match.states)
    if match.direction is not None and (match.direction == "REPLY") != skb.reply:
        return False
    for address, wanted in (
        (conn.original.src, match.orig_src),
        (conn.original.dst, match.orig_dst),
        (conn.reply.src, match.repl_src),
        (conn.reply.dst, match.repl_dst),
    ):
        if wanted is not None and in_prefix(address, wanted.value) == wanted.invert:
            return False
    if match.proto is not None and not _protocol_fits(conn.original.proto, match.proto):
        return False
    if match.status is not None and not _status_fits(conn, match.status):
        return False
    if match.expire is not None:
        return Unsure("conntrack's remaining time is not in the snapshot")
    return _tuple_ports(conn.original, conn.reply, match)


def _tuple_ports(original: Tup, reply: Tup, match: Conntrack) -> Answered:
    for port, ports in (
        (original.sport, match.orig_sport),
        (original.dport, match.orig_dport),
        (reply.sport, match.repl_sport),
        (reply.dport, match.repl_dport),
    ):
        if ports is not None:
            answer = negated(in_ports(port, ports.range, "connection's port"), ports.invert)
            if answer is not True:
                return answer
    return True


def _state_fits(skb: Skb, states: tuple[str, ...], *, invert: bool) -> bool:
    conn = skb.conn
    if conn is None:
        # a CT rule leaves a template behind, which passes for a new connection
        fresh = "NEW" if skb.template is not None and not skb.state else "INVALID"
        held = ["UNTRACKED" if skb.state == "UNTRACKED" else fresh]
    else:
        held = [skb.state]
        held += ["SNAT"] if conn.src_nat else []
        held += ["DNAT"] if conn.dst_nat else []
    return any(one in states for one in held) != invert


def _status_fits(conn: Any, wanted: Negatable) -> bool:
    held = {"SEEN_REPLY": conn.seen_reply, "ASSURED": conn.assured, "CONFIRMED": conn.confirmed}
    # NONE is no bit at all, so nothing ever has it
    return any(held.get(name, False) for name in wanted.value.split(",")) != wanted.invert


def _state(run: Run, skb: Skb, point: HookPoint, match: State) -> Answered:
    return _state_fits(skb, match.states, invert=match.invert)


def _mark(run: Run, skb: Skb, point: HookPoint, match: Mark) -> Answered:
    return ((skb.packet.mark & match.mask) == match.value) != match.invert


def _connmark(run: Run, skb: Skb, point: HookPoint, match: Connmark) -> Answered:
    """xt_connmark.c: without a connection it never matches, negated or not."""
    if skb.conn is None:
        return False
    return ((skb.conn.mark & match.mask) == match.value) != match.invert


def _multiport(run: Run, skb: Skb, point: HookPoint, match: Multiport) -> Answered:
    """xt_multiport.c, multiport_mt."""
    packet = skb.packet
    ports = {
        "sports": ((packet.sport, "source port"),),
        "dports": ((packet.dport, "destination port"),),
    }.get(match.kind, ((packet.sport, "source port"), (packet.dport, "destination port")))
    unsure: Unsure | None = None
    for port, which in ports:
        for wanted in match.ranges:
            answer = in_ports(port, wanted, which)
            if answer is True:
                return not match.invert
            if isinstance(answer, Unsure):
                unsure = answer
    return unsure if unsure is not None else match.invert


def _physdev(run: Run, skb: Skb, point: HookPoint, match: Physdev) -> Answered:
    """
    xt_physdev.c, physdev_mt: ports are known while the packet is in, or came through, a bridge.

    A test of the port it leaves by is false, negated or not, for a packet that came through
    a bridge and is routed.
    """
    wishes = (
        (match.is_bridged, skb.physout is not None),
        (match.is_in, skb.physin is not None),
        (match.is_out, skb.physout is not None),
    )
    if any(wished is not None and wished != held for wished, held in wishes):
        return False
    if match.physout is not None and skb.physin is not None and skb.physout is None:
        return False
    for device, wanted in ((skb.physin, match.physin), (skb.physout, match.physout)):
        if wanted is not None:
            fits = device is not None and device_fits(device, wanted.value)
            if fits == wanted.invert:
                return False
    return True


def _tcp(run: Run, skb: Skb, point: HookPoint, match: Tcp) -> Answered:
    """xt_tcpudp.c, tcp_mt."""
    packet = skb.packet
    if packet.proto != "tcp":
        return False
    if match.flags is not None:
        mask, wanted = match.flags
        if ((packet.tcp_flags & mask) == wanted) == match.flags_invert:
            return False
    answer = _both_ports(skb, match.sport, match.dport)
    if answer is True and match.option is not None:
        held = tcp_option(run, skb, match.option)
        if held is None:
            return Unsure(f"whether the segment has TCP option {match.option} is not certain")
        return held != match.option_invert
    return answer


def _udp(run: Run, skb: Skb, point: HookPoint, match: Udp) -> Answered:
    """xt_tcpudp.c, udp_mt; xt_sctp.c."""
    if skb.packet.proto != match.proto:
        return False
    answer = _both_ports(skb, match.sport, match.dport)
    if answer is True and match.chunk_types is not None:
        return Unsure("SCTP chunks are not part of the walk's packet")
    return answer


def _both_ports(skb: Skb, sport: Ports | None, dport: Ports | None) -> Answered:
    unsure: Unsure | None = None
    for port, wanted, which in (
        (skb.packet.dport, dport, "destination port"),
        (skb.packet.sport, sport, "source port"),
    ):
        if wanted is None:
            continue
        answer = negated(in_ports(port, wanted.range, which), wanted.invert)
        if answer is False:
            return False
        if isinstance(answer, Unsure):
            unsure = answer
    return unsure if unsure is not None else True


def _icmp(run: Run, skb: Skb, point: HookPoint, match: Icmp) -> Answered:
    """ip_tables.c, icmp_match, where 255 is any type, and ip6_tables.c, icmp6_match, where it is 255."""
    packet = skb.packet
    if packet.proto != ("icmpv6" if match.proto == "icmp6" else match.proto):
        return False
    every = (None, 255) if packet.proto == "icmp" else (None,)
    kind = match.icmp_type in (*every, packet.icmp_type)
    code = match.icmp_type in every or match.icmp_code in (None, packet.icmp_code)
    return (kind and code) != match.invert


def _recent(run: Run, skb: Skb, point: HookPoint, match: Recent) -> Answered:
    """xt_recent.c, recent_mt."""
    return recent(run, point.ns.name, match, skb.packet.src if match.side == "rsource" else skb.packet.dst)


def _limit(run: Run, skb: Skb, point: HookPoint, match: Limit) -> Answered:
    return Unsure(f"how much of -m limit {match.rate} is used up is not in the snapshot")


def _rpfilter(run: Run, skb: Skb, point: HookPoint, match: Rpfilter) -> Answered:
    """ipt_rpfilter.c, rpfilter_mt."""
    if point.family == 6:
        return rpfilter6(run, skb, point, match)
    device = point.in_device
    if device == "lo":
        return not match.invert
    packet = skb.packet
    key = FlowKey(
        dst=packet.src,
        src="" if is_multicast(packet.dst) else packet.dst,
        mark=packet.mark if match.validmark else 0,
        tos=packet.tos,
    )
    found = lookup(run, point.ns, key)
    if isinstance(found, Failed):
        return match.invert
    kind = found.route.type
    usable = kind == "unicast" or (kind == "local" and match.accept_local)
    fits = usable and (match.loose or any(hop.device == device for hop in found.route.nexthops))
    return fits != match.invert


def _set(run: Run, skb: Skb, point: HookPoint, match: SetMatch) -> Answered:
    return set_matches(run, skb, point, match)


def _unknown(run: Run, skb: Skb, point: HookPoint, match: UnknownMatch) -> Answered:
    return Unsure(f"match -m {match.name} {match.text}".rstrip() + " is not understood")


def _extension(run: Run, skb: Skb, point: HookPoint, match: Extension) -> Answered:
    """Ask the extension's own test; values that it cannot read leave it open."""
    test = HEADER_TESTS.get(match.name) or STATE_TESTS.get(match.name)
    reason = "is not understood"
    if test is not None:
        try:
            return test(run, skb, point, extension_options(match))
        except (KeyError, ValueError) as error:
            reason = f"is not understood: {error}"
    return Unsure(f"match -m {match.name} {match.text} {reason}")


def _statistic(run: Run, skb: Skb, point: HookPoint, match: Statistic) -> Answered:
    return Unsure("a draw")


_TESTS: dict[type, Callable[[Run, Skb, HookPoint, Any], Answered]] = {
    Addrtype: _addrtype,
    Comment: _always,
    Connmark: _connmark,
    Conntrack: _conntrack,
    Extension: _extension,
    Icmp: _icmp,
    Limit: _limit,
    Mark: _mark,
    Multiport: _multiport,
    Nfacct: _always,
    Physdev: _physdev,
    Recent: _recent,
    Rpfilter: _rpfilter,
    SetMatch: _set,
    State: _state,
    Statistic: _statistic,
    Tcp: _tcp,
    Udp: _udp,
    UnknownMatch: _unknown,
}
