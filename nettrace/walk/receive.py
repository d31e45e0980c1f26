"""
A frame arrives at a device.

Lives here: who takes a frame (the bridge, the IP layer, nobody), PREROUTING, INPUT.
Not here: bridges (bridge), what IP does with it then (arrive, deliver).
Sources: net/core/dev.c (__netif_receive_skb_core), net/ethernet/eth.c (eth_type_trans),
net/ipv4/ip_input.c.
"""

from nettrace.model.step import Stage, Verdict
from nettrace.walk.arrive6 import take_frame6
from nettrace.walk.checksum import arrives
from nettrace.walk.context import Run, Stolen, ended, undecided
from nettrace.walk.hooks import netdev_hook, run_hook
from nettrace.walk.macvlan import taken_above
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.programs import on_device
from nettrace.walk.skb import BROADCAST, Skb
from nettrace.walk.stages import Next

__all__ = ["ip_receive", "local_in", "receive"]


def receive(run: Run, skb: Skb) -> Next:
    """A frame is at *skb*'s device; an empty MAC address fits anybody (lo, a frame from outside)."""
    ns = namespace(run, skb.netns)
    link = ns.link(skb.device)
    if not link.up:
        run.step(skb, Stage.RECEIVE, "drop", ref=f"{ns.name}/links/{link.name}", text="down", stops=True)
        ended(Verdict.LINK_DOWN, f"{link.name} of {ns.name} is down")
    on_device(ns, link)
    netdev_hook(run, skb, ns, link.name, "ingress")
    _meets_itself(run, skb)
    run.step(skb, Stage.RECEIVE, "receive", ref=f"{ns.name}/links/{link.name}", text=link.kind)
    if link.master is not None:
        if ns.link(link.master).kind != "bridge":
            undecided(
                f"{link.name} of {ns.name} belongs to {link.master}, which is no bridge and not walked yet",
                f"{ns.name}/links/{link.name}",
            )
        return Next.BRIDGE_IN
    if skb.dest_mac != BROADCAST and taken_above(run, ns, skb, link):
        return Next.RECEIVE
    if link.kind == "macvtap":
        undecided(f"{link.name} of {ns.name} gives its frames to a program", f"{ns.name}/links/{link.name}")
    if skb.dest_mac and skb.dest_mac not in (link.mac.lower(), BROADCAST):
        above = [
            one.name
            for one in ns.links.values()
            if one.lower == link.name and one.mac.lower() == skb.dest_mac
        ]
        if above:
            undecided(
                f"{above[0]} on top of {link.name} of {ns.name} takes the frame, which is not walked yet",
                f"{ns.name}/links/{above[0]}",
            )
        run.step(
            skb,
            Stage.RECEIVE,
            "drop",
            ref=f"{ns.name}/links/{link.name}",
            text=f"{link.name} has MAC {link.mac}",
            note=f"the frame is for {skb.dest_mac}",
            stops=True,
        )
        ended(Verdict.OTHERHOST, f"the frame for {skb.dest_mac} reached {ns.name}, whose MAC is {link.mac}")
    return Next.IP_RECEIVE


def _meets_itself(run: Run, skb: Skb) -> None:
    """
    Notice a packet that comes by the same device again.

    With a smaller TTL it goes round until that runs out, if nobody stops it before; with the same TTL a
    bridge sends it in circles, for ever.
    """
    packet = skb.packet
    what = (
        skb.netns,
        skb.device,
        packet.src,
        packet.dst,
        packet.proto,
        packet.dport,
        packet.size,
        len(skb.inner),
    )
    again = (*what, packet.ttl)
    if again in run.seen:
        ended(Verdict.LOOP, f"the packet is at {skb.device} of {skb.netns} again, with the same TTL")
    if what in run.seen and not run.circle:
        run.step(
            skb,
            Stage.RECEIVE,
            "loop",
            note="it was here before, and goes round until its TTL is used up",
            stops=True,
        )
        run.circle = len(run.steps)
    run.seen.update((what, again))


def ip_receive(run: Run, skb: Skb) -> Next:
    """PREROUTING, unless it ran inside the bridge already (ip_sabotage_in)."""
    ns = namespace(run, skb.netns)
    if skb.packet.family == 6:
        take_frame6(run, ns, skb)
    arrives(skb)
    if skb.prerouted:
        # put together inside the bridge; how large the fragments were is forgotten here (ip6_rcv_core
        # clears IP6CB, ip_rcv_core IPCB), so what leaves again is one packet if it fits
        skb.prerouted, skb.ignore_df, skb.fragments = False, skb.fragments is not None, None
    else:
        run_hook(run, skb, HookPoint(ns, "prerouting", skb.device, None))
    return Next.ROUTE_IN


def local_in(run: Run, skb: Skb) -> Next:
    """INPUT; what IPVS takes there it sends on."""
    ns = namespace(run, skb.netns)
    try:
        run_hook(run, skb, HookPoint(ns, "input", skb.device, None))
    except Stolen:
        return Next.LOCAL_OUT
    return Next.DELIVER
