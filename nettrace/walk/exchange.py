"""
An exchange: the first packet, what comes back, and the rest of the conversation.

Lives here: which packets follow which, what the client makes of them.
Not here: the legs and who is told (talk), full-size segments (full_size), one packet's way (leg),
errnos (outcome), several branches (walker).
TCP: SYN, SYN/ACK, ACK, one full-size segment each way.  UDP and ICMP echo: request and answer.
"""

from msgspec.structs import replace

from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.model.step import Verdict
from nettrace.model.walk import Endpoint, Leg, Outcome, Path
from nettrace.walk.context import Delivery, Run, Undecided
from nettrace.walk.full_size import full_size, without_ack
from nettrace.walk.leg import Walked
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.outcome import of_answer, of_errno
from nettrace.walk.output import output_route
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Skb, mirrored, tuple_of
from nettrace.walk.talk import (
    HEADERS,
    USUAL_MSS,
    Mss,
    Talk,
    from_client,
    from_server,
    reaches_client,
    walk_answer,
)

__all__ = ["exchange"]

#: Echo and timestamp: what the kernel answers by itself.
_ICMP_ANSWERS = {8: 0, 13: 14, 128: 129}
_ECHO = {"icmp": 8, "icmpv6": 128}

_SYN = frozenset({"SYN"})
_SYN_ACK = frozenset({"SYN", "ACK"})
_ACK = frozenset({"ACK"})


def exchange(run: Run) -> Path:
    """Walk the whole exchange of *run*'s flow on the branch that its draws decide."""
    talk = Talk(run)
    try:
        talk.sent = _first(run)
        request = from_client(talk, "request", talk.sent)
    except Undecided as unknown:
        talk.legs.append(Leg(kind="request", steps=(), verdict=Verdict.UNKNOWN, reason=unknown.reason))
        return talk.path(Outcome.UNKNOWN, failed=0)
    talk.sent = run.sent or talk.sent
    run.expected.add((run.flow.origin.netns, mirrored(tuple_of(talk.sent))))
    if not request.arrived:
        return _refused(talk, request, 0)
    delivery = request.delivery
    if delivery is None or not delivery.listens:
        return talk.path(Outcome.UNKNOWN, reason="the request reached a socket that waits for something else")
    taken = delivery.packet
    talk.server = delivery
    talk.endpoint = Endpoint(
        netns=delivery.netns,
        address=taken.dst,
        port=taken.dport.single if taken.dport is not None else None,
        source=taken.src,
        source_port=PortRange(taken.sport.lo, taken.sport.hi) if taken.sport is not None else None,
    )
    usual = USUAL_MSS[taken.family]
    talk.client_mss = Mss(request.skb.offered or usual, delivery.mss or usual)
    run.expected.add((delivery.netns, tuple_of(taken)))
    return _answered(talk, delivery)


def _first(run: Run) -> Packet:
    """Return the client's first packet, its source port a range if the kernel chooses it."""
    packet = run.flow.packet
    if packet.proto in ("tcp", "udp", "sctp") and packet.sport is None:
        ports = EPHEMERAL
        if run.flow.origin.device is None:
            ns = namespace(run, run.flow.origin.netns)
            low, high = ns.sysctl("net.ipv4.ip_local_port_range").split()
            ports = PortRange(int(low), int(high))
        packet = replace(packet, sport=ports)
    if packet.proto == "tcp" and not packet.tcp_flags:
        packet = replace(packet, tcp_flags=_SYN)
    if packet.proto in _ECHO and packet.icmp_type is None:
        packet = replace(packet, icmp_type=_ECHO[packet.proto], icmp_code=0)
    return packet


# --- the request did not arrive ------------------------------------------------------------


def _refused(talk: Talk, request: Walked, failed: int) -> Path:
    """Say what the client sees of a request that ended on the way."""
    leg = request.leg
    proto = talk.run.flow.packet.proto
    if leg.verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT):
        return talk.path(Outcome.UNKNOWN, failed=failed)
    outcome: Outcome = Outcome.TIMEOUT
    errno: str | None = None
    delay = 0.0
    if request.errno is not None:
        routed = leg.verdict is Verdict.DROPPED_BY_XFRM
        outcome, errno = of_errno(proto, request.errno, routed=routed)
        if outcome is not Outcome.TIMEOUT:
            return talk.path(outcome, failed=failed, errno=errno)
    for answer in request.answers:
        back = walk_answer(talk, answer)
        if back.leg.verdict is Verdict.UNKNOWN:
            return talk.path(Outcome.UNKNOWN, failed=failed, reason=back.leg.reason)
        if reaches_client(talk, back):
            outcome, errno = of_answer(proto, answer.packet)
            delay += answer.delay
            if outcome is Outcome.TIMEOUT:
                delay = 0.0
    return talk.path(outcome, failed=failed, errno=errno, delay=delay, redrawn=_is_redrawn(talk.run, request))


