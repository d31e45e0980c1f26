"""
Another MAC address, told to those around.

Lives here: what a gratuitous ARP changes at those who hold the old address.
Not here: the device itself (edit_links.py).
"""

from msgspec.structs import replace

from nettrace.model.addr import family_of
from nettrace.model.links import Link
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns, Snapshot

__all__ = ["announced"]


def announced(snapshot: Snapshot, netns: Netns, link: Link, mac: str) -> Snapshot:
    """
    Return *snapshot* after *link* got *mac*, where it says so: others' neighbours have the new address.

    With ``arp_notify`` (the larger of ``conf.all`` and ``conf.DEVICE``) a device that is up sends a
    gratuitous ARP for its IPv4 addresses (net/ipv4/devinet.c, inetdev_event at NETDEV_CHANGEADDR); who has
    an entry takes it over, unless it is a permanent one (net/ipv4/arp.c, arp_process).
    """
    sysctls = netns.sysctls.value if isinstance(netns.sysctls, Known) else {}
    told = any(sysctls.get(f"net.ipv4.conf.{name}.arp_notify", "0") != "0" for name in ("all", link.name))
    if not told or not link.up or not isinstance(netns.addresses, Known):
        return snapshot
    own = {
        one.address
        for one in netns.addresses.value
        if one.device == link.name and family_of(one.address) == 4
    }
    for other in snapshot.namespaces.values():
        if other.name == netns.name or not isinstance(other.neighbours, Known):
            continue
        heard = tuple(
            replace(entry, mac=mac)
            if entry.address in own and entry.mac == link.mac and entry.state != "permanent"
            else entry
            for entry in other.neighbours.value
        )
        if heard != other.neighbours.value:
            snapshot = snapshot.with_section(SectionKey(other.name, "neighbours"), Known(heard))
    return snapshot
