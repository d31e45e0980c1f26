"""
Connection tracking: which connection is this packet of, and is it a proper part of it?

Lives here: nf_conntrack_in, the part of TCP's state machine that a walk can meet, ICMP
errors as RELATED, confirming.
Not here: address translation (nat).
Sources: net/netfilter/nf_conntrack_core.c, nf_conntrack_proto_tcp.c, nf_conntrack_proto_icmp.c,
nf_conntrack_proto_icmpv6.c.
TCP windows are not modelled: every segment of the walk is the one that is expected.
"""

from msgspec.structs import replace as struct_replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage
from nettrace.walk.checksum import found_wrong
from nettrace.walk.context import Run
from nettrace.walk.namespace import namespace
from nettrace.walk.skb import Conn, Skb, Tup, Zone, mirrored, tuple_of

__all__ = ["clashes", "confirm", "entry_of", "track"]

#: Are checksums looked at in PREROUTING (nf_ip_checksum)?
_CHECKED = "net.netfilter.nf_conntrack_checksum"

#: ICMP types that begin a connection (valid_new of both files).
_BEGIN = {"icmp": (8, 13, 15, 17), "icmpv6": (128, 139)}

#: Multicast listeners, router and neighbour discovery: no connections (noct_valid_new).
_UNTRACKED6 = frozenset({130, 131, 132, 133, 134, 135, 136, 143})


def track(run: Run, skb: Skb, hook: str) -> None:
    """
    Find or make the connection of a packet (nf_conntrack_in).

    A packet that was seen before (over lo, or an answer tied to its connection) keeps what
    it has.  Sets ``state`` and ``reply`` of *skb*.  What a CT rule asked for is asked once: who
    became INVALID is looked for anew behind lo, in the zone of no rule.
    """
    if skb.conn is not None or skb.state == "UNTRACKED":
        return
    try:
        _track(run, skb, hook)
    finally:
        skb.template = None
    if skb.state == "INVALID" and not skb.packet.is_icmp_error:
        skb.attached = False  # skb->_nfct is 0 again


def _track(run: Run, skb: Skb, hook: str) -> None:
    packet = skb.packet
    if packet.proto == "icmpv6" and packet.icmp_type in _UNTRACKED6:
        skb.state = "UNTRACKED"
        return
    if packet.is_icmp_error:
        _track_error(run, skb, hook)
        return
    looks = hook == "prerouting" and skb.spoiled is not None and namespace(run, skb.netns).number(_CHECKED)
    if looks and found_wrong(skb):
        _invalid(run, skb, hook, "has a wrong checksum")
        return
    tup = tuple_of(packet)
    conn, reply = _find(run, skb.netns, tup, packet, _zone(skb))
    if conn is None:
        _begin(run, skb, tup)
        return
    if packet.proto == "tcp" and not _tcp_goes_on(conn, packet, reply=reply):
        _invalid(run, skb, hook, "out of order for its connection")
        return
    skb.conn, skb.reply = conn, reply
    skb.state = "ESTABLISHED" if reply or conn.seen_reply else "NEW"
    if "RST" in packet.tcp_flags and not conn.seen_reply:
        conn.killed = True  # where all that is answered is a reset (nf_conntrack_tcp_packet)
    if conn.listed and packet.proto == "udp" and conn.seen_reply:
        conn.assured = True  # nf_conntrack_udp_packet: answered, and older than two seconds (stream_ts)
    if reply:
        conn.seen_reply = True


def _zone(skb: Skb) -> Zone:
    """Return the zone that a CT rule gave the packet (nf_ct_zone_tmpl)."""
    zone = skb.template or Zone()
    return zone._replace(id=skb.packet.mark & 0xFFFF) if zone.marked else zone


def _find(run: Run, netns: str, tup: Tup, packet: Packet, zone: Zone) -> tuple[Conn | None, bool]:
    """Look in the connections that this walk made, then in the table as it was read; in one zone."""
    forgotten = False
    for conn in run.conns.get(netns, ()):
        for held, reply in ((conn.original, False), (conn.reply, True)):
            if held == tup and conn.zone.side(reply=reply) == zone.side(reply=reply):
                if not conn.killed:
                    return conn, reply
                forgotten = True
    return (None, False) if forgotten else _find_listed(run, netns, tup, packet, zone)