def _is_redrawn(run: Run, request: Walked) -> bool:
    """
    Is TCP's next SYN a new draw?

    The nat rules bind a connection once, but one that was not confirmed is forgotten with its
    packet.
    """
    skb = request.skb
    unconfirmed = skb.conn is not None and not skb.conn.confirmed
    return run.flow.packet.proto == "tcp" and unconfirmed and skb.netns in run.drawn_in


# --- it did, and is answered -----------------------------------------------------------------


def _answered(talk: Talk, delivery: Delivery) -> Path:
    proto = delivery.packet.proto
    try:
        answer = _answer(talk.run, delivery)
    except Undecided as unknown:
        talk.legs.append(Leg(kind="reply", steps=(), verdict=Verdict.UNKNOWN, reason=unknown.reason))
        return talk.path(Outcome.UNKNOWN, failed=1)
    reply = from_server(talk, "reply", answer)
    if not reaches_client(talk, reply):
        open_end = reply.leg.verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT)
        return talk.path(Outcome.UNKNOWN if open_end else Outcome.TIMEOUT, failed=1)
    if proto != "tcp":
        return talk.path(Outcome.CONNECTED, reason=reply.leg.reason if not reply.arrived else "")
    usual = USUAL_MSS[delivery.packet.family]
    talk.server_mss = Mss(reply.skb.offered or usual, reply.skb.mss or usual)
    ack = replace(talk.sent, tcp_flags=_ACK, size=HEADERS[talk.sent.family] + 12)
    third = from_client(talk, "ack", ack)
    return full_size(talk) if third.arrived else without_ack(talk, third)


def _options(asked: Packet) -> int:
    """Bytes of a SYN-ACK's options: the MSS, of others those that the SYN had (tcp_synack_options)."""
    offered = asked.size - HEADERS[asked.family]
    return max(4, min(20, offered)) if asked.proto == "tcp" else 20


def _answer(run: Run, delivery: Delivery) -> Packet:
    """
    Return the packet that answers a delivered request.

    Undecided where it depends on the program.
    """
    asked = delivery.packet
    ns = namespace(run, delivery.netns)
    mark = asked.mark if asked.proto == "tcp" and ns.number("net.ipv4.tcp_fwmark_accept") else 0
    if asked.proto in _ECHO and ns.number(f"net.ipv{asked.family}.fwmark_reflect"):
        mark = asked.mark
    answer = Packet(
        src=asked.dst,
        dst=asked.src,
        proto=asked.proto,
        sport=asked.dport,
        dport=asked.sport,
        tcp_flags=_SYN_ACK if asked.proto == "tcp" else frozenset(),
        icmp_type=_ICMP_ANSWERS[asked.icmp_type or 8] if asked.proto in _ECHO else None,
        icmp_code=0 if asked.proto in _ECHO else None,
        icmp_id=asked.icmp_id,
        size=asked.size if asked.proto in _ECHO else HEADERS[asked.family] + _options(asked),
        ttl=ns.number("net.ipv4.ip_default_ttl"),
        tos=asked.tos if asked.proto in _ECHO else 0,  # icmp_reply, icmpv6_echo_reply
        df=asked.proto == "tcp",
        mark=mark,
    )
    if asked.proto == "udp" and delivery.bound_address is None:
        _same_either_way(run, ns, answer)
    return answer


def _same_either_way(run: Run, ns: Namespace, answer: Packet) -> None:
    """
    Does it matter whether a UDP program on a wildcard address gives its answer a source?

    One that does (IP_PKTINFO) answers from where it was asked; for one that does not the
    kernel chooses, and its policy rules see no source.
    """
    plain = output_route(run, ns, Skb(replace(answer, src=""), ns.name))
    careful = output_route(run, ns, Skb(answer, ns.name))
    if isinstance(plain, Failed):
        if isinstance(careful, Failed):
            return
        how = f"not answer, {plain.text},"
    elif plain.source != answer.src:
        how = f"answer from {plain.source}"
    elif isinstance(careful, Failed) or plain[:3] != careful[:3]:
        how = f"answer by {plain.device}, as if it had no source,"
    else:
        return
    raise Undecided(
        f"{ns.name} was asked at {answer.src} and would {how} unless the program takes care of it"
    )
