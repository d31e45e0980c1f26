"""
Does anybody here take the packet?

Lives here: who takes it, echo requests, what is answered where nobody does.
Not here: the lookup of sockets (lookup), the answers' way (exchange), tunnels' ends (tunnel).
Sources: net/ipv4/ip_input.c (ip_protocol_deliver_rcu), tcp_ipv4.c, udp.c, icmp.c;
net/ipv6/ip6_input.c (ip6_protocol_deliver_rcu), tcp_ipv6.c, udp.c, icmp.c.
"""

from typing import NoReturn

from nettrace.model.sockets import Socket
from nettrace.model.step import Stage, Verdict
from nettrace.walk import icmp6
from nettrace.walk.checksum import received
from nettrace.walk.context import Delivery, Run, ended, undecided
from nettrace.walk.icmp import PORT_UNREACHABLE, PROTOCOL_UNREACHABLE, send_error, send_reset
from nettrace.walk.icmp6 import send_error6
from nettrace.walk.ipip import ipip_in
from nettrace.walk.lookup import WILDCARDS, at_port, busy, raw_takers, takers
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.programs import socket_receives
from nettrace.walk.relay import relay_in
from nettrace.walk.skb import Skb, mirrored, tuple_of
from nettrace.walk.stages import Next
from nettrace.walk.tunnel import decapsulate, tunnel_at
from nettrace.walk.xfrm import check_in

__all__ = ["deliver"]

_ECHO_REQUEST6 = 128


def deliver(run: Run, skb: Skb) -> Next:
    """Give the packet to who waits for it; otherwise end the leg, with the answer the kernel gives."""
    ns = namespace(run, skb.netns)
    received(run, skb)
    packet = skb.packet
    check_in(run, ns, skb, "in")
    tunnels = tunnel_at(ns, packet)
    if tunnels:
        return decapsulate(run, skb, tunnels)
    carried = relay_in(run, skb) or ipip_in(run, skb)
    if carried is not None:
        return carried
    wanted = packet
    if packet.is_icmp_error:
        if packet.inner is None or (ns.name, mirrored(tuple_of(packet.inner))) not in run.expected:
            _end(run, skb, Verdict.UNEXPECTED, "quotes a connection of nobody here")
        _take(run, skb, "an ICMP error for a connection of this namespace")
    if (ns.name, tuple_of(wanted)) in run.expected:
        socket_receives(run, ns)
        _take(run, skb, "a socket waits for it")
    if skb.route is not None and skb.route.route.type == "anycast":
        _anycast(run, ns, skb)
    if packet.proto in ("icmp", "icmpv6"):
        _echo(run, ns, skb)
    if packet.proto == "tcp" and ("ACK" in packet.tcp_flags or "RST" in packet.tcp_flags):
        send_reset(run, skb, attach=False)
        _end(run, skb, Verdict.UNEXPECTED, f"no socket here waits for anything from {packet.src}")
    if packet.proto in ("tcp", "udp"):
        socket_receives(run, ns)
        _listener(run, ns, skb)
    _protocol(run, ns, skb)
    undecided("a stage that ends the leg came back")


def _take(
    run: Run, skb: Skb, text: str, *, ref: str = "", listens: bool = False, bound: str | None = None
) -> NoReturn:
    run.step(skb, Stage.DELIVER, "deliver", ref=ref or f"{skb.netns}/sockets", text=text)
    run.delivery = Delivery(
        netns=skb.netns,
        packet=skb.packet,
        device=skb.device,
        listens=listens,
        bound_address=bound,
        mss=skb.mss,
        came_by=_came_by(skb),
    )
    ended(Verdict.DELIVERED, text)


def _anycast(run: Run, ns: Namespace, skb: Skb) -> None:
    """TCP does not answer at an anycast address (tcp_v6_conn_request); others answer from another one."""
    packet = skb.packet
    ref = f"{ns.name}/routes/255/{packet.dst}/128"
    if packet.proto == "tcp":
        verdict = Verdict.NOT_LISTENING if run.leg == "request" else Verdict.UNEXPECTED
        _end(run, skb, verdict, f"{packet.dst} is an anycast address, at which TCP does not listen", ref)
    undecided(f"{packet.dst} is an anycast address of {ns.name}, and who answers uses another one", ref)


def _end(run: Run, skb: Skb, verdict: Verdict, reason: str, ref: str = "") -> NoReturn:
    run.step(skb, Stage.DELIVER, "drop", ref=ref or f"{skb.netns}/sockets", text=reason, stops=True)
    ended(verdict, f"{reason} ({skb.netns})")


def _echo(run: Run, ns: Namespace, skb: Skb) -> None:
    """The kernel itself answers echo and timestamp requests, and no others (icmp_pointers)."""
    packet = skb.packet
    if packet.family == 6:
        _echo6(run, ns, skb)
    if packet.icmp_type == 13:
        _take(run, skb, "the kernel answers with its time of day", listens=True)
    if packet.icmp_type != 8:
        _end(run, skb, Verdict.UNEXPECTED, f"nobody here waits for ICMP type {packet.icmp_type}")
    name = "net.ipv4.icmp_echo_ignore_all"
    if ns.number(name):
        _end(run, skb, Verdict.NOT_LISTENING, f"{name} is 1", f"{ns.name}/sysctls/{name}")
    _take(run, skb, "the kernel answers echoes", ref=f"{ns.name}/sysctls/{name}", listens=True)


