"""
On to the real server: the route, TTL and size, the rewriting, what conntrack is told.

Lives here: the transmitters of IPVS (masq, route, tunnel).
Not here: which connection and whose (ipvs_conns), at which hook (ipvs).
Sources: net/netfilter/ipvs/ip_vs_xmit.c (__ip_vs_get_out_rt, ip_vs_nat_xmit, ip_vs_dr_xmit,
ip_vs_tunnel_xmit, ip_vs_icmp_xmit), ip_vs_nfct.c (ip_vs_update_conntrack).
"""

from msgspec.structs import replace

from nettrace.model.addr import is_loopback
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Verdict
from nettrace.walk import icmp6
from nettrace.walk.checksum import into_tunnel
from nettrace.walk.conntrack import confirm
from nettrace.walk.context import Run, Stolen, ended, undecided
from nettrace.walk.icmp import FRAGMENTATION_NEEDED, HOST_UNREACHABLE, send_error
from nettrace.walk.icmp6 import send_error6
from nettrace.walk.ipip import IPIP, PROTOCOL
from nettrace.walk.ipvs_conns import GONE, Bound
from nettrace.walk.namespace import Namespace
from nettrace.walk.output import output_route
from nettrace.walk.point import HookPoint
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Decision, Flowing, Skb, fragment_size
from nettrace.walk.xfrm import plain_or_undecided

__all__ = ["forget", "transmit_error", "transmit_to"]

_HEADER = {4: 20, 6: 40}
_IPIP = {4: PROTOCOL, 6: "41"}
_SMALLEST = {4: 68, 6: 1280}


def transmit_to(run: Run, skb: Skb, point: HookPoint, bound: Bound) -> None:
    """
    Send a client's packet on; returns where the real server is this host itself.

    Then the packet goes on through the hook it is at, by the route it had.  Otherwise Stolen: it
    passes OUTPUT, all of it, and POSTROUTING, never FORWARD.
    """
    ns = point.ns
    if bound.forwarding == GONE:
        _gone(run, skb, point, bound)
    if bound.forwarding == "local":
        _leave_as_it_is(run, skb, point, bound, "for this host itself")
        return
    if bound.forwarding not in ("masq", "route", "tunnel"):
        undecided(f"IPVS's way of forwarding {bound.forwarding} is not walked", bound.ref)
    route = _route(run, skb, point, bound)
    if route.kind == "local":
        if bound.forwarding != "masq":
            _leave_as_it_is(run, skb, point, bound, f"{bound.server} is this host")
            return
        if is_loopback(bound.server) and point.hook != "output":
            _drop(run, skb, point, bound, Verdict.MARTIAN, f"{bound.server} may not be reached from outside")
        _rewrite(run, skb, point, bound, skb.packet.ttl)
        return
    if is_loopback(skb.packet.src) and (skb.packet.family == 4 or point.hook == "output"):
        _drop(run, skb, point, bound, Verdict.MARTIAN, f"{skb.packet.src} may not leave the host")
    _lives(run, skb, point, bound)
    _fits(run, ns, skb, point, bound, route)
    if bound.forwarding == "tunnel":
        _wrap(run, skb, point, bound, route)
    else:
        if bound.forwarding == "masq":
            _rewrite(run, skb, point, bound, skb.packet.ttl - 1)
        else:
            _direct(run, skb, point, bound)
            route = route._replace(gateway=route.gateway or bound.server)
        skb.route = route
    plain_or_undecided(run, ns, skb, "out", "what IPVS sends on")
    raise Stolen


