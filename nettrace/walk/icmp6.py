"""
The errors that a kernel sends back over IPv6.

Lives here: making an ICMPv6 error, its source address, and when none is made.
Not here: IPv4's, and the RST of TCP (icmp).
Sources: net/ipv6/icmp.c (icmp6_send), RFC 4443.  Rate limits are set aside, as for IPv4.
"""

from msgspec.structs import replace

from nettrace.model.addr import is_link_local, is_loopback, is_multicast
from nettrace.model.packet import Packet
from nettrace.walk.context import Answer, Run
from nettrace.walk.fib import Found
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.routing import FlowKey, lookup
from nettrace.walk.routing6 import has_anycast, is_anycast
from nettrace.walk.skb import Skb
from nettrace.walk.source6 import select_address6

__all__ = [
    "ADDRESS_UNREACHABLE",
    "ADM_PROHIBITED",
    "HEADER_FIELD",
    "NOT_NEIGHBOUR",
    "NO_ROUTE",
    "PACKET_TOO_BIG",
    "PARAMETER_PROBLEM",
    "PORT_UNREACHABLE",
    "TIME_EXCEEDED",
    "UNKNOWN_HEADER",
    "UNREACHABLE",
    "send_error6",
]

# types
UNREACHABLE = 1
PACKET_TOO_BIG = 2
TIME_EXCEEDED = 3
PARAMETER_PROBLEM = 4
# codes of UNREACHABLE
NO_ROUTE = 0
ADM_PROHIBITED = 1
NOT_NEIGHBOUR = 2
ADDRESS_UNREACHABLE = 3
PORT_UNREACHABLE = 4
# codes of PARAMETER_PROBLEM
HEADER_FIELD = 0
UNKNOWN_HEADER = 1

#: An error quotes the offender up to the smallest MTU.
_MOST = 1280


def send_error6(
    run: Run,
    skb: Skb,
    icmp_type: int,
    code: int,
    *,
    attach: bool = True,
    delay: float = 0.0,
    mtu: int | None = None,
) -> bool:
    """
    Queue an ICMPv6 error about *skb*; False where the kernel sends none.

    Its source is the offender's destination if that is an address of this namespace, else what
    the device that it came in by would use (parm->iif; of a packet that has its route already that
    is the route's device, ip6_rcv_core), else the route's choice.  Nobody is told
    at an anycast address (icmpv6_route_lookup).
    """
    packet = skb.packet
    if (
        packet.is_icmp_error
        or is_multicast(packet.dst)
        or is_multicast(packet.src)
        or packet.src in ("", "::")
    ):
        return False
    if skb.inner:
        return False
    ns = namespace(run, skb.netns)
    source = ""
    back = lookup(run, ns, FlowKey(dst=packet.src, proto="icmpv6"))
    if _is_mine(ns, skb, packet.dst) or has_anycast(run, ns, packet.dst):
        source = packet.dst
    elif skb.iif is not None and not (isinstance(back, Found) and back.route.prefsrc is not None):
        # icmpv6_rt_has_prefsrc: no, the route back names no source
        source = select_address6(ns, skb.routed_by or skb.iif, packet.src) or ""
    if source:
        back = lookup(run, ns, FlowKey(dst=packet.src, src=source, proto="icmpv6"))
    as_unicast = "net.ipv6.icmp.error_anycast_as_unicast"
    if isinstance(back, Found) and is_anycast(back, packet.src) and not ns.number(as_unicast):
        return False
    error = Packet(
        src=source,
        dst=packet.src,
        proto="icmpv6",
        icmp_type=icmp_type,
        icmp_code=code,
        size=min(_MOST, 48 + packet.size),
        df=False,
        mark=packet.mark if ns.number("net.ipv6.fwmark_reflect") else 0,
        inner=replace(packet, mark=0, inner=None),
    )
    run.answers.append(
        Answer(
            netns=skb.netns,
            packet=error,
            conn=skb.conn if attach else None,
            reply=not skb.reply,
            attached=attach and skb.state == "UNTRACKED",
            delay=delay,
            mtu=mtu,
            by=skb.iif if is_link_local(packet.src) else None,
            by_kernel=True,
        )
    )
    return True


def _is_mine(ns: Namespace, skb: Skb, address: str) -> bool:
    """ipv6_chk_addr: an address of a link or of the host itself counts on its own device alone."""
    if is_loopback(address):
        return skb.iif in (None, "lo")
    if is_link_local(address) and skb.iif is not None:
        return any(one.address == address for one in ns.addresses6(skb.iif))
    return ns.owns(address)
