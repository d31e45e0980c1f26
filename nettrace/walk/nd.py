"""
Neighbour discovery played through: who is asked, who would answer, and which rules are in the way.

Lives here: ndisc_solicit, ndisc_recv_ns, and the way of both messages through ip6tables: unlike
ARP they are IPv6 packets, and a rule that drops them makes a neighbour unreachable.
Not here: what follows from the answer (neighbour), following a multicast (segment).
Sources: net/ipv6/ndisc.c, net/bridge/br_netfilter_hooks.c.
"""

from typing import Literal, NamedTuple

from msgspec.structs import replace

from nettrace.model.addr import address_text, address_value, is_link_local, is_multicast
from nettrace.model.links import Link
from nettrace.model.packet import Packet
from nettrace.model.step import Verdict
from nettrace.walk.context import Ended, Run, ended
from nettrace.walk.fib import Failed
from nettrace.walk.hooks import bridge_hook, netdev_hook, run_hook
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.routing import flow_key, lookup, select_hop
from nettrace.walk.routing6 import has_anycast
from nettrace.walk.segment import Bridged, Station
from nettrace.walk.skb import Skb
from nettrace.walk.source6 import link_local_of, usable6
from nettrace.walk.xfrm import plain_or_undecided

__all__ = ["asking_address6", "calls_ip6tables", "discover"]

_SOLICITATION, _ADVERTISEMENT = 135, 136
_HOP_LIMIT = 255  # RFC 4861 7.1.1: it has not been forwarded
_SIZE = 72  # header 40, message 24, one link-layer option 8
#: Neighbours of which a solicitation teaches nothing (neigh_update): the answer goes where they say.
_UNTAUGHT = ("permanent", "noarp")
_SOLICITED_NODE = address_value("ff02::1:ff00:0")


def asking_address6(ns: Namespace, link: Link, source: str) -> str | None:
    """
    Return the source of the solicitation for a packet from *source*; None if none can be sent.

    The packet's own source if that is an address of the device, else the device's link-local one.
    """
    for one in ns.addresses6(link.name):
        if one.address == source and usable6(ns, one):
            return source
    return link_local_of(ns, link.name)


def discover(run: Run, ns: Namespace, link: Link, station: Station, target: str, sender: str) -> str | None:
    """
    Would *station* answer a solicitation for *target* from *link*, and would its answer arrive?

    Returns None if so, "" if the station has nothing to say about *target*, else what is in the
    way.  Undecided where the state does not tell.
    """
    far = namespace(run, station.netns)
    if not _speaks_for(run, far, station.device, target):
        return ""
    asked = Packet(
        src=sender,
        dst=_solicited_node(target),
        proto="icmpv6",
        icmp_type=_SOLICITATION,
        icmp_code=0,
        size=_SIZE,
        ttl=_HOP_LIMIT,
        df=False,
    )
    answer = Packet(
        src=target,
        dst=sender,
        proto="icmpv6",
        icmp_type=_ADVERTISEMENT,
        icmp_code=0,
        size=_SIZE,
        ttl=_HOP_LIMIT,
        df=False,
    )
    # of a tunnel on the way it is the frame that is followed, by whoever found the station
    way = tuple(hop for hop in station.way if isinstance(hop, Bridged))
    there = _trip(run, asked, (ns, link.name), way, (far, station.device))
    if there:
        return f"the solicitation for {target} is lost: {there}"
    held = far.neighbour(station.device, sender)
    if held is not None and held.state in _UNTAUGHT and held.mac and held.mac.lower() != link.mac.lower():
        return f"the advertisement of {target} is lost: {far.name} has {sender} at {held.mac} for good"
    back = tuple(Bridged(hop.netns, hop.bridge, hop.out_port, hop.in_port) for hop in reversed(way))
    lost = _trip(run, answer, (far, station.device), back, (ns, link.name))
    return f"the advertisement of {target} is lost: {lost}" if lost else None


def _solicited_node(target: str) -> str:
    """RFC 4291 2.7.1."""
    return address_text(_SOLICITED_NODE | address_value(target) & 0xFFFFFF, 6)


def _speaks_for(run: Run, ns: Namespace, device: str, target: str) -> bool:
    """ndisc_recv_ns: an address of that very device, an anycast one, or one it is a proxy for."""
    link = ns.link(device)
    if link.noarp or ns.conf(device, "disable_ipv6", family=6)[0]:
        return False
    for one in ns.addresses6(device):
        if one.address == target:
            return usable6(ns, one)
    if has_anycast(run, ns, target, device) and not is_link_local(target):
        return True
    if not ns.conf(device, "forwarding", family=6)[0] or not ns.conf_max(device, "proxy_ndp", family=6)[0]:
        return False
    return ns.proxies(device, target)


class _Call(NamedTuple):
    """One hook that a message passes, the bridge port it leaves by there, and whose hook it is."""

    skb: Skb
    point: HookPoint
    physout: str | None = None
    kind: Literal["ip", "bridge", "netdev"] = "ip"


