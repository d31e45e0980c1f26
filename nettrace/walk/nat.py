"""
Address translation: binding a connection once, then every packet of it.

Lives here: nf_nat_setup_info, the choice of ports, nf_nat_packet, ICMP errors' inner packets.
Not here: which rule asks for it (targets), the connection itself (conntrack).
Sources: net/netfilter/nf_nat_core.c, nf_nat_proto.c, nf_nat_masquerade.c, nf_nat_redirect.c.
"""

from ipaddress import ip_address

from msgspec.structs import replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Verdict
from nettrace.model.xt_target import NatRange
from nettrace.walk.context import Run, ended
from nettrace.walk.jhash import address_words, jhash2, reciprocal_scale
from nettrace.walk.skb import Conn, DrawnPort, Skb, Tup, mirrored

__all__ = ["MANIP_OF", "bind", "leave_alone", "needs_rules", "translate"]

#: Hook -> which end of the packet its nat chains may change (HOOK2MANIP).
MANIP_OF = {"prerouting": "dst", "output": "dst", "input": "src", "postrouting": "src"}

#: So many ports are tried (NF_NAT_MAX_ATTEMPTS).
_ATTEMPTS = 128

_ALL = 0xFFFFFFFF


def needs_rules(skb: Skb, manip: str) -> bool:
    """Do the nat chains see this packet?  Only the first of a connection, once for each end."""
    conn = skb.conn
    if conn is None or skb.state not in ("NEW", "RELATED") or skb.packet.is_icmp_error:
        return False
    return not (conn.src_done if manip == "src" else conn.dst_done)


def leave_alone(run: Run, conn: Conn, manip: str) -> None:
    """No rule bound it: keep the addresses, and the port unless it is taken (nf_nat_alloc_null_binding)."""
    bind(run, conn, manip, NatRange())


def bind(
    run: Run, conn: Conn, manip: str, to: NatRange, *, random: bool = False, persistent: bool = False
) -> None:
    """
    Decide the connection's translation at one end, as nf_nat_setup_info does.

    *random*: the port is drawn although the old one may be free (``--random``,
    ``--random-fully``).  What the kernel draws freely becomes a range of ports.
    *persistent*: the address is the same whomever the sender talks to.
    """
    if conn.confirmed:
        return  # what was in the table before nat was asked is not bound any more
    current = mirrored(conn.reply)
    new = _unique(run, conn, current, manip, to, random=random, persistent=persistent)
    if new != current:
        conn.reply = mirrored(new)
        if manip == "src":
            conn.src_nat = True
        else:
            conn.dst_nat = True
    if manip == "src":
        conn.src_done = True
    else:
        conn.dst_done = True


def _unique(
    run: Run, conn: Conn, current: Tup, manip: str, to: NatRange, *, random: bool, persistent: bool
) -> Tup:
    """get_unique_tuple: the address of the range, then a port that makes the answers' tuple unique."""
    if manip == "src" and not random:
        kept = current if _in_range(current, to) else _same_source(run, conn, current, to)
        if kept is not None and not _taken(run, conn, kept):
            return kept
    address = _address(current, manip, to, conn.zone.id, persistent=persistent)
    if manip == "src":
        wanted = current._replace(src=address or current.src)
        port = wanted.sport
    else:
        wanted = current._replace(dst=address or current.dst)
        port = wanted.dport
    if port is None:
        if wanted.icmp_type is not None and (random or _taken(run, conn, wanted)):
            # the identifier is what ports are to others, whichever end is changed
            run.drawn += 1
            return wanted._replace(icmp_id=-run.drawn)
        return wanted
    if to.ports is not None:
        chosen = _port_of(run, conn, wanted, manip, to, random=random)
        return _with_port(wanted, manip, chosen if chosen is port else _drawn(run, chosen))
    if manip == "src" and (random or _taken(run, conn, wanted)):
        return _with_port(wanted, manip, _drawn(run, _free_ports(port)))
    return wanted


def _drawn(run: Run, ports: PortRange) -> PortRange:
    """Return the symbol of a port out of *ports*; the port itself if there is no choice."""
    if ports.single is not None:
        return ports
    run.drawn += 1
    return DrawnPort(ports.lo, ports.hi, run.drawn)


