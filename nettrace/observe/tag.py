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

__all__ = ["TAG_BYTES", "fresh_tags"]

#: Of a payload.  nf_tables compares as much at once (NFT_REG_SIZE).
TAG_BYTES = 16

#: The rest of a DNS question for the root's name servers, after its identifier.
_DNS_REST = struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">H", 2) + b"\0"
_DNS_PORT = 53
_LETTERS = string.ascii_lowercase + string.digits


def fresh_tags(proto: str, port: int | None, count: int) -> tuple[bytes, ...]:
    """
    Return *count* different tags for attempts at *port*.

    4 bytes for TCP, the sequence number of the SYN, and SCTP; 16 for UDP, the first of the payload, and
    for echo, the first after the header.
    """
    found: dict[bytes, None] = {}
    while len(found) < count:
        if proto in ("tcp", "sctp"):
            # The kernel takes 0 for "none was chosen".
            found[(secrets.randbelow(0xFFFFFFFE) + 1).to_bytes(4, "big")] = None
        elif proto == "udp" and port == _DNS_PORT:
            found[secrets.token_bytes(2) + _DNS_REST] = None
        elif proto == "udp":
            # Text, since the far end may print what it is sent.
            found["".join(secrets.choice(_LETTERS) for _ in range(8)).encode() + b"nettrace"] = None
        else:
            found[secrets.token_bytes(8).ljust(TAG_BYTES, b"\0")] = None
    return tuple(found)
