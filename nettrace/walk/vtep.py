"""
The forwarding database of a VXLAN device, and the outer packet that its entries ask for.

Lives here: which far ends a frame goes to, what is learned from what came.
Not here: the stages (tunnel), who is behind the far ends (segment).
Sources: drivers/net/vxlan/vxlan_core.c (vxlan_xmit, vxlan_xmit_one, vxlan_snoop), RFC 7348.
"""

from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.addr import family_of
from nettrace.model.links import FdbEntry, Link, VxlanAttrs
from nettrace.model.packet import Packet, PortRange
from nettrace.walk.checksum import into_tunnel
from nettrace.walk.context import Carried, Run, undecided
from nettrace.walk.namespace import Namespace
from nettrace.walk.output import output_route
from nettrace.walk.output6 import hop_limit
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Flowing, Skb
from nettrace.walk.stages import Next
from nettrace.walk.xfrm import check_out

__all__ = ["OVERHEAD", "ZERO_MAC", "Far", "carried", "far_ends", "snoop", "wrap"]

#: Outer IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14.
OVERHEAD = {4: 50, 6: 70}

ZERO_MAC = "00:00:00:00:00:00"


class Far(NamedTuple):
    """One far end (struct vxlan_rdst), and the entry that names it."""

    address: str
    port: int
    vni: int
    via: str | None
    ref: str
    text: str


def far_ends(run: Run, ns: Namespace, link: Link, attributes: VxlanAttrs, mac: str) -> list[Far]:
    """
    Return where a frame for *mac* is sent: to those of its own entry, else to the default ones.

    Every far end of an entry gets a copy.
    """
    if attributes.special:
        undecided(
            f"{link.name} of {ns.name} answers for others ({', '.join(attributes.special)}), "
            "which is not walked",
            f"{ns.name}/links/{link.name}",
        )
    learned = run.learned_ends.get((ns.name, link.name, mac))
    if learned is not None:
        ref = f"{ns.name}/fdb/{link.name}/{mac}"
        return [Far(learned, attributes.port, attributes.vni, None, ref, f"{mac} dst {learned}")]
    for wanted in (mac, ZERO_MAC):
        found = [entry for entry in ns.fdb(wanted) if entry.device == link.name and entry.master is None]
        if any(entry.nexthop is not None for entry in found):
            undecided(
                f"{link.name} of {ns.name} sends frames for {mac} to a group of next hops, "
                "which is not walked",
                f"{ns.name}/fdb/{link.name}/{wanted}",
            )
        ends = [_far(ns, attributes, entry) for entry in found if entry.dst]
        if ends:
            return ends
    return []


def _far(ns: Namespace, attributes: VxlanAttrs, entry: FdbEntry) -> Far:
    return Far(
        entry.dst or "",
        entry.port or attributes.port,
        entry.vni if entry.vni is not None else attributes.vni,
        entry.via,
        f"{ns.name}/fdb/{entry.device}/{entry.mac}",
        f"{entry.mac} dst {entry.dst}",
    )


def wrap(run: Run, ns: Namespace, skb: Skb, attributes: VxlanAttrs, far: Far) -> Failed | None:
    """Put the frame into its outer packet and route that; Failed where there is no route."""
    into_tunnel(skb)
    inner = skb.packet
    ports = ns.sysctl("net.ipv4.ip_local_port_range").split()
    outer = Packet(
        src=attributes.local or "",
        dst=far.address,
        proto="udp",
        sport=PortRange(min(int(ports[0]) + _number(run, inner), int(ports[1])), int(ports[1])),
        dport=PortRange(far.port, far.port),
        size=skb.largest + OVERHEAD[family_of(far.address)],
        df=family_of(far.address) == 4
        and (attributes.df == "set" or (attributes.df == "inherit" and inner.df)),
        mark=inner.mark,
        inner=inner,
    )
    skb.inner.append(Flowing(far.vni, inner, skb.source_mac, skb.dest_mac, skb.mss, skb.fragments))
    skb.packet = outer
    skb.forget_conntrack()
    skb.carries_own = skb.own or skb.carries_own
    skb.own, skb.bound, skb.mss, skb.fragments = False, far.via, None, None
    skb.ignore_df = False
    skb.in_port = skb.physin = skb.physout = None
    decided = output_route(run, ns, skb)
    if isinstance(decided, Failed):
        return decided
    if decided.kind == "local":
        undecided(f"{ns.name} tunnels to {far.address}, an address of its own", far.ref, far.text)
    usual = ns.number("net.ipv4.ip_default_ttl") if outer.family == 4 else hop_limit(ns, decided)
    skb.packet = replace(outer, src=outer.src or decided.source, ttl=attributes.ttl or usual)
    skb.route = decided
    check_out(run, ns, skb, decided)
    return None


def _number(run: Run, inner: Packet) -> int:
    """
    Return how many other flows the walk has tunnelled before this one.

    The outer source port is a hash of the flow, the same both ways (udp_flow_src_port): another flow
    has another one, so the symbol for it must be another.
    """
    ports = tuple(str(port) for port in (inner.sport, inner.dport))
    flow = (inner.proto, *sorted((inner.src, inner.dst)), *sorted(ports))
    count = sum(1 for key in run.remembered if isinstance(key, tuple) and key[0] == "outer")
    return run.remembered.setdefault(("outer", *flow), count)


def carried(run: Run, ns: Namespace, link: Link, far: Far, *, source: str, dest: str) -> Carried:
    """Follow a small frame (ARP, or what is flooded) to where one far end unwraps it."""
    attributes = link.vxlan
    if attributes is None or run.carry is None:
        return Carried()
    skb = Skb(Packet(src="", dst="", proto="arp", size=28), ns.name, link.name, source, dest)
    if wrap(run, ns, skb, attributes, far) is not None:
        return Carried()
    return run.carry(skb, Next.LOCAL_OUT)


def snoop(run: Run, ns: Namespace, link: Link, mac: str, end: str) -> str:
    """
    Learn that *mac* is behind the far end *end*; returns why the frame is dropped, "" if it is not.

    What somebody put into the database by hand is believed more than a frame (vxlan_snoop).
    """
    attributes = link.vxlan
    if attributes is None or not attributes.learning:
        return ""
    held = next((entry for entry in ns.fdb(mac) if entry.device == link.name and entry.dst), None)
    if held is not None and held.dst != end and (held.permanent or held.static):
        return f"{mac} is said to be at {held.dst} by hand, and came from {end}"
    run.learned_ends[(ns.name, link.name, mac)] = end
    return ""
