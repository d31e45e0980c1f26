"""
Passing an IPv6 packet on: the switch, hop limit, scope, MTU, the FORWARD hook.

Lives here: ip6_forward, in its order.
Not here: IPv4 (forward).
Source: net/ipv6/ip6_output.c (ip6_forward).  Nobody on the way fragments (RFC 8200).
"""

from msgspec.structs import replace

from nettrace.model.addr import is_link_local, is_loopback
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.hooks import run_hook
from nettrace.walk.icmp6 import NOT_NEIGHBOUR, PACKET_TOO_BIG, TIME_EXCEEDED, UNREACHABLE, send_error6
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.redirect6 import better_hop
from nettrace.walk.skb import Skb
from nettrace.walk.stages import Next
from nettrace.walk.xfrm import check_in, check_out

__all__ = ["MIN_MTU", "forward6", "mtu_of6"]

#: What every IPv6 link carries (IPV6_MIN_MTU).
MIN_MTU = 1280


def mtu_of6(run: Run, skb: Skb) -> int:
    """Return the MTU of the route that was chosen (ip6_mtu)."""
    if skb.route is None:
        undecided("a packet has no route")
    return skb.route.route.mtu or namespace(run, skb.netns).mtu6(skb.route.device)


def forward6(run: Run, skb: Skb) -> Next:
    """Check the switch, hop limit, the source's scope and size, lower the hop limit, and pass FORWARD."""
    ns = namespace(run, skb.netns)
    packet, route = skb.packet, skb.route
    if route is None:
        undecided("a packet is forwarded without a route")
    where = f"{ns.name}/routes/{route.route.table}/{route.route.dst}"
    switched, switch = ns.conf("all", "forwarding", family=6)
    came_in = skb.iif or skb.device
    if not switched and not ns.conf(came_in, "force_forwarding", family=6)[0]:
        reason = f"{switch} is 0, and {packet.dst} is not an address of {ns.name}"
        _drop(run, skb, f"{ns.name}/sysctls/{switch}", f"{switch} = 0", reason)
        ended(Verdict.NOT_FORWARDED, reason)
    check_in(run, ns, skb, "fwd")
    if packet.ttl <= 1:
        _drop(run, skb, where, f"hop limit {packet.ttl}", "its hop limit is used up")
        send_error6(run, skb, TIME_EXCEEDED, 0)
        ended(Verdict.TTL_EXCEEDED, f"the hop limit ran out in {ns.name}")
    check_out(run, ns, skb, route, forwards=True)
    if came_in != route.device and (
        packet.src == "::" or is_loopback(packet.src) or is_link_local(packet.src)
    ):
        reason = f"{packet.src} does not leave its link"
        _drop(run, skb, where, packet.src, reason)
        if is_link_local(packet.src):
            send_error6(run, skb, UNREACHABLE, NOT_NEIGHBOUR)
        ended(Verdict.MARTIAN, reason)
    mtu = max(mtu_of6(run, skb), MIN_MTU)
    if min(packet.size, skb.fragments or packet.size) > mtu and not skb.ignore_df:
        _drop(run, skb, f"{ns.name}/links/{route.device}", f"mtu {mtu}", "nobody on the way fragments IPv6")
        send_error6(run, skb, PACKET_TOO_BIG, 0, mtu=mtu)
        ended(Verdict.TOO_BIG, f"{packet.size} bytes do not fit {route.device}'s MTU {mtu} in {ns.name}")
    shorter = better_hop(run, ns, skb, route)
    skb.packet = replace(packet, ttl=packet.ttl - 1)
    run.step(
        skb, Stage.FORWARD, "accept", before=packet, device=skb.device,
        ref=f"{ns.name}/sysctls/{switch}", text=f"{switch} = {switched}",
        note=f"a redirect, which is not followed, names {shorter} to the sender" if shorter else "",
    )  # fmt: skip
    run_hook(run, skb, HookPoint(ns, "forward", skb.device, route.device))
    skb.own = False
    return Next.POSTROUTING


def _drop(run: Run, skb: Skb, ref: str, text: str, note: str) -> None:
    run.step(skb, Stage.FORWARD, "drop", device=skb.device, ref=ref, text=text, note=note, stops=True)