def _find_listed(run: Run, netns: str, tup: Tup, packet: Packet, zone: Zone) -> tuple[Conn | None, bool]:
    """
    Look in the table of the snapshot, for packets whose ports are all known.

    A port that the kernel is still to choose meets no old entry: the kernel avoids those of
    its own sockets, and that another host hits one is as unlikely as the table is empty.
    """
    if tup.proto in ("tcp", "udp"):
        if tup.sport is None or tup.dport is None:
            return None, False
        if tup.sport.single is None or tup.dport.single is None:
            return None, False
    elif tup.icmp_id is None:
        return None, False
    entries: tuple[ConntrackEntry, ...] = run.section(netns, "conntrack")
    for entry in entries:
        if entry.proto != tup.proto:
            continue
        original, reply = _tup(entry.proto, entry.original), _tup(entry.proto, entry.reply)
        if tup not in (original, reply):
            continue
        own = Zone(entry.zone, entry.zone_side != "reply", entry.zone_side != "original")
        if own.side(reply=tup == reply) != zone.side(reply=tup == reply):
            continue
        if _reopened(entry, packet):
            continue
        conn = Conn(
            netns=netns,
            original=original,
            reply=reply,
            mark=entry.mark,
            src_done="src_nat_done" in entry.status,
            dst_done="dst_nat_done" in entry.status,
            src_nat=original.src != reply.dst or original.sport != reply.dport,
            dst_nat=original.dst != reply.src or original.dport != reply.sport,
            confirmed=True,
            seen_reply="seen_reply" in entry.status,
            assured="assured" in entry.status,
            tcp=entry.state.lower() if entry.state else "",
            listed=True,
            zone=own,
        )
        run.conns.setdefault(netns, []).append(conn)
        return conn, tup == reply
    return None, False


def _reopened(entry: ConntrackEntry, packet: Packet) -> bool:
    """
    Does a SYN on a connection that is over make a new one (nf_conntrack_tcp_packet, NF_REPEAT)?

    One that is being closed goes on: the SYN is ignored.
    """
    over = (entry.state or "").lower() in ("time_wait", "close")
    return entry.proto == "tcp" and over and packet.tcp_flags == {"SYN"}


def _tup(proto: str, one: Tuple) -> Tup:
    return Tup(
        proto,
        one.src,
        one.dst,
        PortRange(one.sport, one.sport) if one.sport is not None else None,
        PortRange(one.dport, one.dport) if one.dport is not None else None,
        one.icmp_type,
        one.icmp_id,
    )


_TCP_STATES = (
    "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close",
    "syn_sent2",
)  # fmt: skip
_IGNORED, _INVALID = "ignored", "invalid"


def _row(words: str) -> tuple[str, ...]:
    names = dict(zip(("SS", "SR", "ES", "FW", "CW", "LA", "TW", "CL", "S2"), _TCP_STATES, strict=True))
    return tuple({"IG": _IGNORED, "IV": _INVALID, **names}[word] for word in words.split())


#: The table tcp_conntracks without the state of a connection that is not there yet:
#: (an answer, the flag that counts) -> the next state by the present one.
_TCP_NEXT = {
    (False, "SYN"): _row("SS IG IG IG IG IG SS SS S2"),
    (False, "SYN/ACK"): _row("IV SR IV IV IV IV IV IV SR"),
    (False, "FIN"): _row("IV FW FW LA LA LA TW CL IV"),
    (False, "ACK"): _row("IV ES ES CW CW TW TW CL IV"),
    (False, "RST"): _row("CL CL CL CL CL CL CL CL CL"),
    (True, "SYN"): _row("S2 IV IV IV IV IV SS IV S2"),
    (True, "SYN/ACK"): _row("SR IG IG IG IG IG IG IG SR"),
    (True, "FIN"): _row("IV FW FW LA LA LA TW CL IV"),
    (True, "ACK"): _row("IG SR ES CW CW TW TW CL IG"),
    (True, "RST"): _row("CL CL CL CL CL CL CL CL CL"),
}


def _begin(run: Run, skb: Skb, tup: Tup) -> None:
    """Make a connection that is not yet in the table (init_conntrack)."""
    packet = skb.packet
    state = ""
    if packet.proto == "tcp":
        state = _tcp_begins(run, skb)
        if not state:
            skb.state = "INVALID"
            return
    if packet.proto in _BEGIN and packet.icmp_type not in _BEGIN[packet.proto]:
        skb.state = "INVALID"
        return
    skb.conn = Conn(netns=skb.netns, original=tup, reply=mirrored(tup), tcp=state, zone=_zone(skb))
    skb.reply = False
    skb.state = "NEW"


def _tcp_begins(run: Run, skb: Skb) -> str:
    """Return the state of a connection that begins with this packet, "" if none may (tcp_new)."""
    flags = skb.packet.tcp_flags
    if "RST" in flags or {"SYN", "ACK"} <= flags:
        return ""
    if "SYN" in flags:
        return "" if "FIN" in flags else "syn_sent"
    if "FIN" in flags or "ACK" not in flags:
        return ""
    loose = namespace(run, skb.netns).number("net.netfilter.nf_conntrack_tcp_loose")
    return "established" if loose else ""


