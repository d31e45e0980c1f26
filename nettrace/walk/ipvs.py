"""
IPVS at the hooks that it hangs on: requests to virtual servers, answers of real servers.

Lives here: at which hook and priority what is asked, answers rewritten back, ICMP errors about
either, nobody to take a connection.
Not here: connections (ipvs_conns), schedulers (ipvs_schedule), on to the real server (ipvs_send).
Source: net/netfilter/ipvs/ip_vs_core.c (ip_vs_ops4, ip_vs_in_hook, ip_vs_out_hook).

A request comes by PREROUTING and INPUT, where rules decide about it as for any other packet of this
host's; behind them it is sent on by OUTPUT and POSTROUTING.  Answers come back by FORWARD, where they
still have the real server's address.  What drops packets to defend itself (drop_packet, drop_entry) is
set aside while memory suffices; so is a backup's daemon.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.ipvs import VirtualServer
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Verdict
from nettrace.walk import icmp6
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.icmp import PORT_UNREACHABLE, send_error
from nettrace.walk.icmp6 import send_error6
from nettrace.walk.ipvs_conns import (
    Bound,
    by_answer,
    by_request,
    chosen,
    ref_of,
    server_text,
    virtual_server,
    virtual_servers,
)
from nettrace.walk.ipvs_send import forget, transmit_error, transmit_to
from nettrace.walk.namespace import Namespace
from nettrace.walk.output import output_route
from nettrace.walk.point import HookPoint
from nettrace.walk.routing import Failed
from nettrace.walk.skb import Skb, mirrored, tuple_of

__all__ = ["Turn", "ipvs_turns"]

_PROTOCOLS = ("tcp", "udp", "sctp")
_FTP_DATA = PortRange(20, 20)

#: Errors that are sent on to real servers (ip_vs_in_icmp, ip_vs_in_icmp_v6 take more).
_PASSED_ON = (3, 4, 11)

_Go = Callable[[Run, Skb, HookPoint, tuple[VirtualServer, ...]], None]


class Turn(NamedTuple):
    """What IPVS does at a hook, and at which priority."""

    priority: int
    name: str
    go: Callable[[], None]


def ipvs_turns(run: Run, skb: Skb, point: HookPoint) -> Iterator[Turn]:
    """Yield what IPVS does with a packet at a hook; nothing where there are no virtual servers."""
    places = _PLACES.get(point.hook)
    if places is None or not (servers := virtual_servers(run, point.ns, point.family)):
        return
    for priority, name, go in places:

        def turn(go: _Go = go) -> None:
            if not skb.ipvs:
                go(run, skb, point, servers)

        yield Turn(priority, name, turn)


# --- requests ------------------------------------------------------------------------------


def _request(run: Run, skb: Skb, point: HookPoint, servers: tuple[VirtualServer, ...]) -> None:
    """Send a client's packet to its real server, a new connection's to one that is chosen (ip_vs_in_hook)."""
    ns, packet = point.ns, skb.packet
    _set_aside(ns)
    if packet.is_icmp_error:
        _error_for_server(run, skb, point, servers)
        return
    if packet.proto not in _PROTOCOLS:
        return
    bound = by_request(run, ns, tuple_of(packet))
    if bound is not None and bound.ref.endswith("/ipvs_connections") and _begins(ns, packet):
        undecided(f"{bound.text} is there already, and whether it is used again is not walked", bound.ref)
    if bound is None:
        bound = _new(run, skb, point, servers)
    if bound is not None:
        transmit_to(run, skb, point, bound)


def _begins(ns: Namespace, packet: Packet) -> bool:
    return packet.proto == "tcp" and "SYN" in packet.tcp_flags


def _set_aside(ns: Namespace) -> None:
    """Say where IPVS drops by chance, or leaves all to another director."""
    for name, calm in (("backup_only", "0"), ("drop_packet", "012"), ("drop_entry", "012")):
        value = ns.sysctls.get(f"net.ipv4.vs.{name}", "0")
        if value not in calm:
            ref = f"{ns.name}/sysctls/net.ipv4.vs.{name}"
            undecided(f"net.ipv4.vs.{name} is {value}, and what follows is not in the snapshot", ref)


def _new(run: Run, skb: Skb, point: HookPoint, servers: tuple[VirtualServer, ...]) -> Bound | None:
    """Begin a connection with a packet that may begin one (tcp_conn_schedule, udp_conn_schedule)."""
    ns, packet = point.ns, skb.packet
    if packet.proto == "tcp":
        sloppy = ns.sysctls.get("net.ipv4.vs.sloppy_tcp", "0") != "0"
        if "RST" in packet.tcp_flags or not (sloppy or "SYN" in packet.tcp_flags):
            return None
    server = virtual_server(servers, packet, f"{ns.name}/ipvs")
    if server is None or packet.sport == _FTP_DATA:
        return None
    if server.engine:
        undecided(f"the persistence engine {server.engine} looks into packets", ref_of(ns, server))
    here = point.hook == "output" or skb.device == "lo"
    if here and by_request(run, ns, mirrored(tuple_of(packet))) is not None:
        return None  # a reply of a local real server is no new connection
    bound = chosen(run, ns, server, packet)
    if bound is None:
        _nobody(run, skb, point, server)
    return bound


def _nobody(run: Run, skb: Skb, point: HookPoint, server: VirtualServer) -> None:
    """Refuse it: there is a virtual server, and nobody behind it (ip_vs_leave)."""
    ns = point.ns
    if server.fwmark and ns.sysctls.get("net.ipv4.vs.cache_bypass", "0") != "0":
        undecided("net.ipv4.vs.cache_bypass is on, which is not walked", ref_of(ns, server))
    reals = server.real_servers
    why = "it has no real server"
    if reals:
        why = f"none of its {len(reals)} real servers takes connections"
        if all(not real.weight for real in reals):
            why = f"all its {len(reals)} real servers have weight 0"
        elif server.scheduler in ("sh", "dh"):
            why = "the real server that its table names for this client has weight 0, or too many connections"
    run.step(
        skb,
        Stage.IPVS,
        "refuse",
        hook=point.hook,
        ref=ref_of(ns, server),
        text=server_text(server),
        note=why,
        stops=True,
    )
    if skb.packet.family == 6:
        send_error6(run, skb, icmp6.UNREACHABLE, icmp6.PORT_UNREACHABLE)
    else:
        send_error(run, skb, 3, PORT_UNREACHABLE, local=True)
    tells = skb.own and run.leg == "request" and point.hook == "output"
    ended(
        Verdict.REFUSED,
        f"IPVS of {ns.name} refuses {skb.packet.dst}:{skb.packet.dport}: {why}",
        "EPERM" if tells else None,
    )


def _error_for_server(run: Run, skb: Skb, point: HookPoint, servers: tuple[VirtualServer, ...]) -> None:
    """Pass on an error about what a real server sent (ip_vs_in_icmp, ip_vs_in_icmp_v6)."""
    packet, inner = skb.packet, skb.packet.inner
    if inner is None or inner.proto not in _PROTOCOLS:
        return
    if packet.family == 4 and packet.icmp_type not in _PASSED_ON:
        return
    bound = by_request(run, point.ns, mirrored(tuple_of(inner)))
    if bound is None:
        if point.ns.sysctls.get("net.ipv4.vs.schedule_icmp", "0") != "0":
            undecided("net.ipv4.vs.schedule_icmp is on, which is not walked", f"{point.ns.name}/sysctls")
        return
    transmit_error(run, skb, point, bound)


def _passing_error(run: Run, skb: Skb, point: HookPoint, servers: tuple[VirtualServer, ...]) -> None:
    """In FORWARD only errors are looked at as requests (ip_vs_forward_icmp)."""
    if skb.packet.is_icmp_error:
        _error_for_server(run, skb, point, servers)


# --- answers -------------------------------------------------------------------------------


def _answer(run: Run, skb: Skb, point: HookPoint, servers: tuple[VirtualServer, ...]) -> None:
    """Give a masqueraded real server's packet the virtual address as its source (ip_vs_out_hook)."""
    packet = skb.packet
    asked = packet
    if packet.is_icmp_error:
        if packet.inner is None or packet.inner.proto not in _PROTOCOLS:
            return
        asked = packet.inner
        bound = by_answer(run, point.ns, mirrored(tuple_of(asked)))
    elif packet.proto in _PROTOCOLS:
        bound = by_answer(run, point.ns, tuple_of(packet))
        if bound is None:
            _unsolicited(point.ns)
    else:
        return
    if bound is None or bound.forwarding != "masq":
        return
    virtual = bound.asked
    if packet.is_icmp_error:
        quoted = replace(asked, dst=virtual.dst, dport=virtual.dport)
        skb.packet = replace(packet, src=virtual.dst, inner=quoted)
    else:
        skb.packet = replace(packet, src=virtual.dst, sport=virtual.dport)
    _route_again(run, skb, point)
    untracked = skb.conn is not None and not bound.tracked
    forget(skb, bound)
    run.step(
        skb,
        Stage.IPVS,
        "snat",
        hook=point.hook,
        before=packet,
        ref=bound.ref,
        text=bound.text,
        note="vs.conntrack is 0: no longer tracked" if untracked else "",
    )


