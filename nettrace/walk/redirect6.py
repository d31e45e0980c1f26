"""
A router that tells the sender of a shorter way.

Lives here: when ip6_forward sends a redirect, and which next hop it names.
Not here: what the sender makes of it: later packets are walked by the router all the same, and a note
says so.
Sources: net/ipv6/ip6_output.c (ip6_forward), net/ipv6/ndisc.c (ndisc_send_redirect), RFC 4861 section 8.
"""

from nettrace.model.addr import is_link_local
from nettrace.walk.context import Run
from nettrace.walk.fib import Failed, FlowKey
from nettrace.walk.namespace import Namespace
from nettrace.walk.routing import lookup
from nettrace.walk.skb import Decision, Skb
from nettrace.walk.source6 import link_local_of

__all__ = ["better_hop"]


def better_hop(run: Run, ns: Namespace, skb: Skb, route: Decision) -> str | None:
    """
    Return the next hop that the sender is told of, None where the kernel tells it of none.

    The packet leaves by the device that it came in by, its sender is on that link, and the next hop
    is the destination itself or has a link-local address.  Rate limits are set aside.
    """
    device = skb.iif or skb.device
    target = route.gateway or skb.packet.dst
    if device != route.device or link_local_of(ns, device) is None:
        return None
    if target != skb.packet.dst and not is_link_local(target):
        return None
    back = lookup(run, ns, FlowKey(dst=skb.packet.src, oif=device, proto="icmpv6"))
    if isinstance(back, Failed) or back.hop is None or back.hop.via is not None:
        return None
    return target
