"""
An exchange: the first packet, what comes back, and the rest of the conversation.

Lives here: which packets follow which, what the client makes of them.
Not here: one packet's way (leg), errnos (outcome), several branches (walker).
TCP: SYN, SYN/ACK, ACK, one full-size segment each way.  UDP and ICMP echo: request and answer.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.step import Verdict
from nettrace.model.walk import Endpoint, Leg, Outcome, Path
from nettrace.walk.conntrack import entry_of
from nettrace.walk.context import Answer, Delivery, Run, Undecided
from nettrace.walk.leg import Walked, walk_leg
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.outcome import of_answer, of_errno
from nettrace.walk.output import output_route
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Skb, mirrored, tuple_of
from nettrace.walk.stages import Next

__all__ = ["exchange"]

#: IP and TCP headers without options.
_HEADERS = {4: 40, 6: 60}
#: What an end outside of the snapshot is taken to have.
_USUAL_MSS = {4: 1460, 6: 1440}
#: Echo and timestamp: what the kernel answers by itself.
_ICMP_ANSWERS = {8: 0, 13: 14, 128: 129}
_ECHO = {"icmp": 8, "icmpv6": 128}
#: A full-size segment shrinks at most this often before the walk calls it a stall.
_SHRINKS = 8

_SYN = frozenset({"SYN"})
_SYN_ACK = frozenset({"SYN", "ACK"})
_ACK = frozenset({"ACK"})
_DATA = frozenset({"ACK", "PSH"})


class _Mss(NamedTuple):
    """The largest segment that one end sends by itself, and the one that the other end was told of."""

    own: int
    told: int


class _Talk:
    """One exchange of a run: the legs so far, and both ends."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.legs: list[Leg] = []
        self.endpoint: Endpoint | None = None
        self.sent = run.flow.packet
        self.server = Delivery("", self.sent, "")
        usual = _USUAL_MSS[self.sent.family]
        self.client_mss = self.server_mss = _Mss(usual, usual)

    def walk(self, kind: str, skb: Skb, begin: Next) -> Walked:
        walked = walk_leg(self.run, kind, skb, begin)
        self.legs.append(walked.leg)
        return walked

    def path(
        self,
        outcome: Outcome,
        *,
        failed: int | None = None,
        errno: str | None = None,
        delay: float = 0.0,
        reason: str = "",
        redrawn: bool = False,
    ) -> Path:
        run = self.run
        leg = self.legs[failed] if failed is not None else None
        return Path(
            probability=float(run.probability),
            draws=tuple(run.draws),
            legs=tuple(self.legs),
            verdict=leg.verdict if leg is not None else Verdict.DELIVERED,
            outcome=outcome,
            errno=errno,
            delay=delay or None,
            endpoint=self.endpoint,
            failed=failed,
            reason=reason or (leg.reason if leg is not None else ""),
            redrawn=redrawn,
            learned=_learned(run),
        )


_Sender: TypeAlias = Callable[[_Talk, str, Packet], Walked]


def exchange(run: Run) -> Path:
    """Walk the whole exchange of *run*'s flow on the branch that its draws decide."""
    talk = _Talk(run)
    try:
        talk.sent = _first(run)
        request = _from_client(talk, "request", talk.sent)
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
    usual = _USUAL_MSS[taken.family]
    talk.client_mss = _Mss(request.skb.offered or usual, delivery.mss or usual)
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


def _from_client(talk: _Talk, kind: str, packet: Packet) -> Walked:
    """Walk a packet of the client's: out of its socket, or in by the device it is behind."""
    run = talk.run
    origin = run.flow.origin
    skb = Skb(packet, origin.netns, device=origin.device or "", own=origin.device is None)
    if origin.device is not None and "SYN" in packet.tcp_flags:
        mtu = namespace(run, origin.netns).link(origin.device).mtu
        skb.mss = skb.offered = mtu - _HEADERS[packet.family]
    return talk.walk(kind, skb, Next.SEND if origin.device is None else Next.RECEIVE)


def _from_server(talk: _Talk, kind: str, packet: Packet) -> Walked:
    skb = Skb(packet, talk.server.netns, own=True, hops=True)
    if packet.proto == "icmpv6":
        skb.prefers = talk.server.came_by  # icmpv6_echo_reply: flowi6_oif
    return talk.walk(kind, skb, Next.SEND)


# --- the request did not arrive ------------------------------------------------------------


def _refused(talk: _Talk, request: Walked, failed: int) -> Path:
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
        back = _walk_answer(talk, answer)
        if back.leg.verdict is Verdict.UNKNOWN:
            return talk.path(Outcome.UNKNOWN, failed=failed, reason=back.leg.reason)
        if _reaches_client(talk, back):
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


def _walk_answer(talk: _Talk, answer: Answer) -> Walked:
    """Walk an ICMP error or an RST from the namespace that made it."""
    skb = Skb(
        answer.packet,
        answer.netns,
        conn=answer.conn,
        reply=answer.reply,
        bound=answer.by,
        hops=True,
        attached=answer.attached,
    )
    if answer.conn is not None:
        skb.state, skb.attached = "RELATED", True
    begin = Next.SEND
    if answer.frame is not None:
        skb.device, skb.source_mac, skb.dest_mac = answer.frame
        begin = Next.SEND_BY_PORT
    return talk.walk("reply" if answer.packet.proto == "tcp" else "error", skb, begin)


