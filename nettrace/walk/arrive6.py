"""
An IPv6 packet has come in: may it, and whose is it?

Lives here: the addresses that no frame may bring, the input route, what a refusal answers.
Not here: forwarding (forward6), IPv4 (arrive).
Sources: net/ipv6/ip6_input.c (ip6_rcv_core), net/ipv6/route.c (ip6_route_input, ip6_pkt_drop).
IPv6 has no reverse-path filter and no rule against a source that is this host's own.
"""

from typing import NoReturn

from nettrace.model.addr import is_loopback, is_multicast
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.fib import Failed
from nettrace.walk.icmp6 import ADM_PROHIBITED, NO_ROUTE, UNREACHABLE, send_error6
from nettrace.walk.namespace import Namespace
from nettrace.walk.routing import flow_key, lookup, select_hop
from nettrace.walk.skb import Decision, Skb

__all__ = ["input_route6", "refuse6", "take_frame6"]

#: errno of the lookup -> code of destination unreachable; others are silent (ip6_rt_init_dst_reject).
_ANSWERS = {"ENETUNREACH": NO_ROUTE, "EHOSTUNREACH": NO_ROUTE, "EACCES": ADM_PROHIBITED}


def take_frame6(run: Run, ns: Namespace, skb: Skb) -> None:
    """Refuse what ip6_rcv_core refuses, before any hook sees it."""
    packet, device = skb.packet, skb.device
    disabled, name = ns.conf(device, "disable_ipv6", family=6)
    if disabled:
        _drop(run, ns, skb, Verdict.LINK_DOWN, f"IPv6 is off on {device}: {name} is 1", f"sysctls/{name}")
    if device != "lo":
        for address in (packet.src, packet.dst):
            if is_loopback(address):
                _drop(run, ns, skb, Verdict.MARTIAN, f"{address} may not come in from outside", "addresses")
    if is_multicast(packet.src):
        _drop(run, ns, skb, Verdict.MARTIAN, f"{packet.src} is no source address", "addresses")
    if skb.iif is None:
        skb.iif = device


def _drop(run: Run, ns: Namespace, skb: Skb, verdict: Verdict, reason: str, what: str) -> NoReturn:
    run.step(skb, Stage.RECEIVE, "drop", ref=f"{ns.name}/{what}", text=reason, stops=True)
    ended(verdict, reason)


def input_route6(run: Run, ns: Namespace, skb: Skb, device: str) -> Decision | Failed:
    """Decide on the packet as it is now, after destination NAT, as if it came in by *device*."""
    packet = skb.packet
    if is_multicast(packet.dst):
        undecided(f"{packet.dst} is not one host; such packets are not walked", f"{ns.name}/routes")
    key = flow_key(packet, iif=device)
    found = lookup(run, ns, key)
    if isinstance(found, Failed):
        return found
    route = found.route
    if route.type in ("local", "anycast"):
        return Decision("local", "lo", None, route, found.hop)
    if route.type != "unicast":
        undecided(f"{packet.dst} has a {route.type} route in {ns.name}, which is not walked", found.ref)
    hop = select_hop(run, ns, found, key)
    if hop is None or hop.device is None:
        undecided(f"route {found.text} names no device", found.ref, found.text)
    return Decision("unicast", hop.device, hop.via, route, hop)


def refuse6(run: Run, ns: Namespace, skb: Skb, failed: Failed, *, silent: bool = False) -> NoReturn:
    """Drop a packet without a route, and answer as ip6_pkt_drop does, also where forwarding is off."""
    note = f"{skb.packet.dst} is not an address of {ns.name}"
    run.step(
        skb, Stage.ROUTE, "drop", device=skb.device, ref=failed.ref, text=failed.text, note=note, stops=True
    )
    code = _ANSWERS.get(failed.errno)
    if code is not None and not silent and skb.packet.dst != "::":
        send_error6(run, skb, UNREACHABLE, code)
    ended(Verdict.BLACKHOLED if failed.blackhole else Verdict.NO_ROUTE, failed.text)
