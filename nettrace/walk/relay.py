"""
Programs that carry packets over UDP: behind TUN devices, into the outer packet and out of it.

Lives here: the two ends, and where a program may capture frames, of whose way no more is known.  What it
does with a packet is data of the snapshot (Relay).
Not here: where the data come from (plugins, nettrace.app.context), the outer packet's way, which
is any packet's.
Sources: drivers/net/tun.c; net/ipv4/udp.c and ip_output.c for the outer packet (__ip_make_skb).
"""

from msgspec.structs import replace

from nettrace.model.addr import in_prefix
from nettrace.model.links import Link
from nettrace.model.packet import Packet, PortRange
from nettrace.model.relay import Relay
from nettrace.model.step import Stage, Verdict
from nettrace.walk.checksum import into_tunnel
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.output import output_route
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Flowing, Skb
from nettrace.walk.stages import Next
from nettrace.walk.xfrm import check_out

__all__ = ["RELAYED", "captured", "relay_in", "relay_out"]

#: In the place of a VNI: the packet is in a relay's, not in a VXLAN packet.
RELAYED = -1

_OVERHEAD = 28  # IPv4 20, UDP 8
_DEEPEST = 3


def captured(run: Run, ns: Namespace, link: Link) -> str | None:
    """
    Say who captures the frames that come to a device, None if nobody is known to.

    Asked of a veth without address whose other end is a port of a bridge of its own namespace: what the
    bridge sends there comes back to the host that sent it, and only a program can want it.
    """
    if not link.paired or link.master is not None or ns.addresses(link.name):
        return None
    peer = link.peer
    other = ns.link_by_index(peer.ifindex) if peer is not None and peer.netns == ns.name else None
    if other is None or other.master is None:
        return None
    relays: tuple[Relay, ...] = run.section(ns.name, "relays")
    return next((one.unfollowed for one in relays if one.device == link.name and one.unfollowed), None)


def relay_out(run: Run, ns: Namespace, skb: Skb, link: Link) -> Next | None:
    """Hand a packet to the program behind a TUN device; None where nobody knows what it does with it."""
    relays: tuple[Relay, ...] = run.section(ns.name, "relays")
    mine = [relay for relay in relays if relay.device == link.name and not relay.unfollowed]
    fitting = [relay for relay in mine if in_prefix(skb.packet.dst, relay.prefix)]
    if not fitting or skb.packet.family != 4:
        return None
    relay = max(fitting, key=lambda one: int(one.prefix.rpartition("/")[2]))
    ref = f"{ns.name}/relays/{relay.device}/{relay.prefix}"
    text = f"{relay.prefix} to {relay.far}:{relay.far_port}, by {relay.owner} ({relay.source})"
    if len(skb.inner) >= _DEEPEST:
        run.step(skb, Stage.TUNNEL, "drop", ref=ref, text=text, stops=True)
        ended(Verdict.LOOP, f"{link.name} of {ns.name} carries its own packets, again and again")
    inner = _lowered(run, ns, skb, relay, ref)
    before = skb.packet
    failed = _wrap(run, ns, skb, inner, relay)
    if failed is not None:
        run.step(skb, Stage.TUNNEL, "drop", ref=ref, text=failed.text, stops=True)
        ended(Verdict.NO_ROUTE, f"{relay.owner}'s outer packet has {failed.text}")
    run.step(
        skb,
        Stage.TUNNEL,
        "encapsulate",
        device=link.name,
        before=before,
        ref=ref,
        text=text,
        note=f"{relay.owner} sends it to {relay.far} by UDP",
    )
    return Next.LOCAL_OUT


def _lowered(run: Run, ns: Namespace, skb: Skb, relay: Relay, ref: str) -> Packet:
    """Return the packet with the TTL that the program leaves it; it drops one without."""
    ttl = skb.packet.ttl - relay.hops
    if relay.hops and ttl <= 0:
        text = f"{relay.owner} lowers the TTL by {relay.hops}"
        run.step(skb, Stage.TUNNEL, "drop", ref=ref, text=text, stops=True)
        ended(Verdict.TTL_EXCEEDED, f"{relay.owner} on {ns.name} drops it for its TTL, and tells nobody")
    return replace(skb.packet, ttl=ttl)


def _wrap(run: Run, ns: Namespace, skb: Skb, inner: Packet, relay: Relay) -> Failed | None:
    """Put the packet into one that the program's socket sends, and route that."""
    outer = Packet(
        src=relay.local,
        dst=relay.far,
        proto="udp",
        sport=PortRange(relay.port, relay.port),
        dport=PortRange(relay.far_port, relay.far_port),
        size=skb.largest + _OVERHEAD,
        inner=replace(inner, mark=0),
    )
    into_tunnel(skb)
    # the program reads single packets: those of a fragmented one are carried one by one
    skb.inner.append(Flowing(RELAYED, replace(inner, mark=0), "", "", skb.mss, skb.fragments))
    skb.packet = outer
    skb.source_mac = skb.dest_mac = ""
    skb.forget_conntrack()
    skb.own, skb.bound, skb.mss, skb.fragments = False, None, None, None
    skb.in_port = skb.physin = skb.physout = None
    decided = output_route(run, ns, skb)
    if isinstance(decided, Failed):
        return decided
    if decided.kind == "local":
        undecided(f"{relay.owner} of {ns.name} sends to {relay.far}, an address of its own")
    mtu = decided.route.mtu or ns.link(decided.device).mtu
    # a UDP socket discovers the path's MTU, and fragments what does not fit the first device
    skb.packet = replace(outer, ttl=ns.number("net.ipv4.ip_default_ttl"), df=outer.size <= mtu)
    skb.route = decided
    check_out(run, ns, skb, decided)
    return None


def relay_in(run: Run, skb: Skb) -> Next | None:
    """Take the carried packet out where a program has the socket; None where none has it."""
    if not skb.inner or skb.inner[-1].vni != RELAYED:
        return None
    ns = namespace(run, skb.netns)
    outer = skb.packet
    relays: tuple[Relay, ...] = run.section(ns.name, "relays")
    port = outer.dport.single if outer.dport is not None else None
    relay = next((one for one in relays if (one.local, one.port) == (outer.dst, port)), None)
    if relay is None:
        return None
    flowing = skb.inner.pop()
    ref = f"{ns.name}/relays/{relay.device}"
    skb.packet = flowing.packet
    skb.packet = _lowered(run, ns, skb, relay, ref)
    skb.source_mac = skb.dest_mac = ""
    skb.mss, skb.fragments = flowing.mss, flowing.fragments
    skb.forget_conntrack()
    skb.route = skb.bound = None
    skb.own = skb.by_kernel = False
    skb.in_port = skb.physin = skb.physout = None
    skb.prerouted = False
    skb.device = relay.device
    run.step(
        skb,
        Stage.TUNNEL,
        "decapsulate",
        before=outer,
        ref=ref,
        text=f"{relay.owner} at UDP port {relay.port}",
    )
    return Next.RECEIVE
