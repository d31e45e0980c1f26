"""
VXLAN: into a UDP packet to the far end, and out of it there.

Lives here: the tunnel's forwarding database, the outer packet, what the receiver checks.
Not here: the outer packet's way, which is any packet's.
Sources: drivers/net/vxlan/vxlan_core.c (vxlan_xmit, vxlan_xmit_one, vxlan_rcv), RFC 7348.
"""

from msgspec.structs import replace

from nettrace.model.links import FdbEntry, Link, VxlanAttrs
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.routing import Failed
from nettrace.walk.segment import ZERO_MAC
from nettrace.walk.send import output_route
from nettrace.walk.skb import Flowing, Skb
from nettrace.walk.stages import Next

__all__ = ["OVERHEAD", "decapsulate", "encapsulate", "tunnel_at"]

#: Outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14.
OVERHEAD = 50

#: A packet that is in so many tunnels already gets into no further one (dev_xmit_recursion()).
_DEEPEST = 3


def encapsulate(run: Run, skb: Skb) -> Next:
    """Find the far end for the inner MAC address and wrap the frame up."""
    ns = namespace(run, skb.netns)
    link = ns.link(skb.device)
    attributes = link.vxlan
    if attributes is None:
        undecided(f"{link.name} of {ns.name} is a vxlan without attributes", f"{ns.name}/links/{link.name}")
    entry = _far_end(run, ns, skb, link)
    if len(skb.inner) >= _DEEPEST:
        run.step(
            skb,
            Stage.TUNNEL,
            "drop",
            device=link.name,
            ref=f"{ns.name}/fdb/{link.name}/{entry.mac}",
            text=f"{entry.mac} dst {entry.dst}",
            note="the tunnel's own packets go into the tunnel again",
            stops=True,
        )
        ended(Verdict.LOOP, f"{link.name} of {ns.name} carries its own packets: they go into it again and again")
    inner = skb.packet
    ports = ns.sysctl("net.ipv4.ip_local_port_range").split()
    outer = Packet(
        src=attributes.local or "",
        dst=entry.dst or "",
        proto="udp",
        sport=PortRange(int(ports[0]), int(ports[1])),
        dport=PortRange(attributes.port, attributes.port),
        size=inner.size + OVERHEAD,
        df=False,
        mark=inner.mark,
        inner=inner,
    )
    skb.inner.append(Flowing(attributes.vni, inner, skb.source_mac, skb.dest_mac, skb.mss))
    skb.packet = outer
    skb.forget_conntrack()
    skb.own, skb.bound, skb.mss = False, entry.via, None  # vxlan_xmit_one: remote_ifindex
    skb.in_port = skb.physin = skb.physout = None
    decided = output_route(run, ns, skb)
    if isinstance(decided, Failed):
        run.step(skb, Stage.TUNNEL, "drop", ref=decided.ref, text=decided.text, stops=True)
        ended(Verdict.NO_ROUTE, f"the tunnel's outer packet has {decided.text}")
    if decided.kind == "local":
        undecided(
            f"{link.name} of {ns.name} tunnels to {entry.dst}, an address of {ns.name} itself",
            f"{ns.name}/fdb/{link.name}/{entry.mac}",
        )
    skb.packet = replace(outer, src=outer.src or decided.source)
    skb.route = decided
    run.step(
        skb,
        Stage.TUNNEL,
        "encapsulate",
        device=link.name,
        before=inner,
        ref=f"{ns.name}/fdb/{link.name}/{entry.mac}",
        text=f"{entry.mac} dst {entry.dst}",
        note=f"VXLAN {attributes.vni} to {entry.dst}",
    )
    return Next.LOCAL_OUT


def _far_end(run: Run, ns: Namespace, skb: Skb, link: Link) -> FdbEntry:
    """Return the entry for the frame's MAC address, else the default one (vxlan_xmit)."""
    mac = skb.dest_mac
    exact = [entry for entry in ns.fdb(mac) if entry.device == link.name and entry.dst]
    found = exact or [entry for entry in ns.fdb(ZERO_MAC) if entry.device == link.name and entry.dst]
    if not found:
        run.step(
            skb,
            Stage.TUNNEL,
            "drop",
            device=link.name,
            ref=f"{ns.name}/fdb/{link.name}/{mac}",
            text=f"no entry for {mac} on {link.name}, and no default one",
            stops=True,
        )
        ended(Verdict.NO_TUNNEL_DESTINATION, f"{link.name} of {ns.name} has no far end for MAC {mac}")
    if len(found) > 1:
        undecided(
            f"{link.name} of {ns.name} sends frames for {mac} to {len(found)} far ends, "
            "which is not walked yet",
            f"{ns.name}/fdb/{link.name}/{found[0].mac}",
        )
    return found[0]


def tunnel_at(ns: Namespace, packet: Packet) -> list[tuple[Link, VxlanAttrs]]:
    """Return the VXLAN devices of *ns* that listen at a UDP packet's port."""
    if packet.proto != "udp" or packet.dport is None:
        return []
    return [
        (link, link.vxlan)
        for link in ns.links.values()
        if link.vxlan is not None and link.up and packet.dport.single == link.vxlan.port
    ]


def decapsulate(run: Run, skb: Skb, listening: list[tuple[Link, VxlanAttrs]]) -> Next:
    """Unwrap at the device with the same VNI (vxlan_rcv)."""
    ns = namespace(run, skb.netns)
    if not skb.inner:
        undecided(f"a packet of {skb.packet.src} that no tunnel of the walk made ends in a VXLAN device")
    flowing = skb.inner.pop()
    device = next((link for link, attributes in listening if attributes.vni == flowing.vni), None)
    if device is None:
        held = ", ".join(f"{link.name} has {attributes.vni}" for link, attributes in listening)
        run.step(
            skb,
            Stage.TUNNEL,
            "drop",
            ref=f"{ns.name}/links/{listening[0][0].name}",
            text=held,
            note=f"the packet is of VNI {flowing.vni}",
            stops=True,
        )
        ended(Verdict.NO_TUNNEL_DESTINATION, f"{ns.name} has no device with VNI {flowing.vni}: {held}")
    outer = skb.packet
    skb.packet = replace(flowing.packet, mark=outer.mark)
    skb.source_mac, skb.dest_mac, skb.mss = flowing.source_mac, flowing.dest_mac, flowing.mss
    skb.forget_conntrack()
    skb.route = skb.bound = None
    skb.physin = skb.physout = None
    skb.device = device.name
    run.step(
        skb,
        Stage.TUNNEL,
        "decapsulate",
        before=outer,
        ref=f"{ns.name}/links/{device.name}",
        text=f"vxlan id {flowing.vni} at UDP port {outer.dport}",
    )
    if skb.source_mac == device.mac.lower():
        run.step(
            skb, Stage.TUNNEL, "drop", ref=f"{ns.name}/links/{device.name}",
            text=f"{device.name} has the sender's own MAC {device.mac}", stops=True,
        )  # fmt: skip
        ended(Verdict.LOOP, f"the frame in the tunnel has {device.name}'s own source MAC")
    return Next.RECEIVE
