"""
The route of a packet that this host sends itself.

Lives here: ip_route_output_key, and the source that a socket gets with it.
Not here: IPv6's own way (output6), what is done with it (send, ipvs_send).
Source: net/ipv4/route.c (ip_route_output_key_hash_rcu, __mkroute_output).
"""

from nettrace.model.addr import is_loopback, is_multicast
from nettrace.model.routes import NextHop, Route
from nettrace.walk.context import Run, undecided
from nettrace.walk.namespace import Namespace
from nettrace.walk.output6 import output_route6
from nettrace.walk.routing import Failed, flow_key, lookup, select_hop
from nettrace.walk.skb import Decision, Skb
from nettrace.walk.source import select_address, source_for

__all__ = ["output_route"]


def output_route(run: Run, ns: Namespace, skb: Skb, *, again: bool = False) -> Decision | Failed:
    """
    Return the route of a packet that this namespace sends, with the source a socket would get.

    *again*: behind OUTPUT.  A device that the socket is bound to is taken to reach everything when no
    route says so.
    """
    packet = skb.packet
    if packet.family == 6:
        return output_route6(run, ns, skb, again=again)
    if is_multicast(packet.dst) or packet.dst == "255.255.255.255":
        undecided(f"{packet.dst} is not one host; such packets are not walked", f"{ns.name}/routes")
    key = flow_key(packet, oif=skb.bound)
    found = lookup(run, ns, key)
    if isinstance(found, Failed):
        if skb.bound is None:
            return found
        onlink = Route(dst=f"{packet.dst}/32", nexthops=(NextHop(device=skb.bound),), scope="link")
        source = select_address(ns, skb.bound, None, 253)
        return Decision("unicast", skb.bound, None, onlink, onlink.nexthops[0], source or "")
    route = found.route
    if route.type == "broadcast":
        undecided(f"{packet.dst} is a broadcast address of {ns.name}, which is not walked", found.ref)
    hop = select_hop(run, ns, found, key)
    source = source_for(ns, route, hop, packet.dst) or ""
    if route.type == "local":
        return Decision("local", "lo", None, route, hop, source)
    if hop is None or hop.device is None:
        undecided(f"route {found.text} names no device", found.ref, found.text)
    src = packet.src or source
    if src and is_loopback(src) and hop.device != "lo":
        value, name = ns.conf_max(hop.device, "route_localnet")
        if not value:
            return Failed("EINVAL", f"{ns.name}/sysctls/{name}", f"{src} may not leave while {name} is 0")
    return Decision("unicast", hop.device, hop.via, route, hop, source)
