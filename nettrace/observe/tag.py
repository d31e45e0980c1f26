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

__all__ = ["TAG_BYTES", "dns_question", "fresh_tags", "tag_length"]

#: Of a payload.  nf_tables compares as much at once (NFT_REG_SIZE).
TAG_BYTES = 16

#: A DNS question's section: the name servers of the root, which any server tells or refuses (RFC 1035 4.1).
_ROOT_NS = b"\0" + struct.pack(">HH", 2, 1)
#: Bytes of a question that is filled up: header, section, OPT record, head of its padding (RFC 6891, 7830).
_FILLED = 12 + len(_ROOT_NS) + 11 + 4
_OPT, _OPT_SIZE, _OPT_PADDING = 41, 1232, 12
_DNS_PORT = 53
#: What identifies an echo request is sent whatever size was asked for.
_LEAST_ECHO = 8
_LETTERS = string.ascii_lowercase + string.digits


def tag_length(proto: str, port: int | None, room: int) -> int:
    """
    Return how many bytes a tag has in a payload of *room* bytes; 0 if there is no place for one.

    4 for TCP, the sequence number of the SYN, and SCTP.  Up to 16 for UDP and echo, in whole words, as
    they are compared (packet_filter); a DNS question has at least 17 bytes.
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
            found[dns_question(secrets.token_bytes(2), room)[:TAG_BYTES]] = None
        elif proto == "udp":
            # Text, since the far end may print what it is sent.
            found[("".join(secrets.choice(_LETTERS) for _ in range(8)).encode() + b"nettrace")[:length]] = (
                None
            )
        else:
            found[secrets.token_bytes(8).ljust(TAG_BYTES, b"\0")[:length]] = None
    return tuple(found)


def dns_question(identifier: bytes, size: int) -> bytes:
    """
    Return a question with *identifier* (2 bytes) of *size* bytes; of 17 where it cannot be filled up to that.

    What fills it is EDNS's padding, which servers pass over.
    """
    filled = size >= _FILLED
    head = identifier + struct.pack(">HHHHH", 0x0100, 1, 0, 0, int(filled)) + _ROOT_NS
    if not filled:
        return head
    padding = size - _FILLED
    opt = b"\0" + struct.pack(">HHIHHH", _OPT, _OPT_SIZE, 0, padding + 4, _OPT_PADDING, padding)
    return head + opt + bytes(padding)
