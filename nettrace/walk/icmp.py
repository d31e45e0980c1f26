"""
The errors that a kernel sends back: ICMP, and RST for TCP.

Lives here: making the packet, and when none is made.
Not here: walking it (exchange), un-NATing it (conntrack, nat).
Sources: net/ipv4/icmp.c (__icmp_send), net/ipv4/netfilter/nf_reject_ipv4.c, RFC 1122 3.2.2.
Rate limits are set aside: the walk's packet is the first of its kind.
"""

from msgspec.structs import replace

from nettrace.model.addr import is_multicast
from nettrace.model.packet import Packet
from nettrace.walk.context import Answer, Run
from nettrace.walk.namespace import namespace
from nettrace.walk.routing import address_type
from nettrace.walk.skb import Skb
from nettrace.walk.source import SCOPES, select_address

__all__ = [
    "FRAGMENTATION_NEEDED",
    "HOST_UNREACHABLE",
    "NET_UNREACHABLE",
    "PORT_UNREACHABLE",
    "PROHIBITED",
    "PROTOCOL_UNREACHABLE",
    "send_error",
    "send_reset",
]

# codes of type 3, destination unreachable (RFC 792, RFC 1812)
NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
PROHIBITED = 13

#: An ICMP error quotes the offender up to this size of its own (RFC 1812 4.3.2.3).
_MOST = 576


def send_error(
    run: Run,
    skb: Skb,
    icmp_type: int,
    code: int,
    *,
    local: bool,
    attach: bool = True,
    delay: float = 0.0,
    mtu: int | None = None,
) -> bool:
    """
    Queue an ICMP error about *skb*; False where the kernel sends none.

    *local*: the offender was for this namespace, so its destination is the error's source.  Otherwise
    it is what the route back gives, or with ``icmp_errors_use_inbound_ifaddr`` an address of the device
    that the offender came in by.
    *attach*: tied to the offender's connection (icmp_glue_bits calls nf_ct_attach); not where
    the connection was let go before.  *mtu* is what fragmentation-needed announces.
    An error about a tunnel's outer packet ends at the tunnel: nobody tells the sender inside.
    """
    packet = skb.packet
    if packet.is_icmp_error or is_multicast(packet.dst) or not packet.src or packet.src.startswith("0."):
        return False
    if skb.inner:
        return False
    ns = namespace(run, skb.netns)
    if local and address_type(run, ns, packet.dst) != "LOCAL":
        return False  # its source would be nobody's (ip_route_output_key)
    offender = replace(packet, mark=0, inner=None)
    source = packet.dst if local else ""
    if not local and not skb.own and ns.number("net.ipv4.icmp_errors_use_inbound_ifaddr"):
        source = select_address(ns, skb.iif or skb.device, packet.src, SCOPES["link"]) or ""
    error = Packet(
        src=source,
        dst=packet.src,
        proto="icmp",
        icmp_type=icmp_type,
        icmp_code=code,
        size=min(_MOST, 28 + packet.size),
        ttl=ns.number("net.ipv4.ip_default_ttl"),
        tos=packet.tos & 0x1E | 0xC0,  # RT_TOS, IPTOS_PREC_INTERNETCONTROL
        df=False,
        mark=packet.mark if ns.number("net.ipv4.fwmark_reflect") else 0,
        inner=offender,
    )
    _queue(run, skb, error, attach=attach, delay=delay, mtu=mtu)
    return True


def send_reset(run: Run, skb: Skb, *, attach: bool) -> bool:
    """
    Queue the RST that answers a TCP packet; False for one that is an RST itself.

    A REJECT rule's RST is tied to the connection (*attach*), a closed port's is not.  To a packet
    that br_netfilter saw come in by a bridge port the rule's RST goes back by that port as it
    is, past all hooks and untranslated (nf_send_reset).
    """
    packet = skb.packet
    if packet.proto != "tcp" or "RST" in packet.tcp_flags or skb.inner:
        return False
    ns = namespace(run, skb.netns)
    if packet.family == 4 and not attach and address_type(run, ns, packet.dst) != "LOCAL":
        return False
    reset = Packet(
        src=packet.dst,
        dst=packet.src,
        proto="tcp",
        sport=packet.dport,
        dport=packet.sport,
        tcp_flags=frozenset({"RST"} if "ACK" in packet.tcp_flags else {"RST", "ACK"}),
        size=60 if packet.family == 6 else 40,
        ttl=ns.number("net.ipv4.ip_default_ttl"),
        tos=0 if attach else packet.tos,  # nf_reject_iphdr_put; tcp_v4_send_reset reflects
        mark=packet.mark if ns.number(f"net.ipv{packet.family}.fwmark_reflect") else 0,
    )
    by_port = attach and skb.physin is not None
    frame = (skb.physin or "", skb.dest_mac, skb.source_mac) if by_port else None
    _queue(run, skb, reset, attach=attach, frame=frame)
    return True


def _queue(
    run: Run,
    skb: Skb,
    packet: Packet,
    *,
    attach: bool,
    delay: float = 0.0,
    mtu: int | None = None,
    frame: tuple[str, str, str] | None = None,
) -> None:
    run.answers.append(
        Answer(
            netns=skb.netns,
            packet=packet,
            conn=skb.conn if attach else None,
            reply=not skb.reply,
            attached=attach and skb.state == "UNTRACKED",
            delay=delay,
            mtu=mtu,
            frame=frame,
            # icmp_sk and ipv4_tcp_sk; a rule's RST is made without, and IPv6's (tcp_v6_send_response)
            by_kernel=packet.proto != "tcp" or (packet.family == 4 and not attach),
        )
    )