def _echo6(run: Run, ns: Namespace, skb: Skb) -> NoReturn:
    """icmpv6_rcv: it answers echo requests."""
    packet, name = skb.packet, "net.ipv6.icmp.echo_ignore_all"
    if packet.icmp_type != _ECHO_REQUEST6:
        _end(run, skb, Verdict.UNEXPECTED, f"nobody here waits for ICMPv6 type {packet.icmp_type}")
    if ns.number(name):
        _end(run, skb, Verdict.NOT_LISTENING, f"{name} is 1", f"{ns.name}/sysctls/{name}")
    _take(run, skb, "the kernel answers echoes", ref=f"{ns.name}/sysctls/{name}", listens=True)


def _listener(run: Run, ns: Namespace, skb: Skb) -> None:
    """Hand a TCP or UDP packet to its socket, or refuse it."""
    packet = skb.packet
    sockets: tuple[Socket, ...] = run.section(ns.name, "sockets")
    fitting = takers(sockets, packet, _came_by(skb))
    if packet.dport is not None and packet.dport.single is None and fitting:
        undecided(
            f"the kernel chooses the port from {packet.dport}, and some of them are listened at",
            f"{ns.name}/sockets/{packet.proto}/{fitting[0].port}",
        )
    ref = f"{ns.name}/sockets/{packet.proto}/{packet.dport}"
    held = busy(sockets, packet)
    if held is not None:
        undecided(
            f"{ns.name} still has a connection {held.state} from this very address and port, "
            "and asks its peer before it begins another",
            ref,
        )
    if fitting:
        if skb.inner:
            undecided(f"a program listens at {packet.dport} of {ns.name} and takes the tunnel's packets", ref)
        who = _names(fitting)
        if run.leg != "request":
            _end(run, skb, Verdict.UNEXPECTED, f"{who} takes it, who did not ask for it", ref)
        bound = {None if one.address in WILDCARDS else one.address for one in fitting}
        _take(run, skb, who, ref=ref, listens=True, bound=bound.pop())
    elsewhere = sorted({one.address for one in sockets if at_port(one, packet)})
    at = f"[{packet.dst}]" if packet.family == 6 else packet.dst
    text = f"nobody listens at {at}:{packet.dport}/{packet.proto}"
    if elsewhere:
        text += f", only at {', '.join(elsewhere)}"
    run.step(skb, Stage.DELIVER, "drop", ref=ref, text=text, stops=True)
    if packet.proto == "tcp":
        send_reset(run, skb, attach=False)
    elif packet.family == 6:
        send_error6(run, skb, icmp6.UNREACHABLE, icmp6.PORT_UNREACHABLE, attach=False)
    else:
        send_error(run, skb, 3, PORT_UNREACHABLE, local=True, attach=False)
    # an answer that finds no socket met the wrong one on its way, or lost its translation
    verdict = Verdict.NOT_LISTENING if run.leg == "request" else Verdict.UNEXPECTED
    ended(verdict, f"{text} in {ns.name}")


def _came_by(skb: Skb) -> str:
    """inet_iif: over lo, the device that has the address (rt_iif, ip_route_output_key_hash_rcu)."""
    if skb.device == "lo" and skb.route is not None and skb.route.route.nexthops:
        return skb.route.route.nexthops[0].device or "lo"
    return skb.device


def _names(fitting: list[Socket]) -> str:
    """Name who takes it; several share the port and the kernel picks one by a hash."""
    names = sorted({one.process or f"a socket at {one.address}:{one.port}" for one in fitting})
    return names[0] if len(fitting) == 1 else f"one of {len(fitting)} sockets ({', '.join(names)})"


#: Protocols that a kernel may or may not have, built in or as a module; no snapshot tells.
_PERHAPS = frozenset({2, 4, 33, 41, 47, 50, 51, 103, 108, 115, 136, 137})
_SCTP = 132


def _protocol(run: Run, ns: Namespace, skb: Skb) -> None:
    """Neither TCP nor UDP nor ICMP: raw sockets, or "protocol unreachable" (ip_protocol_deliver_rcu)."""
    packet = skb.packet
    ref = f"{ns.name}/sockets/{packet.proto}"
    number = _SCTP if packet.proto == "sctp" else int(packet.proto)
    raw = raw_takers(run.section(ns.name, "sockets"), packet, number, _came_by(skb))
    if number == _SCTP and any(name.startswith("net.sctp.") for name in ns.sysctls):
        undecided(f"the kernel of {ns.name} has SCTP, whose sockets are not read", ref)
    if number in _PERHAPS:
        undecided(f"whether the kernel of {ns.name} takes protocol {packet.proto} is in no snapshot", ref)
    if raw:
        _take(run, skb, f"{_names(raw)} reads all packets of protocol {packet.proto}", ref=ref)
    text = f"nobody in {ns.name} takes protocol {packet.proto}"
    run.step(skb, Stage.DELIVER, "drop", ref=ref, text=text, stops=True)
    if packet.family == 6:
        send_error6(run, skb, icmp6.PARAMETER_PROBLEM, icmp6.UNKNOWN_HEADER)
    else:
        send_error(run, skb, 3, PROTOCOL_UNREACHABLE, local=True)
    ended(Verdict.NOT_LISTENING, text)
