"""
IPIP: a packet into another one without anything between, and out of it.

Lives here: the two ends.  A device without a remote end (tunl0) sends to the next hop of the inner
packet's route.
Not here: the outer packet's way, which is any packet's.
Sources: net/ipv4/ip_tunnel.c (ip_tunnel_xmit, tnl_update_pmtu, ip_tunnel_lookup, ip_tunnel_rcv),
net/ipv4/ipip.c, net/ipv4/tunnel4.c; RFC 2003.
"""

from collections.abc import Iterator
from typing import NoReturn

from msgspec.structs import replace

from nettrace.model.links import IpipAttrs, Link
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Verdict
from nettrace.walk.checksum import into_tunnel
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.icmp import FRAGMENTATION_NEEDED, PORT_UNREACHABLE, send_error
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.output import output_route
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Decision, Flowing, Skb
from nettrace.walk.stages import Next
from nettrace.walk.xfrm import check_out

__all__ = ["IPIP", "PROTOCOL", "ipip_in", "ipip_out"]

#: In the place of a VNI: the packet is in another one, with nothing between.
IPIP = -2
#: The number of the protocol.
PROTOCOL = "4"

_HEADER = 20
_DEEPEST = 3


def ipip_out(run: Run, ns: Namespace, skb: Skb, link: Link) -> Next:
    """Wrap a packet up and send the outer one (ip_tunnel_xmit)."""
    attributes = _attributes(ns, link)
    ref = f"{ns.name}/links/{link.name}"
    if skb.packet.family != 4:
        undecided(f"{link.name} of {ns.name} carries IPv4 only, and drops {skb.packet.dst}", ref)
    far = attributes.remote or (skb.route.gateway if skb.route is not None else None) or skb.packet.dst
    text = f"remote {attributes.remote or 'any'} local {attributes.local or 'any'}"
    if len(skb.inner) >= _DEEPEST:
        _lost(
            run, skb, Verdict.LOOP, f"{link.name} of {ns.name} carries its own packets, again and again", ref
        )
    inner = skb.packet
    decided = _wrap(run, ns, skb, attributes, far)
    if isinstance(decided, Failed):
        _lost(run, skb, Verdict.NO_ROUTE, f"the tunnel's outer packet has {decided.text}", decided.ref)
    if decided.device == link.name:
        why = f"the way to {far} leads into {link.name} itself"
        _lost(run, skb, Verdict.LOOP, f"{link.name} of {ns.name} carries its own packets: {why}", ref)
    run.step(
        skb,
        Stage.TUNNEL,
        "encapsulate",
        device=link.name,
        before=inner,
        ref=ref,
        text=text,
        note=f"IPIP to {far}",
    )
    return Next.LOCAL_OUT


def _attributes(ns: Namespace, link: Link) -> IpipAttrs:
    ref = f"{ns.name}/links/{link.name}"
    if link.ipip is None:
        undecided(f"{link.name} of {ns.name} is of kind ipip without attributes", ref)
    if link.ipip.special:
        undecided(f"{link.name} of {ns.name} has {', '.join(link.ipip.special)}, which is not walked", ref)
    return link.ipip


def _lost(run: Run, skb: Skb, verdict: Verdict, text: str, ref: str) -> NoReturn:
    run.step(skb, Stage.TUNNEL, "drop", ref=ref, text=text, stops=True)
    ended(verdict, text)


