"""
Does anybody here take the packet?

Lives here: the lookup of sockets, echo requests, what is answered where nobody listens.
Not here: the answers' way (exchange), tunnels' ends (tunnel).
Sources: net/ipv4/tcp_ipv4.c, udp.c (__udp4_lib_lookup), inet_hashtables.c, icmp.c.
"""

from nettrace.model.packet import Packet
from nettrace.model.sockets import Socket
from nettrace.model.step import Stage, Verdict
from nettrace.walk.context import Delivery, Run, ended, undecided
from nettrace.walk.icmp import PORT_UNREACHABLE, send_error, send_reset
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.skb import Skb, mirrored, tuple_of
from nettrace.walk.stages import Next
from nettrace.walk.tunnel import decapsulate, tunnel_at

__all__ = ["deliver"]

_ANY4 = ("0.0.0.0", "*")
_ANY6 = ("::",)


def deliver(run: Run, skb: Skb) -> Next:
    """Give the packet to who waits for it; otherwise end the leg, with the answer the kernel gives."""
    ns = namespace(run, skb.netns)
    packet = skb.packet
    tunnels = tunnel_at(ns, packet)
    if tunnels:
        return decapsulate(run, skb, tunnels)
    wanted = packet
    if packet.is_icmp_error:
        if packet.inner is None or (ns.name, mirrored(tuple_of(packet.inner))) not in run.expected:
            _end(run, skb, Verdict.UNEXPECTED, "quotes a connection of nobody here")
        _take(run, skb, "an ICMP error for a connection of this namespace")
    if (ns.name, tuple_of(wanted)) in run.expected:
        _take(run, skb, "a socket waits for it")
    if packet.proto == "icmp":
        _echo(run, ns, skb)
    if packet.proto == "tcp" and ("ACK" in packet.tcp_flags or "RST" in packet.tcp_flags):
        send_reset(run, skb, attach=False)
        _end(run, skb, Verdict.UNEXPECTED, f"no socket here waits for anything from {packet.src}")
    _listener(run, ns, skb)
    undecided("a stage that ends the leg came back")


def _take(
    run: Run, skb: Skb, text: str, *, ref: str = "", listens: bool = False, bound: str | None = None
) -> None:
    run.step(skb, Stage.DELIVER, "deliver", ref=ref or f"{skb.netns}/sockets", text=text)
    run.delivery = Delivery(
        netns=skb.netns,
        packet=skb.packet,
        device=skb.device,
        listens=listens,
        bound_address=bound,
        mss=skb.mss,
    )
    ended(Verdict.DELIVERED, text)


def _end(run: Run, skb: Skb, verdict: Verdict, reason: str, ref: str = "") -> None:
    run.step(skb, Stage.DELIVER, "drop", ref=ref or f"{skb.netns}/sockets", text=reason, stops=True)
    ended(verdict, f"{reason} ({skb.netns})")


def _echo(run: Run, ns: Namespace, skb: Skb) -> None:
    """The kernel itself answers echo requests (icmp_echo)."""
    packet = skb.packet
    if packet.icmp_type != 8:
        _end(run, skb, Verdict.UNEXPECTED, f"nobody here sent what {packet.src} answers")
    name = "net.ipv4.icmp_echo_ignore_all"
    if ns.number(name):
        _end(run, skb, Verdict.NOT_LISTENING, f"{name} is 1", f"{ns.name}/sysctls/{name}")
    _take(run, skb, "the kernel answers echoes", ref=f"{ns.name}/sysctls/{name}", listens=True)


def _listener(run: Run, ns: Namespace, skb: Skb) -> None:
    packet = skb.packet
    if packet.dport is None:
        undecided(f"who takes protocol {packet.proto} in {ns.name} is not walked yet", f"{ns.name}/sockets")
    sockets: tuple[Socket, ...] = run.section(ns.name, "sockets")
    fitting = [one for one in sockets if _fits(one, packet, skb.device)]
    if packet.dport.single is None and fitting:
        undecided(
            f"the kernel chooses the port from {packet.dport}, and some of them are listened at",
            f"{ns.name}/sockets/{packet.proto}/{fitting[0].port}",
        )
    ref = f"{ns.name}/sockets/{packet.proto}/{packet.dport}"
    if fitting:
        chosen = max(fitting, key=lambda one: (one.remote is not None, one.address not in (*_ANY4, *_ANY6)))
        if skb.inner:
            undecided(f"a program listens at {chosen.port} of {ns.name} and takes the tunnel's packets", ref)
        who = chosen.process or f"a socket at {chosen.address}:{chosen.port}"
        if run.leg != "request":
            _end(run, skb, Verdict.UNEXPECTED, f"{who} takes it, who did not ask for it", ref)
        bound = None if chosen.address in (*_ANY4, *_ANY6) else chosen.address
        _take(run, skb, who, ref=ref, listens=True, bound=bound)
    elsewhere = sorted({one.address for one in sockets if _listens_at(one, packet)})
    text = f"nobody listens at {packet.dst}:{packet.dport}/{packet.proto}"
    if elsewhere:
        text += f", only at {', '.join(elsewhere)}"
    run.step(skb, Stage.DELIVER, "drop", ref=ref, text=text, stops=True)
    if packet.proto == "tcp":
        send_reset(run, skb, attach=False)
    else:
        send_error(run, skb, 3, PORT_UNREACHABLE, local=True, attach=False)
    # an answer that finds no socket met the wrong one on its way, or lost its translation
    verdict = Verdict.NOT_LISTENING if run.leg == "request" else Verdict.UNEXPECTED
    ended(verdict, f"{text} in {ns.name}")


def _listens_at(one: Socket, packet: Packet) -> bool:
    """Is this a socket for new calls at the packet's port?"""
    if one.proto != packet.proto or packet.dport is None:
        return False
    if one.state != ("listen" if packet.proto == "tcp" else "unconn"):
        return (
            packet.proto == "udp"
            and one.remote is not None
            and packet.dport.lo <= one.port <= packet.dport.hi
        )
    return packet.dport.lo <= one.port <= packet.dport.hi


def _fits(one: Socket, packet: Packet, device: str) -> bool:
    """Compute_score of inet_hashtables.c and udp.c: address, device, and who it is connected to."""
    if not _listens_at(one, packet):
        return False
    if one.address in _ANY6:
        if one.v6only:
            return False
    elif one.address not in (*_ANY4, packet.dst, f"::ffff:{packet.dst}"):
        return False
    if one.device is not None and one.device != device:
        return False
    if one.remote is None:
        return True
    return one.remote == packet.src and packet.sport is not None and packet.sport.single == one.remote_port
