"""
Matches that ask IPv6's routing.

Lives here: addrtype and rpfilter for IPv6.
Not here: IPv4's, and everything that is the same for both (matches).
"""

from nettrace.model.addr import address_value, is_link_local, is_multicast
from nettrace.model.xt_match import Addrtype, Negatable, Rpfilter
from nettrace.walk.context import Run
from nettrace.walk.fib import Failed, FlowKey
from nettrace.walk.point import Answered, HookPoint
from nettrace.walk.routing import lookup
from nettrace.walk.routing6 import is_anycast
from nettrace.walk.skb import Skb

__all__ = ["addrtype6", "rpfilter6"]

_ROUTED = frozenset({"ANYCAST", "LOCAL", "UNREACHABLE"})


def addrtype6(run: Run, skb: Skb, point: HookPoint, match: Addrtype) -> Answered:
    """xt_addrtype.c, match_type6: address classes and what the route says; all that is named must hold."""
    device = None
    if match.limit_iface_in:
        device = point.in_device
    elif match.limit_iface_out:
        device = point.out_device
    for address, wanted in ((skb.packet.src, match.src_type), (skb.packet.dst, match.dst_type)):
        if wanted is not None and _is_of_type(run, point, address, wanted, device) == wanted.invert:
            return False
    return True


def _is_of_type(run: Run, point: HookPoint, address: str, wanted: Negatable, device: str | None) -> bool:
    kinds = set(wanted.value.split(","))
    if "MULTICAST" in kinds and not is_multicast(address):
        return False
    if "UNICAST" in kinds and (is_multicast(address) or not address_value(address)):
        return False
    if "UNSPEC" in kinds and address_value(address):
        return False
    if kinds & _ROUTED:
        return bool(kinds & _routed(run, point, address, kinds, device))
    return True


def _routed(run: Run, point: HookPoint, address: str, kinds: set[str], device: str | None) -> set[str]:
    """match_lookup_rt6."""
    held: set[str] = set()
    mine = point.ns.addresses6(device) if device is not None and "LOCAL" in kinds else ()
    if any(one.address == address and "tentative" not in one.flags for one in mine):
        held.add("LOCAL")
    found = lookup(run, point.ns, FlowKey(dst=address, oif=device))
    if isinstance(found, Failed):
        return {"UNREACHABLE"}
    if device is None and found.route.type == "local":
        held.add("LOCAL")
    if is_anycast(found, address):
        held.add("ANYCAST")
    return held


def rpfilter6(run: Run, skb: Skb, point: HookPoint, match: Rpfilter) -> Answered:
    """ip6t_rpfilter.c, rpfilter_mt: would an answer leave by the device it came in by?"""
    packet, device = skb.packet, point.in_device
    if device == "lo" or packet.src == "::":
        return not match.invert
    strict = is_link_local(packet.src) or not match.loose
    key = FlowKey(
        dst=packet.src,
        src=packet.dst if not is_multicast(packet.dst) else "",
        oif=device if strict else None,
        mark=packet.mark if match.validmark else 0,
        tos=packet.tos,
        proto=packet.proto,
        strict=is_link_local(packet.src),
    )
    found = lookup(run, point.ns, key)
    if isinstance(found, Failed) or found.route.type == "anycast":
        return match.invert
    if found.route.type == "local":  # whatever its device
        return match.accept_local != match.invert
    uses = found.hop is not None and found.hop.device == device
    return (uses or match.loose) != match.invert
