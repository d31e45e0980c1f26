"""
Passing a packet on: TTL, MTU, the FORWARD hook.

Lives here: ip_forward.
Not here: whether forwarding is on (arrive asks the device it came in by).
Source: net/ipv4/ip_forward.c.
"""

from msgspec.structs import replace

from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, Stolen, ended, undecided
from nettrace.walk.hooks import run_hook
from nettrace.walk.icmp import FRAGMENTATION_NEEDED, send_error
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Skb, fragment_size
from nettrace.walk.stages import Next
from nettrace.walk.xfrm import check_in, check_out

__all__ = ["forward"]


def forward(run: Run, skb: Skb) -> Next:
    """Check TTL, then size, lower the TTL, and pass FORWARD."""
    ns = namespace(run, skb.netns)
    packet, route = skb.packet, skb.route
    if route is None:
        undecided("a packet is forwarded without a route")
    check_in(run, ns, skb, "fwd")
    if packet.ttl <= 1:
        run.step(
            skb,
            Stage.FORWARD,
            "drop",
            ref=f"{ns.name}/routes/{route.route.table}/{route.route.dst}",
            text=f"TTL {packet.ttl}",
            note="its time to live is used up",
            stops=True,
        )
        send_error(run, skb, 11, 0, local=False)
        ended(Verdict.TTL_EXCEEDED, f"TTL ran out in {ns.name}")
    check_out(run, ns, skb, route, forwards=True)
    mtu = route.route.mtu or ns.link(route.device).mtu
    note = ""
    if packet.size > mtu:
        if packet.df:
            run.step(
                skb,
                Stage.FORWARD,
                "drop",
                device=route.device,
                ref=f"{ns.name}/links/{route.device}",
                text=f"mtu {mtu}",
                note=f"{packet.size} bytes may not be fragmented",
                stops=True,
            )
            send_error(run, skb, 3, FRAGMENTATION_NEEDED, local=False, mtu=mtu)
            ended(Verdict.TOO_BIG, f"{packet.size} bytes do not fit {route.device}'s MTU {mtu} in {ns.name}")
        note = f"leaves in fragments of {mtu}"
        skb.fragments = min(skb.largest, fragment_size(mtu))
    switch = f"net.ipv4.conf.{skb.device.replace('.', '/')}.forwarding"
    skb.packet = replace(packet, ttl=packet.ttl - 1)
    run.step(
        skb,
        Stage.FORWARD,
        "accept",
        before=packet,
        device=skb.device,
        ref=f"{ns.name}/sysctls/{switch}",
        text=f"{switch} = 1",
        note=note,
    )
    try:
        run_hook(run, skb, HookPoint(ns, "forward", skb.device, route.device))
    except Stolen:  # an ICMP error that IPVS sends on
        return Next.LOCAL_OUT
    skb.own = False
    return Next.POSTROUTING
