"""
Tags: what a probe's packets are recognised by, after NAT, on other nodes and inside tunnels.

Lives here: a fresh tag for each attempt, and where it stands in the attempt's packets.
TCP: the initial sequence number, which the answers acknowledge; SCTP: the initiate tag, which
they carry.  UDP and echo: the first bytes of the payload.  None of them is changed by NAT,
forwarding or encapsulation.
Not here: sockets that send with a tag (tcp, udp, echo), matching it (arming).
"""

import secrets
import string
import struct

__all__ = ["TAG_BYTES", "fresh_tags", "tag_length"]

#: Of a payload.  nf_tables compares as much at once (NFT_REG_SIZE).
TAG_BYTES = 16

#: The rest of a DNS question for the root's name servers, after its identifier.
_DNS_REST = struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">H", 2) + b"\0"
_DNS_PORT = 53
#: What identifies an echo request is sent whatever size was asked for.
_LEAST_ECHO = 8
_LETTERS = string.ascii_lowercase + string.digits


def tag_length(proto: str, port: int | None, room: int) -> int:
    """
    Return how many bytes a tag has in a payload of *room* bytes; 0 if there is no place for one.

    4 for TCP, the sequence number of the SYN, and SCTP.  Up to 16 for UDP and echo, in whole words, as
    they are compared (packet_filter); a DNS question is as long as it is.
    """
    if proto in ("tcp", "sctp"):
        return 4
    if proto == "udp" and port == _DNS_PORT:
        return TAG_BYTES
    return min(TAG_BYTES, room if proto == "udp" else max(room, _LEAST_ECHO)) & ~3


def fresh_tags(proto: str, port: int | None, count: int, room: int = TAG_BYTES) -> tuple[bytes, ...]:
    """
    Return *count* different tags for attempts at *port*, of tag_length() bytes, which must not be 0.

    They are the first bytes of UDP's payload, and of an echo request's behind its header.
    """
    length = tag_length(proto, port, room)
    found: dict[bytes, None] = {}
    while len(found) < count:
        if proto in ("tcp", "sctp"):
            # The kernel takes 0 for "none was chosen".
            found[(secrets.randbelow(0xFFFFFFFE) + 1).to_bytes(4, "big")] = None
        elif proto == "udp" and port == _DNS_PORT:
            found[secrets.token_bytes(2) + _DNS_REST] = None
        elif proto == "udp":
            # Text, since the far end may print what it is sent.
            found[("".join(secrets.choice(_LETTERS) for _ in range(8)).encode() + b"nettrace")[:length]] = (
                None
            )
        else:
            found[secrets.token_bytes(8).ljust(TAG_BYTES, b"\0")[:length]] = None
    return tuple(found)