def _port_of(run: Run, conn: Conn, wanted: Tup, manip: str, to: NatRange, *, random: bool) -> PortRange:
    """
    Return the port out of the rule's ports (nf_nat_l4proto_unique_tuple).

    A source's is drawn; a destination's is as far from the first as it was from the base, else
    the first one.
    """
    ports = to.ports or PortRange(0, 65535)
    port = (wanted.sport if manip == "src" else wanted.dport) or ports
    fits = not random and to.base is None and port.inside(ports)
    if fits and (ports.single is not None or not _taken(run, conn, wanted)):
        return port
    if manip == "src" or random or ports.single is not None:
        return ports
    first = 0
    if to.base is not None:
        if port.single is None:
            return ports
        first = (port.single - to.base) & 0xFFFF
    elif not port.disjoint(ports):
        return ports
    size = ports.hi - ports.lo + 1
    for step in range(min(size, _ATTEMPTS)):
        chosen = ports.lo + (first + step) % size
        if not _taken(run, conn, _with_port(wanted, manip, PortRange(chosen, chosen))):
            return PortRange(chosen, chosen)
    return ports


def _in_range(tup: Tup, to: NatRange) -> bool:
    """Has the source an address and a port that the rule asks for already (nf_in_range)?"""
    if to.lo is not None:
        low, held, high = (int(ip_address(one)) for one in (to.lo, tup.src, to.hi or to.lo))
        if not low <= held <= high:
            return False
    return to.ports is None or (tup.sport is not None and tup.sport.inside(to.ports))


def _same_source(run: Run, conn: Conn, current: Tup, to: NatRange) -> Tup | None:
    """Return what an earlier connection of the same address and port was given (find_appropriate_src)."""
    if current.sport is None or current.sport.single is None:
        return None
    own = (current.proto, current.src, current.sport)
    for other in run.conns.get(conn.netns, ()):
        first = other.original
        if (first.proto, first.src, first.sport) == own and other.zone.side(reply=False) == conn.zone.side(
            reply=False
        ):
            found = current._replace(src=other.reply.dst, sport=other.reply.dport)
            if _in_range(found, to):
                return found
    for entry in run.section(conn.netns, "conntrack"):
        held, back = entry.original, entry.reply
        if (entry.proto, held.src, held.sport) != (current.proto, current.src, current.sport.single):
            continue
        if entry.zone != conn.zone.id or back.dport is None:
            continue
        found = current._replace(src=back.dst, sport=PortRange(back.dport, back.dport))
        if _in_range(found, to):
            return found
    return None


def _address(current: Tup, manip: str, to: NatRange, zone: int, *, persistent: bool) -> str | None:
    """Return the new address: of a range the one that a hash of both ends names (find_best_ips_proto)."""
    if to.lo is None or to.hi is None or to.hi == to.lo:
        return to.lo
    low, high = _host_words(to.lo), _host_words(to.hi)
    source, target = address_words(current.src), list(address_words(current.dst))
    hashed = jhash2((*source, 0, 0, 0)[:4], 0 if persistent else target[-1] ^ zone)
    found: list[int] = []
    full = False
    for index, (least, most) in enumerate(zip(low, high, strict=True)):
        first, count = (0, _ALL) if full else (least, (most - least + 1) & _ALL)
        word = (first + reciprocal_scale(hashed, count)) & _ALL
        found.append(word)
        full = full or word != most
        swapped = int.from_bytes(word.to_bytes(4), "little")
        if not persistent:
            hashed ^= swapped if manip == "dst" else target[index]
    return str(ip_address(b"".join(word.to_bytes(4) for word in found)))


def _host_words(address: str) -> tuple[int, ...]:
    packed = ip_address(address).packed
    return tuple(int.from_bytes(packed[at : at + 4]) for at in range(0, len(packed), 4))


