"""
Macvlans: several devices, mostly of other namespaces, that share one device below them.

Lives here: who sits on a device, who of them takes a frame, sending to each other and out.
Not here: broadcasts (segment).
Source: drivers/net/macvlan.c (macvlan_handle_frame, macvlan_queue_xmit).
"""

from msgspec.structs import replace

from nettrace.model.links import Link
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.namespace import Namespace, namespace, together
from nettrace.walk.skb import Skb
from nettrace.walk.stages import Next

__all__ = ["by_macvlan", "listeners", "lower_of", "macvlans", "of_source", "taken_above"]

#: Bytes that a frame may have beyond an MTU (is_skb_forwardable: VLAN_HLEN).
_SLACK = 4

Above = list[tuple[Namespace, Link]]


def lower_of(run: Run, ns: Namespace, link: Link) -> tuple[Namespace, Link] | None:
    """Return the device below a macvlan and its namespace, None if it is not in the snapshot."""
    attributes = link.macvlan
    if attributes is None or attributes.netns is None or attributes.netns not in run.snapshot.namespaces:
        return None
    below = namespace(run, attributes.netns)
    found = below.link_by_index(attributes.ifindex)
    return (below, found) if found is not None else None


def macvlans(run: Run, ns: Namespace, link: Link) -> Above:
    """
    Return the macvlans that are up on *link*, of all namespaces of the snapshot.

    Other namespaces are looked into only where the device takes more MAC addresses than its own.
    """
    if link.kind == "loopback" or link.master is not None:
        return []
    spaces = [ns]
    if link.taps or link.promiscuity:
        others = [name for name in run.snapshot.namespaces if name != ns.name]
        together(run, tuple(others), ("links",))
        spaces += [namespace(run, name) for name in others]
    return [
        (space, one)
        for space in spaces
        for one in space.links.values()
        if one.macvlan is not None
        and one.up
        and (one.macvlan.netns, one.macvlan.ifindex) == (ns.name, link.index)
    ]


def of_source(above: Above, mac: str) -> Link | None:
    """Return the macvlan that a frame with this source MAC address comes from."""
    return next((one for _, one in above if one.mac.lower() == mac), None)


def listeners(ns: Namespace, link: Link, above: Above) -> list[str]:
    """Return sentences about those on top of *link* that the snapshot does not hold."""
    held = {one.mac.lower() for _, one in above}
    held |= {one.mac.lower() for one in ns.links.values() if one.lower == link.name}
    return [
        f"somebody on top of {link.name} of {ns.name} who listens for {mac} and is not in the snapshot"
        for mac in link.taps
        if mac.lower() not in held
    ]


def taken_above(run: Run, ns: Namespace, skb: Skb, link: Link) -> bool:
    """
    Give a frame to the macvlan that it is for; False if the device below keeps it.

    A passthru one takes everything.  *skb* then is at the macvlan, in its namespace.
    """
    above = macvlans(run, ns, link)
    mac = skb.dest_mac
    chosen = next(
        (
            (space, one)
            for space, one in above
            if one.macvlan is not None and (one.macvlan.mode == "passthru" or one.mac.lower() == mac)
        ),
        None,
    )
    if chosen is None:
        if mac in (tap.lower() for tap in link.taps):
            undecided(
                f"somebody on top of {link.name} of {ns.name} takes frames for {mac}, "
                "and is not in the snapshot",
                f"{ns.name}/links/{link.name}",
            )
        return False
    space, one = chosen
    if one.macvlan is not None and one.macvlan.mode == "source":
        undecided(
            f"{one.name} of {space.name} chooses by a list of source addresses, which is not walked",
            f"{space.name}/links/{one.name}",
        )
    run.step(
        skb,
        Stage.RECEIVE,
        "up",
        ref=f"{space.name}/links/{one.name}",
        text=f"{one.kind} {one.name} of {space.name} on {link.name}",
        note=f"the frame for {mac or 'anybody'} is not {link.name}'s own",
    )
    skb.netns, skb.device = space.name, one.name
    # it is the macvlan's whatever address it has (pkt_type becomes PACKET_HOST)
    skb.dest_mac = one.mac.lower()
    return True


def by_macvlan(run: Run, ns: Namespace, skb: Skb, link: Link) -> Next:
    """Send by a macvlan: straight to another one beside it, or out by the device below."""
    below = lower_of(run, ns, link)
    if below is None or link.macvlan is None:
        run.step(
            skb, Stage.TRANSMIT, "leaves", ref=f"{ns.name}/links/{link.name}", text=link.kind,
            note="the device below it is not in the snapshot",
        )  # fmt: skip
        ended(
            Verdict.LEFT_SNAPSHOT,
            f"it left {ns.name} by {link.name}, and the device below that is not in the snapshot",
        )
    space, lower = below
    beside = next(
        (
            one
            for _, one in macvlans(run, space, lower)
            if one.macvlan is not None and one.macvlan.mode == "bridge" and one.mac.lower() == skb.dest_mac
        ),
        None,
    )
    straight = link.macvlan.mode == "bridge" and beside is not None
    run.step(
        skb,
        Stage.TRANSMIT,
        "send",
        ref=f"{ns.name}/links/{link.name}",
        text=f"macvlan mode {link.macvlan.mode} on {lower.name} of {space.name}",
        note="to another macvlan beside it" if straight else "",
    )
    skb.netns, skb.device = space.name, lower.name
    skb.route = None
    skb.own = skb.by_kernel = False
    if not straight:
        return Next.TRANSMIT
    # dev_forward_skb on the device below: its MTU, its state, and a scrubbed packet
    if not lower.up:
        ended(Verdict.LINK_DOWN, f"{lower.name} of {space.name}, below {link.name}, is down")
    if skb.largest > lower.mtu + _SLACK:
        run.step(
            skb, Stage.TRANSMIT, "drop", ref=f"{space.name}/links/{lower.name}", text=f"mtu {lower.mtu}",
            note=f"{skb.largest} bytes; nobody is told", stops=True,
        )  # fmt: skip
        ended(Verdict.TOO_BIG, f"{skb.largest} bytes do not fit {lower.name} below {link.name}")
    skb.forget_conntrack()
    skb.physin = skb.physout = None
    if space.name != ns.name:
        skb.packet = replace(skb.packet, mark=0)
    return Next.RECEIVE