def _wrap(run: Run, ns: Namespace, skb: Skb, attributes: IpipAttrs, far: str) -> Decision | Failed:
    """
    Put the packet into its outer one, and route that.

    The route is looked up with the device's own mark, not the packet's, which stays on it.
    """
    inner, size = skb.packet, skb.largest
    outer = Packet(
        src=attributes.local or "",
        dst=far,
        proto=PROTOCOL,
        size=size + _HEADER,
        df=attributes.pmtudisc or inner.df,
        mark=attributes.fwmark,
        inner=inner,
        ttl=attributes.ttl or inner.ttl,
    )
    into_tunnel(skb)
    carried = Flowing(IPIP, inner, skb.source_mac, skb.dest_mac, skb.mss, skb.fragments)
    skb.packet, kept = outer, (skb.packet, skb.own, skb.bound)
    skb.own, skb.bound = False, attributes.device
    decided = output_route(run, ns, skb)
    skb.packet, skb.own, skb.bound = kept
    if isinstance(decided, Failed):
        return decided
    if decided.kind == "local":
        undecided(f"{ns.name} tunnels to {far}, an address of its own", f"{ns.name}/routes")
    mtu = (decided.route.mtu or ns.link(decided.device).mtu) - _HEADER
    if inner.df and size > mtu:
        _too_big(run, ns, skb, mtu, decided.device)
    skb.inner.append(carried)
    skb.packet = replace(outer, src=outer.src or decided.source, mark=inner.mark)
    skb.forget_conntrack()
    skb.carries_own = skb.own or skb.carries_own
    skb.own, skb.bound, skb.mss, skb.fragments = False, None, None, None
    skb.source_mac = skb.dest_mac = ""
    skb.in_port = skb.physin = skb.physout = None
    skb.route = decided
    check_out(run, ns, skb, decided)
    return decided


def _too_big(run: Run, ns: Namespace, skb: Skb, mtu: int, device: str) -> NoReturn:
    text = f"mtu {mtu} inside the tunnel over {device}"
    ref, note = f"{ns.name}/links/{device}", f"{skb.packet.size} bytes may not be fragmented"
    run.step(skb, Stage.TUNNEL, "drop", ref=ref, text=text, note=note, stops=True)
    send_error(run, skb, 3, FRAGMENTATION_NEEDED, local=False, mtu=mtu)
    ended(Verdict.TOO_BIG, f"{skb.packet.size} bytes do not fit the tunnel over {device} in {ns.name}")


def ipip_in(run: Run, skb: Skb) -> Next | None:
    """Take the inner packet out where a device takes it; None for what is no such packet, or unknown."""
    outer = skb.packet
    if outer.proto != PROTOCOL or outer.family != 4 or not skb.inner or skb.inner[-1].vni != IPIP:
        return None
    ns = namespace(run, skb.netns)
    there = [link for link in ns.links.values() if link.kind == "ipip"]
    if not there:
        return None  # whether the kernel has the protocol no device tells
    taker = next(_takers(ns, there, outer), None)
    ref = f"{ns.name}/links/{(taker or there[0]).name}"
    if taker is None:
        held = ", ".join(f"{link.name} is {'up' if link.up else 'down'}" for link in there)
        text = f"no IPIP device takes what {outer.src} sends to {outer.dst}: {held}"
        run.step(skb, Stage.TUNNEL, "drop", ref=ref, text=text, stops=True)
        send_error(run, skb, 3, PORT_UNREACHABLE, local=True, attach=False)
        ended(Verdict.NO_TUNNEL_DESTINATION, f"{text} ({ns.name})")
    flowing = skb.inner.pop()
    skb.packet = replace(flowing.packet, mark=outer.mark)
    skb.source_mac = skb.dest_mac = ""
    skb.mss, skb.fragments = flowing.mss, flowing.fragments
    skb.forget_conntrack()
    skb.route = skb.bound = None
    skb.in_port = skb.physin = skb.physout = None
    skb.prerouted = False
    skb.device = taker.name
    run.step(skb, Stage.TUNNEL, "decapsulate", before=outer, ref=ref, text=f"ipip from {outer.src}")
    return Next.RECEIVE


def _takers(ns: Namespace, links: list[Link], outer: Packet) -> Iterator[Link]:
    """
    Yield the devices that take a packet, the one that does first (ip_tunnel_lookup).

    Both ends given, then the far one, then the own; then tunl0, which every namespace has.
    """
    up = [(link, _attributes(ns, link)) for link in links if link.up]
    wanted = ((outer.src, outer.dst), (outer.src, None), (None, outer.dst))
    for remote, local in wanted:
        yield from (link for link, one in up if (one.remote, one.local) == (remote, local))
    yield from (link for link, one in up if link.name == "tunl0" and one.remote is None)
