"""
Leaving the host: POSTROUTING, then the device, by what kind of device it is.

Lives here: ip_output, dev_queue_xmit, the far end of a veth, lo.
Not here: the MAC address (neighbour), bridges (bridge), tunnels (tunnel, relay).
Sources: net/ipv4/ip_output.c, drivers/net/veth.c, drivers/net/loopback.c,
net/core/skbuff.c (skb_scrub_packet).
"""

from msgspec.structs import replace

from nettrace.model.links import Link
from nettrace.model.step import Stage, Verdict
from nettrace.walk import checksum
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.forward6 import mtu_of6
from nettrace.walk.hooks import netdev_hook, run_hook
from nettrace.walk.icmp import FRAGMENTATION_NEEDED, send_error
from nettrace.walk.icmp6 import PACKET_TOO_BIG, send_error6
from nettrace.walk.ipip import ipip_out
from nettrace.walk.macvlan import by_macvlan
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.programs import netkit_sends, on_device
from nettrace.walk.relay import relay_out
from nettrace.walk.skb import Decision, Skb, fragment_size
from nettrace.walk.stages import Next
from nettrace.walk.whereabouts import aside
from nettrace.walk.xfrm import check_rewritten

__all__ = ["OUTWARD", "postrouting", "transmit"]

#: Kinds whose frames go where the snapshot cannot follow: hardware, or a program in user space.
OUTWARD = ("device", "tun", "tap")

#: Bytes that the frame may have beyond the far end's MTU (is_skb_forwardable: VLAN_HLEN).
_SLACK = 4


def postrouting(run: Run, skb: Skb) -> Next:
    """POSTROUTING with the device of the route; then the packet needs a MAC address."""
    ns = namespace(run, skb.netns)
    if skb.route is None:
        undecided("a packet leaves without a route")
    before = skb.packet
    run_hook(run, skb, HookPoint(ns, "postrouting", skb.device or None, skb.route.device))
    if (skb.packet.src, skb.packet.sport) != (before.src, before.sport):
        check_rewritten(run, ns, skb)
    own = not skb.device
    skb.device = skb.route.device
    if own:
        (_fit if skb.packet.family == 4 else _fit6)(run, ns, skb, skb.route)
    return Next.NEIGHBOUR


def _fit(run: Run, ns: Namespace, skb: Skb, route: Decision) -> None:
    """
    See whether a packet of this host's own fits the route that it has in the end (ip_finish_output).

    What did not fit the first one went no further than send(); OUTPUT may have found another.
    """
    mtu = route.route.mtu or ns.link(route.device).mtu
    if skb.packet.size <= mtu:
        skb.fragments = None
        return
    if not skb.packet.df:
        if skb.fragments != fragment_size(mtu):
            note = f"leaves in fragments of {mtu}"
            ref = f"{ns.name}/links/{route.device}"
            run.step(skb, Stage.FORWARD, "fragment", ref=ref, text=f"mtu {mtu}", note=note)
        skb.fragments = fragment_size(mtu)
        return
    run.step(
        skb,
        Stage.FORWARD,
        "drop",
        ref=f"{ns.name}/links/{route.device}",
        text=f"mtu {mtu}",
        note=f"{skb.packet.size} bytes may not be fragmented",
        stops=True,
    )
    send_error(run, skb, 3, FRAGMENTATION_NEEDED, local=False, mtu=mtu)
    ended(Verdict.TOO_BIG, f"{skb.packet.size} bytes do not fit {route.device}'s MTU {mtu} in {ns.name}")


def _fit6(run: Run, ns: Namespace, skb: Skb, route: Decision) -> None:
    """
    The same of IPv6 (ip6_finish_output, ip6_fragment).

    What UDP and ICMPv6 send may be fragmented here whatever the socket asked for (ip6_sk_ignore_df),
    TCP's segments may not.
    """
    mtu = mtu_of6(run, skb)
    if skb.packet.size <= mtu:
        skb.fragments = None
        return
    where = f"{ns.name}/links/{route.device}"
    if skb.packet.proto != "tcp":
        if skb.fragments != mtu:
            note = f"leaves in fragments of {mtu}"
            run.step(skb, Stage.FORWARD, "fragment", ref=where, text=f"mtu {mtu}", note=note)
        skb.fragments = mtu
        return
    note = f"{skb.packet.size} bytes may not be fragmented"
    run.step(skb, Stage.FORWARD, "drop", ref=where, text=f"mtu {mtu}", note=note, stops=True)
    send_error6(run, skb, PACKET_TOO_BIG, 0, mtu=mtu)
    ended(Verdict.TOO_BIG, f"{skb.packet.size} bytes do not fit {route.device}'s MTU {mtu} in {ns.name}")


