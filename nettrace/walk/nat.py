"""
Address translation: binding a connection once, then every packet of it.

Lives here: nf_nat_setup_info, the choice of ports, nf_nat_packet, ICMP errors' inner packets.
Not here: which rule asks for it (targets), the connection itself (conntrack).
Sources: net/netfilter/nf_nat_core.c, nf_nat_proto.c, nf_nat_masquerade.c, nf_nat_redirect.c.
"""

from fractions import Fraction

from msgspec.structs import replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Verdict
from nettrace.model.xt import NatRange
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.skb import Conn, Skb, Tup, mirrored

__all__ = ["MANIP_OF", "bind", "leave_alone", "needs_rules", "translate"]

#: Hook -> which end of the packet its nat chains may change (HOOK2MANIP).
MANIP_OF = {"prerouting": "dst", "output": "dst", "input": "src", "postrouting": "src"}

#: An ICMP identifier that the kernel draws.
_DRAWN = -1

#: An address range with more choices than this is not drawn from.
_MOST_ADDRESSES = 16


def needs_rules(skb: Skb, manip: str) -> bool:
    """Do the nat chains see this packet?  Only the first of a connection, once for each end."""
    conn = skb.conn
    if conn is None or skb.state not in ("NEW", "RELATED") or skb.packet.is_icmp_error:
        return False
    return not (conn.src_done if manip == "src" else conn.dst_done)


def leave_alone(run: Run, conn: Conn, manip: str) -> None:
    """No rule bound it: keep the addresses, and the port unless it is taken (nf_nat_alloc_null_binding)."""
    bind(run, conn, manip, NatRange())


def bind(run: Run, conn: Conn, manip: str, to: NatRange, *, random: bool = False, where: str = "") -> None:
    """
    Decide the connection's translation at one end, as nf_nat_setup_info does.

    *random*: the port is drawn although the old one may be free (``--random``,
    ``--random-fully``).  What the kernel draws freely becomes a range of ports.
    """
    current = mirrored(conn.reply)
    new = _unique(run, conn, current, manip, to, random=random, where=where)
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


def _unique(run: Run, conn: Conn, current: Tup, manip: str, to: NatRange, *, random: bool, where: str) -> Tup:
    """get_unique_tuple: the address of the range, then a port that makes the answers' tuple unique."""
    address = _address(run, current, manip, to, where)
    if manip == "src":
        wanted = current._replace(src=address or current.src)
        port = wanted.sport
    else:
        wanted = current._replace(dst=address or current.dst)
        port = wanted.dport
    if port is None:
        if random and wanted.icmp_type is not None:
            return wanted._replace(icmp_id=_DRAWN)  # the identifier is what ports are to others
        return wanted
    if to.ports is not None:
        if not random and port.inside(to.ports):
            return wanted
        return _with_port(wanted, manip, to.ports)
    if random and manip == "src":
        return _with_port(wanted, manip, _free_ports(port))
    if manip == "src" and port.single is not None and _taken(run, conn, wanted):
        return _with_port(wanted, manip, _free_ports(port))
    return wanted


def _address(run: Run, current: Tup, manip: str, to: NatRange, where: str) -> str | None:
    """
    Return the new address.

    From a range the kernel picks by a hash of the addresses, unless an earlier connection of
    the same sender holds one: a draw, as far as a snapshot tells.
    """
    if to.lo is None or to.hi is None or to.hi == to.lo:
        return to.lo
    low, high = _value(to.lo), _value(to.hi)
    count = high - low + 1
    if not 0 < count <= _MOST_ADDRESSES:
        undecided(f"the kernel picks one of {count} addresses {to.lo}-{to.hi}", where)
    key = f"{manip} {to.lo}-{to.hi} {current.src} {current.dst}"
    index = run.choose(
        [(Fraction(1, count), f"address {_text(low + i)} of {to.lo}-{to.hi}") for i in range(count)], key
    )
    return _text(low + index)


def _value(address: str) -> int:
    return int.from_bytes(bytes(int(part) for part in address.split(".")))


def _text(value: int) -> str:
    return ".".join(str(part) for part in value.to_bytes(4))


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
    """nf_nat_used_tuple: would answers to *wanted* be taken for those of another connection?"""
    answers = mirrored(wanted)
    if any(other.reply == answers for other in run.conns.get(conn.netns, ()) if other is not conn):
        return True
    if wanted.sport is None or wanted.sport.single is None:
        return False
    for entry in run.section(conn.netns, "conntrack"):
        held = entry.reply
        if (entry.proto, held.src, held.dst, held.dport) == (
            wanted.proto,
            wanted.dst,
            wanted.src,
            wanted.sport.single,
        ) and (wanted.dport is None or held.sport == wanted.dport.single):
            return True
    return False


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
