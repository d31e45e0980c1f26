"""
VXLAN: into a UDP packet to the far end, and out of it there.

Lives here: the two stages, what the receiver checks.
Not here: the forwarding database and the outer packet (vtep), whose way is any packet's.
Sources: drivers/net/vxlan/vxlan_core.c (vxlan_xmit, vxlan_rcv), RFC 7348.
"""

from msgspec.structs import replace

from nettrace.model.links import Link, VxlanAttrs
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.segment import arriving
from nettrace.walk.skb import Skb
from nettrace.walk.stages import Next
from nettrace.walk.vtep import OVERHEAD, Far, carried, far_ends, snoop, wrap

__all__ = ["OVERHEAD", "decapsulate", "encapsulate", "tunnel_at"]

#: A packet that is in so many tunnels already gets into no further one (dev_xmit_recursion()).
_DEEPEST = 3


def encapsulate(run: Run, skb: Skb) -> Next:
    """Find the far end for the inner MAC address and wrap the frame up."""
    ns = namespace(run, skb.netns)
    link = ns.link(skb.device)
    attributes = link.vxlan
    if attributes is None:
        undecided(f"{link.name} of {ns.name} is a vxlan without attributes", f"{ns.name}/links/{link.name}")
    far = _far_end(run, ns, skb, link, attributes)
    if len(skb.inner) >= _DEEPEST:
        run.step(
            skb,
            Stage.TUNNEL,
            "drop",
            device=link.name,
            ref=far.ref,
            text=far.text,
            note="the tunnel's own packets go into the tunnel again",
            stops=True,
        )
        ended(
            Verdict.LOOP, f"{link.name} of {ns.name} carries its own packets: they go into it again and again"
        )
    inner = skb.packet
    failed = wrap(run, ns, skb, attributes, far)
    if failed is not None:
        run.step(skb, Stage.TUNNEL, "drop", ref=failed.ref, text=failed.text, stops=True)
        ended(Verdict.NO_ROUTE, f"the tunnel's outer packet has {failed.text}")
    run.step(
        skb,
        Stage.TUNNEL,
        "encapsulate",
        device=link.name,
        before=inner,
        ref=far.ref,
        text=far.text,
        note=f"VXLAN {far.vni} to {far.address}",
    )
    return Next.LOCAL_OUT


def _far_end(run: Run, ns: Namespace, skb: Skb, link: Link, attributes: VxlanAttrs) -> Far:
    """Return the far end for the frame; of several that get a copy, the one where it is taken."""
    mac = skb.dest_mac
    found = far_ends(run, ns, link, attributes, mac)
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
    if len(found) == 1:
        return found[0]
    takers = [far for far in found if _taken_at(run, ns, skb, link, far)]
    if len(takers) > 1:
        undecided(
            f"{' and '.join(far.address for far in takers)} both take the frame for {mac} "
            f"that {link.name} of {ns.name} sends to {len(found)} far ends",
            found[0].ref,
        )
    # where nobody takes it one copy tells as much as another
    return takers[0] if takers else found[0]


def _taken_at(run: Run, ns: Namespace, skb: Skb, link: Link, far: Far) -> bool:
    """Is somebody behind this far end who takes the frame?"""
    there = carried(run, ns, link, far, source=skb.source_mac, dest=skb.dest_mac)
    if there.leaves:
        undecided(f"a copy of the frame for {skb.dest_mac} leaves the snapshot: {there.leaves}", far.ref)
    if not there.netns:
        return False
    around = arriving(run, there.netns, there.device, skb.source_mac, skb.dest_mac)
    if around.edges:
        undecided(f"who is behind {around.edges[0].reason} cannot be told", far.ref)
    return any(
        namespace(run, one.netns).link(one.device).mac.lower() == skb.dest_mac for one in around.stations
    )


def tunnel_at(ns: Namespace, packet: Packet) -> list[tuple[Link, VxlanAttrs]]:
    """Return the VXLAN devices of *ns* that listen at a UDP packet's port."""
    if packet.proto != "udp" or packet.dport is None:
        return []
    return [
        (link, link.vxlan)
        for link in ns.links.values()
        if link.vxlan is not None
        and link.up
        and packet.dport.single == link.vxlan.port
        and _family(link.vxlan) == packet.family
    ]


def _family(attributes: VxlanAttrs) -> int:
    """Which socket does it open?  IPv6's if its own or its far address is one (vxlan_config_validate)."""
    return 6 if any(":" in (one or "") for one in (attributes.local, attributes.group)) else 4


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
    skb.fragments = flowing.fragments
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
    came = snoop(run, ns, device, skb.source_mac, outer.src)
    if came:
        run.step(
            skb,
            Stage.TUNNEL,
            "drop",
            ref=f"{ns.name}/fdb/{device.name}/{skb.source_mac}",
            text=came,
            stops=True,
        )
        ended(Verdict.MARTIAN, f"{device.name} of {ns.name} drops the frame: {came}")
    return Next.RECEIVE