def transmit(run: Run, skb: Skb) -> Next:
    """Hand the frame to its device."""
    ns = namespace(run, skb.netns)
    link = ns.link(skb.device)
    on_device(ns, link)
    netdev_hook(run, skb, ns, link.name, "egress")
    checksum.leaves(run, ns, skb, link.name)
    if not link.up:
        _down(run, ns, skb, link, f"{link.name} is down")
    if link.kind == "loopback":
        return _loop_back(run, skb)
    if link.paired:
        return _to_peer(run, ns, skb, link)
    if link.kind == "netkit":
        netkit_sends(run, ns, link)
    if link.kind == "bridge":
        return Next.BRIDGE_OUT
    if link.kind == "vxlan":
        return Next.ENCAPSULATE
    if link.kind == "ipip":
        return ipip_out(run, ns, skb, link)
    if link.macvlan is not None:
        return by_macvlan(run, ns, skb, link)
    if link.kind == "dummy":
        run.step(skb, Stage.TRANSMIT, "drop", ref=f"{ns.name}/links/{link.name}", text="dummy", stops=True)
        ended(Verdict.BLACKHOLED, f"{link.name} is a dummy device: what it sends is gone")
    if link.kind == "tun" and (carried := relay_out(run, ns, skb, link)) is not None:
        return carried
    if link.kind in OUTWARD:
        where = "a program of user space" if link.kind != "device" else "the network outside"
        run.step(
            skb,
            Stage.TRANSMIT,
            "leaves",
            ref=f"{ns.name}/links/{link.name}",
            text=link.kind,
            note=f"{link.name} leads to {where}",
        )
        whom = aside(run.snapshot, skb.packet.dst)
        ended(Verdict.LEFT_SNAPSHOT, f"it left {ns.name} by {link.name}, which leads to {where}{whom}")
    undecided(
        f"{link.name} of {ns.name} is of kind {link.kind}, which is not walked yet",
        f"{ns.name}/links/{link.name}",
        link.kind,
    )


def _down(run: Run, ns: Namespace, skb: Skb, link: Link, text: str) -> None:
    run.step(
        skb,
        Stage.TRANSMIT,
        "drop",
        device=link.name,
        ref=f"{ns.name}/links/{link.name}",
        text=text,
        stops=True,
    )
    ended(Verdict.LINK_DOWN, f"{text} in {ns.name}")


def _loop_back(run: Run, skb: Skb) -> Next:
    """Over lo a packet keeps its connection, its mark and its route (loopback_xmit)."""
    skb.own = skb.carries_own = skb.by_kernel = False
    skb.dest_mac = skb.source_mac = ""
    return Next.RECEIVE


def _to_peer(run: Run, ns: Namespace, skb: Skb, link: Link) -> Next:
    """Come out of the other end of a veth; into another namespace without mark and connection."""
    if (ns.name, link.name) == (run.flow.origin.netns, run.flow.origin.device):
        run.step(
            skb,
            Stage.TRANSMIT,
            "leaves",
            ref=f"{ns.name}/links/{link.name}",
            text="veth",
            note="to where the first packet came from",
        )
        ended(Verdict.LEFT_SNAPSHOT, f"it left {ns.name} by {link.name}, where the first packet came from")
    peer = link.peer
    if peer is None or peer.netns is None or peer.netns not in run.snapshot.namespaces:
        run.step(
            skb,
            Stage.TRANSMIT,
            "leaves",
            ref=f"{ns.name}/links/{link.name}",
            text="veth",
            note="its other end is not in the snapshot",
        )
        whom = aside(run.snapshot, skb.packet.dst)
        ended(
            Verdict.LEFT_SNAPSHOT,
            f"it left {ns.name} by {link.name}, whose other end is not in the snapshot{whom}",
        )
    far = namespace(run, peer.netns)
    other = far.link_by_index(peer.ifindex)
    if other is None:
        undecided(
            f"the other end of {link.name} is not among the devices of {peer.netns}",
            f"{ns.name}/links/{link.name}",
        )
    if not other.up:
        _down(run, far, skb, other, f"{other.name} of {far.name}, the other end of {link.name}, is down")
    if skb.largest > other.mtu + _SLACK:
        run.step(
            skb,
            Stage.TRANSMIT,
            "drop",
            ref=f"{far.name}/links/{other.name}",
            text=f"mtu {other.mtu}",
            note=f"{skb.largest} bytes are too many for the other end",
            stops=True,
        )
        ended(
            Verdict.TOO_BIG,
            f"{skb.largest} bytes do not fit the MTU {other.mtu} of {other.name} in {far.name}; "
            "nobody is told",
        )
    run.step(
        skb,
        Stage.TRANSMIT,
        "send",
        ref=f"{ns.name}/links/{link.name}",
        text=f"veth, other end {other.name} in {far.name}",
    )
    skb.forget_conntrack()
    skb.route = None
    skb.own = skb.carries_own = skb.by_kernel = False
    skb.physin = skb.physout = None
    skb.prerouted = skb.ignore_df = False
    skb.in_port = None
    if far.name != ns.name:
        skb.packet = replace(skb.packet, mark=0)
        skb.ipvs = False
    skb.netns, skb.device = far.name, other.name
    return Next.RECEIVE
