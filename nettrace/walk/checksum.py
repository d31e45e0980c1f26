"""
A checksum that a rule has written, and who notices.

Lives here: what is left of it where a device takes the packet, whether the receiver looks at it.
Not here: the rule (nft_header).
Sources: net/core/dev.c (validate_xmit_skb, skb_checksum_help), include/linux/skbuff.h
(skb_csum_unnecessary), net/ipv4/udp_tunnel_core.c, net/ipv4/udp.c (udp_set_csum), net/ipv4/ip_output.c.

Nobody looks at the checksum of a packet that is to get it from a device (CHECKSUM_PARTIAL), and a veth hands
such a packet over as it is.  A device without the offload has the kernel finish the sum, from what the rule
has left in its place, and from there on it is wrong.
"""

from typing import NoReturn

from nettrace.model.offloads import DeviceOffloads
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.namespace import Namespace
from nettrace.walk.skb import Skb, Spoiled

__all__ = ["arrives", "finish", "found_wrong", "into_tunnel", "leaves", "received", "spoil"]


def spoil(run: Run, ns: Namespace, skb: Skb, where: str) -> None:
    """Note that a rule, at *where*, has written the checksum of a TCP or UDP packet."""
    if not _is_wrong(skb):
        skb.spoiled = Spoiled(where, _partial(run, ns, skb))


def _partial(run: Run, ns: Namespace, skb: Skb) -> bool | None:
    """
    Is the packet's checksum left to a device?

    That of a tunnel's outer packet is, or that of what is inside (udp_set_csum), that of a local TCP
    socket's too; a UDP socket asks the device of its route (__ip_append_data).  What others sent may be.
    """
    if skb.inner:
        made_here = skb.route is not None and skb.iif is None
        return True if made_here and _sums_outside(ns, skb) else None
    if not skb.own or skb.route is None:
        return None
    if skb.packet.proto == "tcp":
        return True
    return _finishes(run, ns, skb.route.device) if skb.fragments is None else None


def _sums_outside(ns: Namespace, skb: Skb) -> bool:
    """Does the one VXLAN device with the packet's port put a checksum on the outside (``udpcsum``)?"""
    held = [link.vxlan for link in ns.links.values() if link.vxlan is not None]
    ports = {one.port for one in held if one.udp_checksum}
    dport = skb.packet.dport.single if skb.packet.dport is not None else None
    return all(one.udp_checksum for one in held) and dport in ports


def _finishes(run: Run, ns: Namespace, device: str) -> bool | None:
    """Does a device finish checksums?  None: it does not say."""
    offloads: tuple[DeviceOffloads, ...] = run.section(ns.name, "offloads")
    return next((one.tx_checksums for one in offloads if one.device == device), None)


def leaves(run: Run, ns: Namespace, skb: Skb, device: str) -> None:
    """A device takes the packet: without the offload the sum is finished now, and wrong."""
    if skb.spoiled is None or skb.spoiled.partial is False:
        return
    does = _finishes(run, ns, device)
    if does is None:
        undecided(
            f"{skb.spoiled.where} writes a checksum, and whether {device} of {ns.name} finishes those it "
            "sends is not known",
            f"{ns.name}/offloads/{device}",
        )
    if not does:
        skb.spoiled = skb.spoiled._replace(partial=False)


def finish(skb: Skb) -> None:
    """The kernel finishes the sum, from what a rule may have left in its place (skb_checksum_help)."""
    skb.summed = (skb.packet.tos, skb.packet.ttl)
    if skb.spoiled is not None:
        skb.spoiled = skb.spoiled._replace(partial=False)


def arrives(skb: Skb) -> None:
    """Note how a packet came in whose sum no device is to finish."""
    if skb.summed is not None:
        skb.summed = (skb.packet.tos, skb.packet.ttl)


def into_tunnel(skb: Skb) -> None:
    """Undecided where what goes into a tunnel has a checksum that a rule wrote."""
    if skb.spoiled is not None:
        undecided(f"{skb.spoiled.where} writes a checksum of what goes into a tunnel, which is not followed")


def _is_wrong(skb: Skb) -> bool:
    """Is the checksum known to be wrong, for everybody who looks at it?"""
    return skb.spoiled is not None and skb.spoiled.partial is False


def found_wrong(skb: Skb) -> bool:
    """Is it wrong for connection tracking, which looks too?  Undecided where that is not known."""
    if skb.spoiled is not None and skb.spoiled.partial is None:
        _open(skb.spoiled)
    return _is_wrong(skb)


def _open(spoiled: Spoiled) -> NoReturn:
    undecided(f"{spoiled.where} writes a checksum, and whether anybody finds it wrong depends on who sent it")


def received(run: Run, skb: Skb) -> None:
    """The receiver's look at it; ends the leg where it is wrong."""
    spoiled, skb.spoiled = skb.spoiled, None
    if skb.summed not in (None, (skb.packet.tos, skb.packet.ttl)) and skb.packet.family == 6:
        # conntrack has kept the sum of the whole packet (CHECKSUM_COMPLETE), and rules leave it as it was
        undecided(
            f"rules of {skb.netns} have changed the IPv6 header of a packet whose checksum was finished "
            "before, and whether it is still taken for right is not followed"
        )
    if spoiled is None or spoiled.partial:
        return
    if spoiled.partial is None:
        _open(spoiled)
    reason = f"its {skb.packet.proto.upper()} checksum is wrong: {spoiled.where} has written it"
    run.step(skb, Stage.DELIVER, "drop", ref=f"{skb.netns}/sockets", text=reason, stops=True)
    ended(Verdict.BAD_CHECKSUM, f"{reason} ({skb.netns})")
