"""
Packets made byte by byte, where a socket cannot be told to send them so.

Lives here: SYN, datagram, echo request and SCTP INIT with chosen IP ID, TTL, TOS, DF and size.
Not here: sending them (crafted), what marks them as the probe's (tag).
"""

import secrets
from typing import Any

from nettrace.observe.shape import SOCKET_SYN, Shape

__all__ = ["craft"]

_DEFAULT_TTL = 64
_ECHO_PAYLOAD = 56


def craft(
    proto: str, source: str, sport: int | None, dst: str, port: int | None, tag: bytes, shape: Shape
) -> bytes:
    """
    Return the first packet of an exchange, from its IP header on.

    *tag* stands where it is looked for: TCP's sequence number, SCTP's initiate tag, the beginning of
    the payload.  What is larger than the headers is filled up.
    """
    from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: PLC0415  (heavy)
    from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6  # noqa: PLC0415
    from scapy.layers.sctp import SCTP, SCTPChunkInit  # noqa: PLC0415

    is_v6 = ":" in dst
    number = int.from_bytes(tag[:4], "big")
    ttl = shape.ttl if shape.ttl is not None else _DEFAULT_TTL
    above: Any
    match proto:
        case "tcp":
            options = [
                ("MSS", 1460 if not is_v6 else 1440),
                ("SAckOK", b""),
                ("Timestamp", (1, 0)),
                ("NOP", None),
                ("WScale", 7),
            ]
            above = TCP(sport=sport, dport=port, seq=number, flags="S", window=64240, options=options)
            usual = SOCKET_SYN[6 if is_v6 else 4]
        case "udp":
            above = UDP(sport=sport, dport=port) / tag
            usual = 0
        case "sctp":
            above = SCTP(sport=sport, dport=port) / SCTPChunkInit(
                init_tag=number, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=number
            )
            usual = 0
        case _:
            identifier = int.from_bytes(tag[:2], "big")
            echo = ICMPv6EchoRequest(id=identifier, seq=1) if is_v6 else ICMP(type=8, id=identifier, seq=1)
            above = echo / tag
            usual = 28 + _ECHO_PAYLOAD + (20 if is_v6 else 0)
    below: Any
    if is_v6:
        below = IPv6(src=source, dst=dst, hlim=ttl, tc=shape.tos or 0)
    else:
        flags = "DF" if shape.df is not False else 0
        below = IP(
            src=source, dst=dst, id=secrets.randbelow(0xFFFF) + 1, ttl=ttl, tos=shape.tos or 0, flags=flags
        )
    packet = below / above
    missing = (shape.size or usual) - len(packet)
    # A chunk of SCTP ends where its length says: what fills up would be another chunk.
    if missing > 0 and proto != "sctp":
        packet = packet / (b"." * missing if proto == "udp" else bytes(missing))
    return bytes(packet)