def _tcp_goes_on(conn: Conn, packet: Packet, *, reply: bool) -> bool:
    """
    Move the connection's state; False for a packet that conntrack calls invalid.

    Sequence numbers are taken to be in the window.  A SYN that is ignored may be answered all the
    same: then both ends know something that conntrack did not, and it follows them.
    """
    flags = packet.tcp_flags
    kind = next((name for name in ("RST", "SYN", "FIN", "ACK") if name in flags), "")
    if kind == "SYN" and "ACK" in flags:
        kind = "SYN/ACK"
    row = _TCP_NEXT.get((reply, kind))
    if row is None or not conn.tcp:
        return row is not None
    following = row[_TCP_STATES.index(conn.tcp)]
    if following == _INVALID:
        return False
    if following == _IGNORED:
        if kind == "SYN/ACK" and conn.ignored_syn:
            conn.tcp, conn.ignored_syn = "syn_recv", False
        conn.ignored_syn = conn.ignored_syn or (kind == "SYN" and not reply)
        return True
    if conn.tcp == "syn_recv" and following == "established":
        conn.assured = True
    conn.tcp = following
    return True


def _track_error(run: Run, skb: Skb, hook: str) -> None:
    """
    Tie an ICMP error to the connection of the packet it quotes (nf_conntrack_inet_error).

    Invalid when that connection is not known here, or when the error is not for its sender.
    """
    inner = skb.packet.inner
    if inner is None:
        _invalid(run, skb, hook, "quotes nothing")
        return
    wanted = mirrored(tuple_of(inner))
    conn, reply = _find(run, skb.netns, wanted, inner, _zone(skb))
    if conn is None:
        _invalid(run, skb, hook, "quotes a connection that is not known here")
        return
    if inner.src != skb.packet.dst:
        _invalid(run, skb, hook, "is not for the sender of what it quotes")
        return
    skb.conn, skb.reply, skb.state = conn, reply, "RELATED"


def _invalid(run: Run, skb: Skb, hook: str, why: str) -> None:
    skb.state = "INVALID"
    run.step(
        skb,
        Stage.CONNTRACK,
        "invalid",
        hook=hook,
        ref=f"{skb.netns}/conntrack",
        text=f"conntrack state INVALID: the packet {why}",
    )


def clashes(run: Run, skb: Skb) -> bool:
    """
    Would the answers of a new connection be taken for packets of one that is in the table?

    Where nat is at work it has found another port by then.  __nf_conntrack_confirm drops such a packet;
    of UDP only where nat has decided on the old one (nf_ct_resolve_clash).
    """
    conn = skb.conn
    if conn is None or conn.confirmed or skb.reply or skb.packet.is_icmp_error:
        return False
    port = conn.reply.sport
    if conn.reply.proto not in ("tcp", "udp") or port is None or port.single is None:
        return False
    if conn.reply.dport is None or conn.reply.dport.single is None:
        return False
    zone = conn.zone.side(reply=True)
    for entry in run.section(conn.netns, "conntrack"):
        held = (_tup(entry.proto, entry.original), _tup(entry.proto, entry.reply))
        if conn.reply not in held or conn.original in held or entry.zone != zone:
            continue
        if entry.proto != "udp" or entry.status & {"src_nat_done", "dst_nat_done"}:
            return True
    return False


def confirm(run: Run, skb: Skb) -> None:
    """
    Put the connection into the table: it leaves the host, or reaches a socket.

    __nf_conntrack_confirm; not for an answer that was tied to a packet that got no further.
    """
    conn = skb.conn
    if conn is not None and not conn.confirmed and not skb.reply:
        conn.confirmed = True
        run.conns.setdefault(conn.netns, []).append(conn)


def entry_of(conn: Conn) -> ConntrackEntry:
    """Return a connection as ``conntrack -L`` would show it."""
    flags = {
        "confirmed": conn.confirmed,
        "seen_reply": conn.seen_reply,
        "assured": conn.assured,
        "src_nat": conn.src_nat,
        "dst_nat": conn.dst_nat,
        "src_nat_done": conn.src_done,
        "dst_nat_done": conn.dst_done,
    }
    return ConntrackEntry(
        proto=conn.original.proto,
        original=_entry_tuple(conn.original),
        reply=_entry_tuple(conn.reply),
        state=conn.tcp.upper() or None,
        status=frozenset(name for name, on in flags.items() if on),
        mark=conn.mark,
        zone=conn.zone.id,
        zone_side=None
        if conn.zone.original == conn.zone.reply
        else "original"
        if conn.zone.original
        else "reply",
    )


def _entry_tuple(tup: Tup) -> Tuple:
    plain = Tuple(src=tup.src, dst=tup.dst, icmp_type=tup.icmp_type, icmp_id=tup.icmp_id)
    return struct_replace(
        plain,
        sport=tup.sport.single if tup.sport is not None else None,
        dport=tup.dport.single if tup.dport is not None else None,
    )