def _free_ports(port: PortRange) -> PortRange:
    """Return where a replaced source port is taken from (nf_nat_l4proto_unique_tuple)."""
    if port.hi < 512:
        return PortRange(1, 511)
    if port.hi < 1024:
        return PortRange(600, 1023)
    return PortRange(1024, 65535)


def _with_port(tup: Tup, manip: str, port: PortRange) -> Tup:
    return tup._replace(sport=port) if manip == "src" else tup._replace(dport=port)


def _taken(run: Run, conn: Conn, wanted: Tup) -> bool:
    """
    nf_nat_used_tuple: would answers to *wanted* be taken for those of another connection?

    A port, or an identifier of ICMP, that is still to be chosen is one of this walk's connections at most.
    """
    if wanted.sport is None and wanted.icmp_type is None:
        return False
    answers = mirrored(wanted)
    zone = conn.zone.side(reply=True)
    for other in run.conns.get(conn.netns, ()):
        if other is conn:
            continue
        if other.reply == answers and other.zone.side(reply=True) == zone:
            return True
        if other.original == answers and other.zone.side(reply=False) == zone:
            return True
    if wanted.sport is None:
        return _id_taken(run, conn, answers, zone)
    if wanted.sport.single is None:
        return False
    for entry in run.section(conn.netns, "conntrack"):
        if entry.zone != zone:
            continue
        for held in (entry.reply, entry.original):
            if (entry.proto, held.src, held.dst, held.dport) == (
                wanted.proto,
                wanted.dst,
                wanted.src,
                wanted.sport.single,
            ) and (wanted.dport is None or held.sport == wanted.dport.single):
                return True
    return False


def _id_taken(run: Run, conn: Conn, answers: Tup, zone: int) -> bool:
    """Say the same of an identifier of ICMP and what was in the table before."""
    return answers.icmp_id is not None and any(
        (entry.proto, held.src, held.dst, held.icmp_id, held.icmp_type)
        == (answers.proto, answers.src, answers.dst, answers.icmp_id, answers.icmp_type)
        for entry in run.section(conn.netns, "conntrack")
        if entry.zone == zone
        for held in (entry.reply, entry.original)
    )


def translate(run: Run, skb: Skb, hook: str) -> None:
    """Rewrite a packet of a bound connection at a nat hook (nf_nat_packet, nf_nat_icmp_reply_translation)."""
    conn = skb.conn
    if conn is None:
        return
    manip = MANIP_OF[hook]
    changed = conn.src_nat if (manip == "src") != skb.reply else conn.dst_nat
    if not changed:
        return
    before = skb.packet
    # what the other direction's tuple says, seen from this packet
    target = mirrored(conn.original if skb.reply else conn.reply)
    if before.is_icmp_error:
        skb.packet = _translated_error(before, manip, target)
    elif manip == "src":
        skb.packet = replace(before, src=target.src, sport=target.sport, icmp_id=target.icmp_id)
    else:
        skb.packet = replace(before, dst=target.dst, dport=target.dport, icmp_id=target.icmp_id)
    if skb.packet != before:
        direction = "reply" if skb.reply else "original"
        run.step(
            skb,
            Stage.CONNTRACK,
            "snat" if manip == "src" else "dnat",
            hook=hook,
            before=before,
            ref=f"{skb.netns}/conntrack/{_name(conn)}",
            text=f"{direction} direction of {_name(conn)}",
        )


def _name(conn: Conn) -> str:
    one = conn.original
    ports = f" sport={one.sport} dport={one.dport}" if one.sport is not None else ""
    return f"{one.proto} src={one.src} dst={one.dst}{ports}"


def _translated_error(packet: Packet, manip: str, target: Tup) -> Packet:
    """Rewrite an ICMP error outside, and what it quotes at the opposite end."""
    inner = packet.inner
    if inner is None:
        ended(Verdict.INVALID, "an ICMP error that quotes nothing")
    if manip == "src":
        quoted = replace(inner, dst=target.src, dport=target.sport, icmp_id=target.icmp_id)
        return replace(packet, src=target.src, inner=quoted)
    quoted = replace(inner, src=target.dst, sport=target.dport, icmp_id=target.icmp_id)
    return replace(packet, dst=target.dst, inner=quoted)
