"""
The expression fib: what the routes say of a packet's address.

Lives here: the type of an address, the device of the route to it.
Not here: putting either into a register (nft_load).
Sources: net/ipv4/netfilter/nft_fib_ipv4.c, net/ipv6/netfilter/nft_fib_ipv6.c.
"""

from collections.abc import Collection

from nettrace.model.addr import address_value, is_link_local, is_multicast
from nettrace.walk.context import Run
from nettrace.walk.point import HookPoint
from nettrace.walk.routing import Failed, FlowKey, address_type, lookup
from nettrace.walk.routing6 import is_anycast
from nettrace.walk.skb import Skb

__all__ = ["fib_device", "fib_type"]

#: errno of a lookup -> the type of the route that refused; all others come to UNREACHABLE.
_REFUSALS = {"EINVAL": "BLACKHOLE", "EACCES": "PROHIBIT"}


def fib_type(run: Run, skb: Skb, point: HookPoint, flags: Collection[str]) -> str:
    """
    Return the type of the packet's destination or source (nft_fib4_eval_type, __nft_fib6_eval_type).

    IPv4 asks the local table only, IPv6 for a route as if the host sent something there.
    """
    device = _device(point, flags)
    address = skb.packet.dst if "daddr" in flags else skb.packet.src
    if skb.packet.family == 4:
        return address_type(run, point.ns, address, device)
    key = _key(skb, point, flags)
    if is_link_local(address):
        key = key._replace(oif=device or skb.device, strict=True)
    held = device is not None and any(one.address == address for one in point.ns.addresses6(device))
    found = lookup(run, point.ns, key)
    if isinstance(found, Failed):
        return _REFUSALS.get(found.errno, "UNREACHABLE")
    if is_anycast(found, address):
        return "ANYCAST"
    if held or (device is None and found.route.type == "local"):
        return "LOCAL"
    if is_multicast(address):
        return "MULTICAST"
    return "UNICAST" if address_value(address) else "UNSPEC"


def fib_device(run: Run, skb: Skb, point: HookPoint, flags: Collection[str]) -> str | None:
    """Return the device that the route to an address leaves by, if it fits (nft_fib4_eval, nft_fib6_eval)."""
    ns = point.ns
    inward = point.hook in ("prerouting", "input", "ingress")
    if inward and point.in_device is not None and ns.link(point.in_device).kind == "loopback":
        return point.in_device
    device = _device(point, flags)
    key = _key(skb, point, flags)
    found = lookup(run, ns, key)
    if isinstance(found, Failed) or found.route.type == "local":
        return None
    if ":" in key.dst and found.route.type == "anycast" and found.route.protocol == "kernel":
        return None
    if device is None:
        return found.hop.device if found.hop is not None else None
    return device if any(hop.device == device for hop in found.route.nexthops) else None


def _device(point: HookPoint, flags: Collection[str]) -> str | None:
    if "iif" in flags:
        return point.in_device
    return point.out_device if "oif" in flags else None


def _key(skb: Skb, point: HookPoint, flags: Collection[str]) -> FlowKey:
    packet = skb.packet
    target, source, iif = packet.dst, packet.src, "lo"
    if "daddr" not in flags:
        target, source = source, target
        if point.hook == "forward" and "iif" in flags:
            iif = point.out_device or "lo"
    return FlowKey(
        dst=target,
        src="" if is_multicast(source) or source in ("255.255.255.255", "0.0.0.0", "::") else source,
        iif=iif,
        mark=packet.mark if "mark" in flags else 0,
        tos=packet.tos & 0xFC,
        proto=packet.proto,
    )