def transmit_error(run: Run, skb: Skb, point: HookPoint, bound: Bound) -> None:
    """Send an ICMP error about a real server's packet on to it (ip_vs_icmp_xmit)."""
    if bound.forwarding != "masq":
        if bound.forwarding == "route":
            transmit_to(run, skb, point, bound)
            return
        undecided(f"an ICMP error for a real server reached by {bound.forwarding} is not walked", bound.ref)
    route = _route(run, skb, point, bound)
    before = skb.packet
    inner = before.inner
    quoted = replace(inner, src=bound.server, sport=bound.port) if inner is not None else None
    lower = 0 if route.kind == "local" else 1
    skb.packet = replace(before, dst=bound.server, inner=quoted, ttl=before.ttl - lower)
    _told(run, skb, point, bound, before, "dnat")
    if route.kind == "local":
        return
    skb.route = route
    plain_or_undecided(run, point.ns, skb, "out", "what IPVS sends on")
    raise Stolen


def forget(skb: Skb, bound: Bound) -> None:
    """Where vs.conntrack is off, the packet's connection is none of conntrack's (ip_vs_notrack)."""
    skb.ipvs = True
    if not bound.tracked and skb.conn is not None:
        skb.conn, skb.reply, skb.state = None, False, "UNTRACKED"


def _route(run: Run, skb: Skb, point: HookPoint, bound: Bound) -> Decision:
    """Route to the real server's address, without source, mark or port."""
    probe = Skb(Packet(src="", dst=bound.server, proto="0"), point.ns.name)
    found = output_route(run, point.ns, probe)
    if not isinstance(found, Failed):
        return found
    run.step(
        skb, Stage.IPVS, "drop", hook=point.hook, ref=found.ref, text=found.text, note=bound.text, stops=True
    )
    if skb.packet.family == 6:
        send_error6(run, skb, icmp6.UNREACHABLE, icmp6.ADDRESS_UNREACHABLE)
    else:
        send_error(run, skb, 3, HOST_UNREACHABLE, local=True)
    ended(Verdict.NO_ROUTE, f"IPVS of {point.ns.name} has {found.text}")


def _lives(run: Run, skb: Skb, point: HookPoint, bound: Bound) -> None:
    """decrement_ttl: as a router would, for the node's own packets too."""
    if skb.packet.ttl > 1:
        return
    if skb.packet.family == 6:
        send_error6(run, skb, icmp6.TIME_EXCEEDED, 0)
    else:
        send_error(run, skb, 11, 0, local=True)
    _drop(run, skb, point, bound, Verdict.TTL_EXCEEDED, f"TTL {skb.packet.ttl} is used up")


def _fits(run: Run, ns: Namespace, skb: Skb, point: HookPoint, bound: Bound, route: Decision) -> None:
    """ensure_mtu_is_adequate: the sender is told as a router would; pieces are made on the way out."""
    packet = skb.packet
    link = ns.link(route.device)
    mtu = route.route.mtu or (ns.mtu6(link.name) if packet.family == 6 else link.mtu)
    asks = packet.df or packet.family == 6
    if bound.forwarding == "tunnel":
        mtu -= _HEADER[packet.family]
        asks = asks and bool(ns.number("net.ipv4.vs.pmtu_disc") or packet.family == 6)
        if mtu < _SMALLEST[packet.family]:
            _drop(run, skb, point, bound, Verdict.TOO_BIG, f"{link.name} leaves {mtu} bytes inside a tunnel")
    if packet.size <= mtu:
        return
    if not asks:
        skb.fragments = min(skb.largest, fragment_size(mtu))
        return
    if packet.family == 6:
        send_error6(run, skb, icmp6.PACKET_TOO_BIG, 0, mtu=mtu)
    else:
        send_error(run, skb, 3, FRAGMENTATION_NEEDED, local=True, mtu=mtu)
    reason = f"{packet.size} bytes do not fit {link.name}'s MTU {mtu} in {ns.name}"
    _drop(run, skb, point, bound, Verdict.TOO_BIG, reason)


