"""
The rest of a TCP conversation: one segment each way, as large as both ends agreed on.

Lives here: segments that shrink when somebody is told to, and what a client sees that is connected
while a packet does not arrive.
Not here: the handshake (exchange).
"""

from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from nettrace.model.packet import Packet
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Path
from nettrace.walk.leg import Walked
from nettrace.walk.namespace import namespace
from nettrace.walk.outcome import of_answer
from nettrace.walk.talk import HEADERS, Talk, from_client, from_server, reaches_client, walk_answer

__all__ = ["full_size", "without_ack"]

#: A full-size segment shrinks at most this often before the walk calls it a stall.
_SHRINKS = 8
_IP_MAX_MTU = 0xFFFF  # that of lo is larger (ip_dst_mtu_maybe_forward)

_DATA = frozenset({"ACK", "PSH"})
_Sender: TypeAlias = Callable[[Talk, str, Packet], Walked]


def full_size(talk: Talk) -> Path:
    """Send one segment each way, as large as both ends agreed on."""
    taken = talk.server.packet
    ttl = namespace(talk.run, talk.server.netns).number("net.ipv4.ip_default_ttl")
    back = replace(
        taken,
        src=taken.dst,
        dst=taken.src,
        sport=taken.dport,
        dport=taken.sport,
        ttl=ttl,
        tos=0,
        mark=0,
        df=True,
    )
    sides: tuple[tuple[str, int, Packet, _Sender], ...] = (
        ("data", min(talk.client_mss.own, talk.server_mss.told), talk.sent, from_client),
        ("reply-data", min(talk.server_mss.own, talk.client_mss.told), back, from_server),
    )
    for kind, mss, packet, sender in sides:
        size = talk.run.flow.segment or min(mss + HEADERS[packet.family], _IP_MAX_MTU)
        stopped = _shrinking(talk, kind, replace(packet, tcp_flags=_DATA, size=size), sender)
        if stopped is not None:
            return _stalled(talk, stopped)
    return talk.path(Outcome.CONNECTED)


def without_ack(talk: Talk, ack: Walked) -> Path:
    """
    The last packet of the handshake did not arrive; the client sends its data nevertheless.

    They acknowledge too, and a server that gets them is connected (tcp_check_req).  Where they are lost as
    well, the client hears of it only by an RST.
    """
    stalls = _stalled(talk, ack)
    if stalls.outcome is not Outcome.STALLS:
        return stalls
    path = full_size(talk)
    arrived = any(leg.kind == "data" and leg.verdict is Verdict.DELIVERED for leg in path.legs)
    return path if arrived or path.outcome is not Outcome.STALLS else stalls


def _shrinking(talk: Talk, kind: str, packet: Packet, sender: _Sender) -> Walked | None:
    """Send *packet*, smaller after each "fragmentation needed" that comes back; None if it arrives."""
    for _ in range(_SHRINKS):
        walked = sender(talk, kind, packet)
        if walked.arrived or (kind == "reply-data" and reaches_client(talk, walked)):
            return None
        told = _told_to_shrink(talk, walked, packet)
        if told is None:
            break
        packet = replace(packet, size=told)
    return walked


def _told_to_shrink(talk: Talk, walked: Walked, packet: Packet) -> int | None:
    """Walk the "fragmentation needed" back; return the size it asks for if the sender hears of it and can."""
    if walked.leg.verdict is not Verdict.TOO_BIG:
        return None
    for answer in walked.answers:
        if answer.mtu is None:
            continue
        back = walk_answer(talk, answer)
        if (back.arrived or reaches_client(talk, back)) and answer.mtu < packet.size:
            return None if walked.skb.forgets_mtu else answer.mtu
    return None


def _stalled(talk: Talk, stopped: Walked) -> Path:
    """
    The client is connected, and a later packet does not arrive.

    An ICMP error about its ACK comes together with the SYN/ACK, and is what a client that
    waits for its socket to become writable reads as the result (SO_ERROR).  A packet that
    finds no socket is answered with an RST, and which end is told then is left open.
    """
    failed = talk.legs.index(stopped.leg)
    leg = stopped.leg
    if leg.verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT):
        return talk.path(Outcome.UNKNOWN, failed=failed)
    if leg.verdict is Verdict.UNEXPECTED:
        reason = f"{leg.reason}; the RST that answers it ends the connection for one end or both"
        return talk.path(Outcome.UNKNOWN, failed=failed, reason=reason)
    for answer in stopped.answers if leg.kind in ("ack", "data") else ():
        reset = answer.packet.proto == "tcp"
        if not reset and leg.kind != "ack":
            continue
        back = walk_answer(talk, answer)
        if reaches_client(talk, back):
            if reset:
                return talk.path(Outcome.RESET, failed=failed, errno="ECONNRESET")
            outcome, errno = of_answer("tcp", answer.packet)
            return talk.path(outcome, failed=failed, errno=errno)
    reason = ""
    if leg.verdict is Verdict.TOO_BIG and stopped.skb.forgets_mtu:
        reason = f"{leg.reason}; for an address of its own the sender takes no smaller MTU"
    return talk.path(Outcome.STALLS, failed=failed, reason=reason)