def _trip(
    run: Run,
    packet: Packet,
    begin: tuple[Namespace, str],
    way: tuple[Bridged, ...],
    end: tuple[Namespace, str],
) -> str:
    """Pass a message through every hook on its way; return the reason for which it is lost, or ""."""
    (ns, device), (far, arrived) = begin, end
    calls: list[_Call] = []
    skb = Skb(packet, ns.name, device)
    plain_or_undecided(run, ns, skb, "out", "neighbour discovery")  # icmp6_dst_alloc
    plain_or_undecided(run, far, skb, "in", "neighbour discovery")  # icmpv6_rcv
    calls.append(_Call(skb, HookPoint(ns, "output", None, device)))
    calls.append(_Call(skb, HookPoint(ns, "postrouting", None, device)))
    calls.append(_Call(skb, HookPoint(ns, "egress", None, device), kind="netdev"))
    inside: Skb | None = None
    for hop in way:
        here = namespace(run, hop.netns)
        skb = Skb(packet, here.name, hop.bridge, physin=hop.in_port)
        asks = hop.in_port is not None and calls_ip6tables(here, here.link(hop.bridge))
        calls += _over_bridge(here, skb, hop, asks=asks)
        inside = skb if asks and hop.out_port is None else None  # PREROUTING ran in the bridge
    skb = inside or Skb(packet, far.name, arrived)
    calls.append(_Call(skb, HookPoint(far, "ingress", arrived, None), kind="netdev"))
    if inside is None:
        calls.append(_Call(skb, HookPoint(far, "prerouting", arrived, None)))
    calls.append(_Call(skb, HookPoint(far, "input", arrived, None)))
    return _unseen(run, calls)


def _over_bridge(here: Namespace, skb: Skb, hop: Bridged, *, asks: bool) -> list[_Call]:
    """
    Return the hooks of one bridge, from a port or its own device to a port or up to its host.

    *asks*: br_netfilter has ip6tables asked.  The device that the host takes it at comes after.
    """
    came, leaves = hop.in_port, hop.out_port
    calls: list[_Call] = []
    if came is not None:
        calls.append(_Call(skb, HookPoint(here, "ingress", came, None), kind="netdev"))
        calls.append(_Call(skb, HookPoint(here, "prerouting", came, None), kind="bridge"))
    if asks:
        calls.append(_Call(skb, HookPoint(here, "prerouting", hop.bridge, None)))
    if leaves is None:
        calls.append(_Call(skb, HookPoint(here, "input", came, None), kind="bridge"))
        return calls
    between = "forward" if came is not None else "output"
    calls.append(_Call(skb, HookPoint(here, between, came, leaves), kind="bridge"))
    if asks:
        calls.append(_Call(skb, HookPoint(here, "forward", hop.bridge, hop.bridge), leaves))
    calls.append(_Call(skb, HookPoint(here, "postrouting", None, leaves), kind="bridge"))
    if asks:
        calls.append(_Call(skb, HookPoint(here, "postrouting", None, hop.bridge), leaves))
    calls.append(_Call(skb, HookPoint(here, "egress", None, leaves), kind="netdev"))
    return calls


def _unseen(run: Run, calls: list[_Call]) -> str:
    """
    Run hooks without a trace in the walk's steps and answers; return why a packet ended there.

    One whose hop limit a rule has changed is not listened to (ndisc_rcv).
    """
    quiet, answers, run.quiet = run.quiet, list(run.answers), True
    skb = calls[0].skb
    try:
        for there, point, physout, kind in calls:
            there.packet = replace(there.packet, ttl=skb.packet.ttl, tos=skb.packet.tos)
            skb, skb.physout = there, physout
            if kind == "netdev":
                netdev_hook(run, skb, point.ns, point.in_device or point.out_device or "", point.hook)
            elif kind == "bridge":
                bridge_hook(run, skb, point)
            else:
                run_hook(run, skb, point, reroute=_reroute if point.hook == "output" else None)
    except Ended as end:
        return end.reason or str(end.verdict)
    finally:
        run.quiet = quiet
        run.answers[:] = answers
    if skb.packet.ttl != _HOP_LIMIT:
        return f"its hop limit has become {skb.packet.ttl}, and only {_HOP_LIMIT} is heard"
    return ""


def _reroute(run: Run, skb: Skb) -> None:
    """
    Route a message anew whose mark OUTPUT has changed (ip6_route_me_harder): it had no lookup before.

    By another device, or to a router, it comes to nobody who listens: no hop limit but 255 is heard.
    """
    ns = namespace(run, skb.netns)
    to, device = skb.packet.dst, skb.device
    strict = is_multicast(to) or is_link_local(to)
    key = flow_key(skb.packet, oif=device if strict else None)._replace(strict=strict)
    found = lookup(run, ns, key)
    if isinstance(found, Failed):
        ended(Verdict.BLACKHOLED if found.blackhole else Verdict.NO_ROUTE, found.text)
    hop = select_hop(run, ns, found, key)
    if hop is None or (hop.device, hop.via) not in ((device, None), (device, to)):
        ended(Verdict.NO_ROUTE, f"rules of OUTPUT send it by {found.text}")


def calls_ip6tables(ns: Namespace, bridge: Link) -> bool:
    """Does br_netfilter pass this bridge's IPv6 packets to the ip6 hooks?"""
    if ns.number("net.bridge.bridge-nf-call-ip6tables"):
        return True
    return bridge.bridge is not None and bridge.bridge.nf_call_ip6tables