def _reaches_client(talk: _Talk, back: Walked) -> bool:
    """Did it arrive at the client, or leave the snapshot to where the client is?"""
    origin = talk.run.flow.origin
    if back.arrived:
        return back.delivery is not None and back.delivery.netns == origin.netns
    if back.leg.verdict is not Verdict.LEFT_SNAPSHOT or origin.device is None:
        return False
    packet = back.skb.packet
    if packet.is_icmp_error:
        same = packet.inner is not None and tuple_of(packet.inner) == tuple_of(talk.sent)
    else:
        same = tuple_of(packet) == mirrored(tuple_of(talk.sent))
    return same and (back.skb.netns, back.skb.device) == (origin.netns, origin.device)


# --- it did, and is answered -----------------------------------------------------------------


def _answered(talk: _Talk, delivery: Delivery) -> Path:
    proto = delivery.packet.proto
    try:
        answer = _answer(talk.run, delivery)
    except Undecided as unknown:
        talk.legs.append(Leg(kind="reply", steps=(), verdict=Verdict.UNKNOWN, reason=unknown.reason))
        return talk.path(Outcome.UNKNOWN, failed=1)
    reply = _from_server(talk, "reply", answer)
    if not _reaches_client(talk, reply):
        open_end = reply.leg.verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT)
        return talk.path(Outcome.UNKNOWN if open_end else Outcome.TIMEOUT, failed=1)
    if proto != "tcp":
        return talk.path(Outcome.CONNECTED, reason=reply.leg.reason if not reply.arrived else "")
    usual = _USUAL_MSS[delivery.packet.family]
    talk.server_mss = _Mss(reply.skb.offered or usual, reply.skb.mss or usual)
    ack = replace(talk.sent, tcp_flags=_ACK, size=_HEADERS[talk.sent.family] + 12)
    third = _from_client(talk, "ack", ack)
    if not third.arrived:
        return _stalled(talk, third)
    return _full_size(talk)


def _options(asked: Packet) -> int:
    """Bytes of a SYN-ACK's options: the MSS, of others those that the SYN had (tcp_synack_options)."""
    offered = asked.size - _HEADERS[asked.family]
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
        size=asked.size if asked.proto in _ECHO else _HEADERS[asked.family] + _options(asked),
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


# --- the rest of a TCP conversation ------------------------------------------------------------


_IP_MAX_MTU = 0xFFFF  # that of lo is larger (ip_dst_mtu_maybe_forward)


def _full_size(talk: _Talk) -> Path:
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
        ("data", min(talk.client_mss.own, talk.server_mss.told), talk.sent, _from_client),
        ("reply-data", min(talk.server_mss.own, talk.client_mss.told), back, _from_server),
    )
    for kind, mss, packet, sender in sides:
        size = talk.run.flow.segment or min(mss + _HEADERS[packet.family], _IP_MAX_MTU)
        stopped = _shrinking(talk, kind, replace(packet, tcp_flags=_DATA, size=size), sender)
        if stopped is not None:
            return _stalled(talk, stopped)
    return talk.path(Outcome.CONNECTED)


def _shrinking(talk: _Talk, kind: str, packet: Packet, sender: _Sender) -> Walked | None:
    """Send *packet*, smaller after each "fragmentation needed" that comes back; None if it arrives."""
    for _ in range(_SHRINKS):
        walked = sender(talk, kind, packet)
        if walked.arrived or (kind == "reply-data" and _reaches_client(talk, walked)):
            return None
        told = _told_to_shrink(talk, walked, packet)
        if told is None:
            break
        packet = replace(packet, size=told)
    return walked


def _told_to_shrink(talk: _Talk, walked: Walked, packet: Packet) -> int | None:
    """Walk the "fragmentation needed" back; return the size it asks for if the sender hears of it."""
    if walked.leg.verdict is not Verdict.TOO_BIG:
        return None
    for answer in walked.answers:
        if answer.mtu is None:
            continue
        back = _walk_answer(talk, answer)
        if (back.arrived or _reaches_client(talk, back)) and answer.mtu < packet.size:
            return answer.mtu
    return None


def _stalled(talk: _Talk, stopped: Walked) -> Path:
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
        back = _walk_answer(talk, answer)
        if _reaches_client(talk, back):
            if reset:
                return talk.path(Outcome.RESET, failed=failed, errno="ECONNRESET")
            outcome, errno = of_answer("tcp", answer.packet)
            return talk.path(outcome, failed=failed, errno=errno)
    return talk.path(Outcome.STALLS, failed=failed)


def _learned(run: Run) -> tuple[ConntrackEntry, ...]:
    """Return the connections that the walk made, where connections are tracked for NAT or filtering."""
    return tuple(
        entry_of(conn)
        for conns in run.conns.values()
        for conn in conns
        if not conn.listed and (conn.src_nat or conn.dst_nat)
    )
