"""
ARP through the chains of nftables that stand in its way.

Lives here: a request and its answer, at devices, in bridges and in the family arp.
Not here: who would answer (neighbour), whom a broadcast reaches (segment).
Sources: net/ipv4/arp.c (arp_send_dst, arp_rcv), net/bridge/br_input.c, br_forward.c.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nettrace.model.packet import Packet
from nettrace.walk.context import Ended, Run
from nettrace.walk.hooks import arp_hook, bridge_hook, netdev_hook
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.segment import Bridged, Tunnelled, Way
from nettrace.walk.skb import BROADCAST, Skb

__all__ = ["End", "answer_lost", "request_lost"]

#: Bytes of an ARP packet for IPv4.
_SIZE = 28


class End(NamedTuple):
    """A device that asks or answers: namespace, device, MAC address and IPv4 address."""

    ns: Namespace
    device: str
    mac: str
    address: str


def request_lost(run: Run, asker: End, station: End, way: Way) -> str:
    """Return why a broadcast request is lost on its way to *station*, "" if it arrives."""
    lost = _trip(run, asker, station, way, BROADCAST)
    return f"the request for {station.address} is lost: {lost}" if lost else ""


def answer_lost(run: Run, asker: End, station: End, way: Way) -> str:
    """Return why the answer is lost on its way back, "" if it arrives."""
    lost = _trip(run, station, asker, _backwards(way), asker.mac)
    return f"the answer of {station.ns.name} is lost: {lost}" if lost else ""


def _backwards(way: Way) -> Way:
    found: list[Bridged | Tunnelled] = []
    for hop in reversed(way):
        if isinstance(hop, Bridged):
            found.append(Bridged(hop.netns, hop.bridge, hop.out_port, hop.in_port))
        else:
            found.append(Tunnelled(hop.far_netns, hop.far_device, hop.netns, hop.device, hop.end))
    return tuple(found)


def _trip(run: Run, one: End, other: End, way: Way, dest: str) -> str:
    skb = Skb(Packet(src=one.address, dst=other.address, proto="arp", size=_SIZE), one.ns.name, one.device)
    skb.source_mac, skb.dest_mac = one.mac, dest
    quiet, run.quiet = run.quiet, True
    try:
        _pass(run, skb, one, other, way)
    except Ended as end:
        return end.reason
    finally:
        run.quiet = quiet
    return ""


def _pass(run: Run, skb: Skb, one: End, other: End, way: Sequence[Bridged | Tunnelled]) -> None:
    """Pass all hooks from device to device; Ended where a rule drops it, Undecided where that is open."""
    arp_hook(run, skb, HookPoint(one.ns, "output", None, one.device))
    netdev_hook(run, skb, one.ns, one.device, "egress")
    for hop in way:
        if isinstance(hop, Bridged):
            _through_bridge(run, skb, hop)
    last = way[-1] if way else None
    skb.netns = other.ns.name
    if not (isinstance(last, Bridged) and last.out_port is None):
        netdev_hook(run, skb, other.ns, other.device, "ingress")
    arp_hook(run, skb, HookPoint(other.ns, "input", other.device, None))


def _through_bridge(run: Run, skb: Skb, hop: Bridged) -> None:
    """In by a port or from the bridge's own device, out by a port or up to its host."""
    ns = namespace(run, hop.netns)
    skb.netns = ns.name
    if hop.in_port is not None:
        netdev_hook(run, skb, ns, hop.in_port, "ingress")
        bridge_hook(run, skb, HookPoint(ns, "prerouting", hop.in_port, None))
    if hop.out_port is None:
        bridge_hook(run, skb, HookPoint(ns, "input", hop.in_port, None))
        netdev_hook(run, skb, ns, hop.bridge, "ingress")
        return
    between = "forward" if hop.in_port is not None else "output"
    bridge_hook(run, skb, HookPoint(ns, between, hop.in_port, hop.out_port))
    bridge_hook(run, skb, HookPoint(ns, "postrouting", None, hop.out_port))
    netdev_hook(run, skb, ns, hop.out_port, "egress")
