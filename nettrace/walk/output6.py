"""
The route of an IPv6 packet that this host sends itself.

Lives here: ip6_route_output and the source that a socket gets with it.
Not here: what is done with it (send), IPv4's way (send).
Sources: net/ipv6/route.c (ip6_route_output_flags), net/ipv6/ip6_output.c (ip6_dst_lookup_tail).
"""

from nettrace.model.addr import is_link_local, is_multicast
from nettrace.walk.context import Run, undecided
from nettrace.walk.fib import Failed
from nettrace.walk.namespace import Namespace
from nettrace.walk.routing import flow_key, lookup, select_hop
from nettrace.walk.skb import Decision, Skb
from nettrace.walk.source6 import source_for6

__all__ = ["hop_limit", "output_route6"]


def output_route6(run: Run, ns: Namespace, skb: Skb, *, again: bool = False) -> Decision | Failed:
    """
    Return the route of a packet that this namespace sends, with the source a socket would get.

    A packet without a source that finds no route looks once more with the source that it would
    have then, which policy rules may ask for.
    """
    packet = skb.packet
    if is_multicast(packet.dst) or packet.dst == "::":
        undecided(f"{packet.dst} is not one host; such packets are not walked", f"{ns.name}/routes")
    if is_link_local(packet.dst) and skb.bound is None and skb.prefers is None:
        undecided(f"{packet.dst} is on a link, and nothing says on which", f"{ns.name}/routes")
    key = flow_key(packet, oif=skb.bound or skb.prefers)._replace(strict=skb.bound is not None, again=again)
    found = lookup(run, ns, key)
    source = packet.src
    if isinstance(found, Failed):
        if packet.src or found.discards:
            return _discarded(ns, skb, found)
        source = source_for6(ns, None, None, packet.dst) or ""
        if not source:
            return _sourceless(ns)
        found = lookup(run, ns, key._replace(src=source))
        if isinstance(found, Failed):
            return _discarded(ns, skb, found)
    route = found.route
    hop = select_hop(run, ns, found, key)
    if hop is None or hop.device is None:
        undecided(f"route {found.text} names no device", found.ref, found.text)
    if route.type not in ("unicast", "local", "anycast"):
        undecided(f"{packet.dst} has a {route.type} route in {ns.name}, which is not walked", found.ref)
    source = source or source_for6(ns, route, hop, packet.dst) or ""
    if not source:
        return _sourceless(ns)
    if route.type in ("local", "anycast"):
        return Decision("local", "lo", None, route, hop, source)
    return Decision("unicast", hop.device, hop.via, route, hop, source)


def _discarded(ns: Namespace, skb: Skb, failed: Failed) -> Decision | Failed:
    """Return the route that throws the packet away behind OUTPUT, where the lookup reports no error."""
    if failed.discards is None:
        return failed
    route, hop = failed.discards.route, failed.discards.hop
    source = skb.packet.src or source_for6(ns, route, hop, skb.packet.dst)
    if not source:
        return _sourceless(ns)
    return Decision("discard", "lo", None, route, hop, source)


def _sourceless(ns: Namespace) -> Failed:
    return Failed("EADDRNOTAVAIL", f"{ns.name}/addresses", f"{ns.name} has no IPv6 address to send from")


def hop_limit(ns: Namespace, decided: Decision) -> int:
    """Return the hop limit that the kernel gives a packet of its own (ip6_dst_hoplimit)."""
    more = decided.route.more
    if "hoplimit" in more:
        return int(more[more.index("hoplimit") + 1])
    return ns.conf(decided.device, "hop_limit", family=6)[0]