def _unsolicited(ns: Namespace) -> None:
    """With nat_icmp_send a real server's packet of no connection is refused; nobody has that on."""
    if ns.sysctls.get("net.ipv4.vs.nat_icmp_send", "0") != "0":
        ref = f"{ns.name}/sysctls/net.ipv4.vs.nat_icmp_send"
        undecided("net.ipv4.vs.nat_icmp_send is on, which is not walked", ref)


def _route_again(run: Run, skb: Skb, point: HookPoint) -> None:
    """Route an answer as one of this host's own, from the virtual address (ip_vs_route_me_harder)."""
    route = skb.route
    again = point.ns.sysctls.get("net.ipv4.vs.snat_reroute", "1") != "0"
    if point.hook == "input" or not again or route is None or route.kind == "local":
        return
    bound, skb.bound = skb.bound, skb.bound if skb.own else None
    found = output_route(run, point.ns, skb)
    skb.bound = bound
    if isinstance(found, Failed):
        run.step(skb, Stage.ROUTE, "drop", hook=point.hook, ref=found.ref, text=found.text, stops=True)
        ended(Verdict.NO_ROUTE, f"IPVS of {point.ns.name} has {found.text} for the answer")
    if found[:3] != route[:3]:
        via = f" via {found.gateway}" if found.gateway else ""
        run.step(
            skb,
            Stage.ROUTE,
            "route",
            device=found.device,
            ref=f"{point.ns.name}/routes/{found.route.table}/{found.route.dst}",
            text=f"{found.route.dst}{via} dev {found.device}",
            note=f"routed again, from {skb.packet.src}",
        )
    skb.route = found


#: Hook -> (priority, name, what), as registered (ip_vs_ops4 and ip_vs_ops6).
_PLACES: dict[str, tuple[tuple[int, str, _Go], ...]] = {
    "input": ((98, "IPVS's answers", _answer), (99, "IPVS's requests", _request)),
    "output": ((-99, "IPVS's answers", _answer), (-98, "IPVS's requests", _request)),
    "forward": ((99, "IPVS's errors", _passing_error), (100, "IPVS's answers", _answer)),
}
