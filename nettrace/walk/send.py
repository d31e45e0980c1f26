"""
A packet that this host sends itself: source, route, OUTPUT, and the route once more.

Lives here: source and first route, OUTPUT, ip_route_me_harder.
Not here: the lookup (output), packets that come in (arrive), leaving the host (leave).
Source: net/ipv4/netfilter.c (ip_route_me_harder).
"""

from typing import NoReturn

from msgspec.structs import replace

from nettrace.model.links import Link
from nettrace.model.step import Stage, Verdict
from nettrace.walk.arrive6 import refuse6
from nettrace.walk.context import Run, Stolen, ended, undecided
from nettrace.walk.fib import route_text
from nettrace.walk.hooks import run_hook
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.output import output_route
from nettrace.walk.output6 import hop_limit
from nettrace.walk.point import HookPoint
from nettrace.walk.programs import socket_sends
from nettrace.walk.routing import Failed, address_type
from nettrace.walk.skb import Decision, Skb, fragment_size
from nettrace.walk.stages import Next
from nettrace.walk.xfrm import check_out, check_rewritten

__all__ = ["local_out", "send", "send_by_port"]

#: IP and TCP headers: what the MSS leaves of an MTU.
_HEADERS = {4: 40, 6: 60}


def _may_bind(run: Run, ns: Namespace, address: str) -> bool:
    """
    May a socket call from the address?

    IPv4 asks the routes (inet_addr_type_table), IPv6 the devices, also one that is down, whose
    addresses have no route (ipv6_chk_addr).
    """
    return ns.owns(address) if ":" in address else address_type(run, ns, address) == "LOCAL"


def _may_send(run: Run, ns: Namespace, skb: Skb) -> bool:
    """
    May the packet's socket send from its source?

    IPv4 asks that of every packet (ip_route_output_key_hash_rcu).  IPv6 asks who binds a socket or names
    a source (udp); what answers from where it was asked is not asked again (inet6_csk_route_req,
    icmpv6_echo_reply), also at an address that is only a local route.
    """
    packet = skb.packet
    if packet.family == 6 and packet.proto != "udp" and run.leg not in ("request", "ack", "data"):
        return True
    return _may_bind(run, ns, packet.src)


def send(run: Run, skb: Skb) -> Next:
    """Choose the route and, if the packet has none, the source; both *before* OUTPUT."""
    ns = namespace(run, skb.netns)
    socket_sends(run, ns, skb)
    lo = ns.links.get("lo")
    packet = skb.packet
    if packet.src and skb.own and not _may_send(run, ns, skb):
        run.step(
            skb,
            Stage.SEND,
            "drop",
            ref=f"{ns.name}/addresses/{packet.src}",
            text=f"{packet.src} is not an address of {ns.name}",
            stops=True,
        )
        ended(Verdict.MARTIAN, f"{packet.src} is not an address of {ns.name}", "EADDRNOTAVAIL")
    decided = _kept(run, skb) or output_route(run, ns, skb)
    if isinstance(decided, Failed):
        run.step(skb, Stage.SEND, "send")
        _no_route(run, skb, decided)
    if not packet.src:
        if not decided.source:
            undecided(f"{ns.name} has no source address towards {packet.dst}", f"{ns.name}/addresses")
        skb.packet = replace(packet, src=decided.source)
        if skb.own and packet.proto in ("tcp", "udp") and packet.family == 4:
            # a connected socket looks again, now with its source (ip_route_connect)
            again = output_route(run, ns, skb)
            if isinstance(again, Failed):
                run.step(skb, Stage.SEND, "send")
                _no_route(run, skb, again)
            decided = again
    skb.route = decided
    skb.forgets_mtu = _forgets_mtu(packet.family, decided)
    if skb.hops and packet.family == 6:
        skb.packet = replace(skb.packet, ttl=hop_limit(ns, decided))
    run.step(skb, Stage.SEND, "send")
    device = lo if decided.device == "lo" else ns.link(decided.device)
    mtu = decided.route.mtu or (_mtu(ns, device, packet.family) if device is not None else 65536)
    in_parts = packet.size > mtu and not packet.df
    _route_step(run, ns, skb, decided, note=f"leaves in fragments of {mtu}" if in_parts else "")
    check_out(run, ns, skb, decided, errno="EPERM")
    if device is None or not device.up:
        run.step(
            skb,
            Stage.TRANSMIT,
            "drop",
            device=decided.device,
            ref=f"{ns.name}/links/{decided.device}",
            text=f"{decided.device} is down",
            stops=True,
        )
        ended(Verdict.LINK_DOWN, f"{decided.device} of {ns.name} is down", "ENETUNREACH")
    if run.leg == "request" and skb.own:
        run.sent, run.connected = skb.packet, decided
    if packet.proto == "tcp" and "SYN" in packet.tcp_flags:
        skb.mss = skb.offered = mtu - _HEADERS[packet.family]
    if in_parts:
        skb.fragments = mtu if packet.family == 6 else fragment_size(mtu)
    if packet.size > mtu and packet.df:
        run.step(
            skb,
            Stage.FORWARD,
            "drop",
            device=decided.device,
            ref=f"{ns.name}/links/{decided.device}",
            text=f"mtu {mtu}",
            note=f"{packet.size} bytes may not be fragmented",
            stops=True,
        )
        ended(Verdict.TOO_BIG, f"{packet.size} bytes do not fit {decided.device}'s MTU {mtu}", "EMSGSIZE")
    return Next.LOCAL_OUT


