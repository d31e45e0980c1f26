"""
The legs of one exchange, and who is told of them.

Lives here: both ends' packets, answers that are sent on the way, whether they reach the client.
Not here: which packets follow which (exchange, full_size), one packet's way (leg).
"""

from typing import NamedTuple

from nettrace.model.packet import Packet
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.step import Verdict
from nettrace.model.walk import Endpoint, Leg, Outcome, Path
from nettrace.walk.conntrack import entry_of
from nettrace.walk.context import Answer, Delivery, Run
from nettrace.walk.leg import Walked, walk_leg
from nettrace.walk.namespace import namespace
from nettrace.walk.skb import Skb, mirrored, tuple_of
from nettrace.walk.stages import Next

__all__ = [
    "HEADERS",
    "USUAL_MSS",
    "Mss",
    "Talk",
    "from_client",
    "from_server",
    "reaches_client",
    "walk_answer",
]

#: IP and TCP headers without options.
HEADERS = {4: 40, 6: 60}
#: What an end outside of the snapshot is taken to have.
USUAL_MSS = {4: 1460, 6: 1440}


class Mss(NamedTuple):
    """The largest segment that one end sends by itself, and the one that the other end was told of."""

    own: int
    told: int


class Talk:
    """One exchange of a run: the legs so far, and both ends."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.legs: list[Leg] = []
        self.endpoint: Endpoint | None = None
        self.sent = run.flow.packet
        self.server = Delivery("", self.sent, "")
        usual = USUAL_MSS[self.sent.family]
        self.client_mss = self.server_mss = Mss(usual, usual)

    def walk(self, kind: str, skb: Skb, begin: Next) -> Walked:
        """Walk one more leg."""
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
        """Return the branch as it ended; *failed* is the index of the leg that did not arrive."""
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


def from_client(talk: Talk, kind: str, packet: Packet) -> Walked:
    """Walk a packet of the client's: out of its socket, or in by the device it is behind."""
    run = talk.run
    origin = run.flow.origin
    skb = Skb(packet, origin.netns, device=origin.device or "", own=origin.device is None)
    if origin.device is not None and "SYN" in packet.tcp_flags:
        mtu = namespace(run, origin.netns).link(origin.device).mtu
        skb.mss = skb.offered = mtu - HEADERS[packet.family]
    return talk.walk(kind, skb, Next.SEND if origin.device is None else Next.RECEIVE)


def from_server(talk: Talk, kind: str, packet: Packet) -> Walked:
    """Walk a packet of the server's, out of its socket."""
    echo = packet.proto in ("icmp", "icmpv6")
    skb = Skb(packet, talk.server.netns, own=True, hops=True, by_kernel=echo)
    if packet.proto == "icmpv6":
        skb.prefers = talk.server.came_by  # icmpv6_echo_reply: flowi6_oif
    return talk.walk(kind, skb, Next.SEND)


def walk_answer(talk: Talk, answer: Answer) -> Walked:
    """Walk an ICMP error or an RST from the namespace that made it."""
    skb = Skb(
        answer.packet,
        answer.netns,
        conn=answer.conn,
        reply=answer.reply,
        bound=answer.by,
        hops=True,
        attached=answer.attached,
        by_kernel=answer.by_kernel,
    )
    if answer.conn is not None:
        skb.state, skb.attached = "RELATED", True
    begin = Next.SEND
    if answer.frame is not None:
        skb.device, skb.source_mac, skb.dest_mac = answer.frame
        begin = Next.SEND_BY_PORT
    return talk.walk("reply" if answer.packet.proto == "tcp" else "error", skb, begin)


def reaches_client(talk: Talk, back: Walked) -> bool:
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


def _learned(run: Run) -> tuple[ConntrackEntry, ...]:
    """Return the connections that the walk made, where connections are tracked for NAT or filtering."""
    return tuple(
        entry_of(conn)
        for conns in run.conns.values()
        for conn in conns
        if not conn.listed and (conn.src_nat or conn.dst_nat)
    )