def _rewrite(run: Run, skb: Skb, point: HookPoint, bound: Bound, ttl: int) -> None:
    """
    Write the real server into the packet, and what its answers will look like into its connection.

    Conntrack's own destination NAT stays out of it: the connection is not marked as translated.
    """
    before, conn = skb.packet, skb.conn
    skb.packet = replace(before, dst=bound.server, dport=bound.port, ttl=ttl)
    if bound.tracked and conn is not None and not conn.confirmed and not skb.reply:
        conn.reply = conn.reply._replace(src=bound.server, sport=bound.port)
    _told(run, skb, point, bound, before, "dnat")


def _told(run: Run, skb: Skb, point: HookPoint, bound: Bound, before: Packet, word: str) -> None:
    untracked = skb.conn is not None and not bound.tracked
    forget(skb, bound)
    run.step(
        skb,
        Stage.IPVS,
        word,
        hook=point.hook,
        before=before,
        ref=bound.ref,
        text=bound.text,
        note="vs.conntrack is 0: no longer tracked" if untracked else "",
    )


def _leave_as_it_is(run: Run, skb: Skb, point: HookPoint, bound: Bound, note: str) -> None:
    forget(skb, bound)
    run.step(skb, Stage.IPVS, "accept", hook=point.hook, ref=bound.ref, text=bound.text, note=note)


def _direct(run: Run, skb: Skb, point: HookPoint, bound: Bound) -> None:
    """Leave the packet as it is but for its TTL: only its MAC address will be the real server's."""
    before = skb.packet
    skb.packet = replace(before, ttl=before.ttl - 1)
    _told(run, skb, point, bound, before, "route")


def _wrap(run: Run, skb: Skb, point: HookPoint, bound: Bound, route: Decision) -> None:
    """Put the packet into one to the real server, with a connection of its own (ip_vs_tunnel_xmit)."""
    if bound.tunnel != "ipip":
        undecided(f"a tunnel of kind {bound.tunnel} to a real server is not walked", bound.ref)
    ns, inner = point.ns, replace(skb.packet, ttl=skb.packet.ttl - 1)
    header = _HEADER[inner.family]
    df = inner.df and bool(ns.number("net.ipv4.vs.pmtu_disc"))
    outer = Packet(
        src=route.source,
        dst=bound.server,
        proto=_IPIP[inner.family],
        size=inner.size + header,
        ttl=inner.ttl,
        tos=inner.tos,
        df=df,
        mark=inner.mark,
        inner=inner,
    )
    before = skb.packet
    if bound.tracked:
        confirm(run, skb)
    into_tunnel(skb)
    skb.inner.append(Flowing(IPIP, inner, "", "", skb.mss, skb.fragments))
    skb.forget_conntrack()
    skb.carries_own, skb.own = skb.own or skb.carries_own, False
    skb.mss = skb.fragments = None
    skb.packet, skb.route, skb.ipvs = outer, route, True
    run.step(
        skb,
        Stage.IPVS,
        "tunnel",
        hook=point.hook,
        before=before,
        ref=bound.ref,
        text=bound.text,
        note=f"in IPIP from {route.source} to {bound.server}",
    )


def _gone(run: Run, skb: Skb, point: HookPoint, bound: Bound) -> None:
    """
    A connection whose real server was taken away.

    With expire_nodest_conn it is forgotten and the packet begins a new one where it may, which depends on
    the connection of conntrack that it came with.
    """
    if point.ns.number("net.ipv4.vs.expire_nodest_conn"):
        undecided(f"whether {bound.text} begins anew depends on how conntrack knows it", bound.ref)
    _drop(
        run,
        skb,
        point,
        bound,
        Verdict.INVALID,
        f"{bound.server} is gone, and net.ipv4.vs.expire_nodest_conn is 0: the connection hangs",
    )


def _drop(run: Run, skb: Skb, point: HookPoint, bound: Bound, verdict: Verdict, reason: str) -> None:
    run.step(
        skb, Stage.IPVS, "drop", hook=point.hook, ref=bound.ref, text=bound.text, note=reason, stops=True
    )
    ended(verdict, f"IPVS of {point.ns.name}: {reason}")