def _forgets_mtu(family: int, decided: Decision) -> bool:
    """
    May no exception be kept at the route?

    IPv4's output route to an address of another device than lo has no fib_info, and is looked for without
    exceptions (__mkroute_output).
    """
    hop = decided.hop
    return family == 4 and decided.kind == "local" and hop is not None and hop.device != "lo"


def _kept(run: Run, skb: Skb) -> Decision | None:
    """
    Return the route that a connected socket found for its first packet and keeps (sk_dst_check).

    IPv6 looked for it without a source.  IPv4 looks again at once, with the source.
    """
    later = skb.own and run.leg in ("ack", "data")
    return run.connected if later and skb.packet.family == 6 else None


def _mtu(ns: Namespace, device: Link, family: int) -> int:
    return ns.mtu6(device.name) if family == 6 else device.mtu


def send_by_port(run: Run, skb: Skb) -> Next:
    """
    Answer with a frame by the bridge port that the offender came by (nf_send_reset).

    No hook sees it.  It needs a route all the same (ip_route_me_harder), which then is not taken.
    """
    ns = namespace(run, skb.netns)
    run.step(
        skb,
        Stage.SEND,
        "send",
        device=skb.device,
        ref=f"{ns.name}/links/{skb.device}",
        text=f"back by {skb.device}",
        note="a bridged packet is reset by a frame that no rule sees and nobody translates",
    )
    decided = output_route(run, ns, skb)
    if isinstance(decided, Failed):
        _no_route(run, skb, decided)
    check_out(run, ns, skb, decided)
    return Next.TRANSMIT


def _route_step(run: Run, ns: Namespace, skb: Skb, decided: Decision, note: str = "") -> None:
    run.step(
        skb,
        Stage.ROUTE,
        "local" if decided.kind == "local" else "route",
        device=decided.device,
        ref=f"{ns.name}/routes/{decided.route.table}/{decided.route.dst}",
        text=decided.text,
        note=note,
    )


def _no_route(run: Run, skb: Skb, failed: Failed, *, visible: bool = True) -> NoReturn:
    run.step(skb, Stage.ROUTE, "drop", ref=failed.ref, text=failed.text, stops=True)
    verdict = Verdict.BLACKHOLED if failed.blackhole else Verdict.NO_ROUTE
    if failed.errno == "EINVAL" and not failed.blackhole:
        verdict = Verdict.MARTIAN
    ended(verdict, failed.text, failed.errno if visible else None)


def local_out(run: Run, skb: Skb) -> Next:
    """
    OUTPUT.  Its chains see the device of the first route even after the second one.

    What IPVS sends on passes all of it, the node's own packets from the beginning again.
    """
    ns = namespace(run, skb.netns)
    route, before = skb.route, skb.packet
    try:
        run_hook(run, skb, HookPoint(ns, "output", None, route.device if route else None), reroute=_reroute)
    except Stolen:
        return Next.LOCAL_OUT
    if skb.packet.dst == before.dst and skb.packet.dport != before.dport:
        check_rewritten(run, ns, skb)  # nf_nat_ipv4_local_fn: another port alone is no reason to route again
    if skb.route is not None and skb.route.kind == "discard":
        refuse6(run, ns, skb, Failed("ENETUNREACH", *_named(ns, skb.route)))
    return Next.POSTROUTING


def _named(ns: Namespace, decided: Decision) -> tuple[str, str]:
    route = decided.route
    return f"{ns.name}/routes/{route.table}/{route.dst}", route_text(route)


def _reroute(run: Run, skb: Skb) -> None:
    """
    Route again for the new destination or mark, the source kept (ip_route_me_harder).

    Where that fails the packet is dropped; TCP's connect does not look at the error and
    goes on trying.
    """
    ns = namespace(run, skb.netns)
    bound, skb.bound = skb.bound, skb.bound if skb.own else None
    decided = output_route(run, ns, skb, again=True)
    skb.bound = bound
    if isinstance(decided, Failed):
        _no_route(run, skb, decided, visible=skb.packet.proto != "tcp")
    else:
        skb.route = decided
        _route_step(run, ns, skb, decided, note="routed again after OUTPUT changed it")
        check_out(run, ns, skb, decided, errno=None if skb.packet.proto == "tcp" else "EPERM")
