"""
The connections of IPVS: which one is a packet of, and who takes a new one?

Lives here: struct ip_vs_conn as a walk needs it, looking it up in both directions, virtual servers,
affinity.
Not here: how a scheduler chooses (ipvs_schedule), what is done with the packet (ipvs).
Sources: net/netfilter/ipvs/ip_vs_conn.c (ip_vs_conn_in_get, ip_vs_conn_out_get), ip_vs_ctl.c
(ip_vs_service_find), ip_vs_core.c (ip_vs_schedule, ip_vs_sched_persist).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from nettrace.model.ipvs import IpvsConnection, RealServer, VirtualServer
from nettrace.model.packet import Packet, PortRange
from nettrace.model.section import Missing, MissingKind
from nettrace.parse.ipvs import server_words
from nettrace.walk.context import Run, undecided
from nettrace.walk.ipvs_schedule import shares
from nettrace.walk.memory import derived
from nettrace.walk.namespace import Namespace
from nettrace.walk.skb import Tup, mirrored, tuple_of

__all__ = [
    "GONE",
    "Bound",
    "by_answer",
    "by_request",
    "by_sent",
    "chosen",
    "ref_of",
    "server_text",
    "virtual_server",
    "virtual_servers",
]

_FTP = 21
_ANY_PORT = 0

#: How packets go to a real server that is not among those of its virtual server any more.
GONE = "gone"


@dataclass(frozen=True, slots=True)
class Bound:
    """
    One connection (struct ip_vs_conn).

    ``asked`` is the tuple of the client's packets before they are rewritten, ``server`` and
    ``port`` where they go, ``forwarding`` how.  ``tracked``: its packets stay with conntrack
    (IP_VS_CONN_F_NFCT), because vs.conntrack was on when it began.
    """

    asked: Tup
    server: str
    port: PortRange | None
    forwarding: str
    tunnel: str
    tracked: bool
    ref: str
    text: str

    @property
    def sent(self) -> Tup:
        """The tuple of the client's packets as a masqueraded real server gets them."""
        return self.asked._replace(dst=self.server, dport=self.port)


def virtual_servers(run: Run, ns: Namespace, family: int) -> tuple[VirtualServer, ...]:
    """
    Return the virtual servers of a family.

    The kernel hangs IPVS on a namespace's hooks with the first one, and takes it off with the
    last.  Without its sysctls the kernel has no IPVS, and nothing is asked for.
    """
    section = ns.netns.ipvs
    unread = isinstance(section, Missing) and section.kind is MissingKind.NOT_READ
    if unread and "net.ipv4.vs.conntrack" not in ns.sysctls:
        return ()
    found: tuple[VirtualServer, ...] = run.section(ns.name, "ipvs")
    return derived(_by_family, found)[family]


def _by_family(servers: tuple[VirtualServer, ...]) -> dict[int, tuple[VirtualServer, ...]]:
    return {family: tuple(one for one in servers if one.family == family) for family in (4, 6)}


def _by_name(servers: tuple[VirtualServer, ...]) -> dict[tuple[str, str, int] | int, VirtualServer]:
    return {one.fwmark or (one.proto, one.address, one.port): one for one in servers}


def virtual_server(servers: tuple[VirtualServer, ...], packet: Packet, ref: str) -> VirtualServer | None:
    """Return the one that a packet is for: by mark, by address and port, by address alone."""
    by_name = derived(_by_name, servers)
    if packet.mark and packet.mark in by_name:
        return by_name[packet.mark]
    here = [one for one in servers if (one.proto, one.address) == (packet.proto, packet.dst)]
    if not here:
        return None
    if packet.dport is None or packet.dport.single is None:
        undecided(f"the kernel chooses the port from {packet.dport}, and IPVS goes by it", ref)
    exact = by_name.get((packet.proto, packet.dst, packet.dport.single))
    return exact or by_name.get((packet.proto, packet.dst, _ANY_PORT))


def ref_of(ns: Namespace, server: VirtualServer) -> str:
    """Return the path of a virtual server in the snapshot."""
    name = f"fwmark/{server.fwmark}" if server.fwmark else f"{server.proto}/{server.address}/{server.port}"
    return f"{ns.name}/ipvs/{name}"


def server_text(server: VirtualServer) -> str:
    """Name a virtual server as ipvsadm does."""
    return f"{server_words(server)} -s {server.scheduler}"


# --- connections -------------------------------------------------------------------------


def by_request(run: Run, ns: Namespace, tup: Tup) -> Bound | None:
    """Return the connection that a client's packet belongs to (ip_vs_conn_in_get)."""
    return next((one for one in _connections(run, ns, tup) if one.asked == tup), None)


def by_answer(run: Run, ns: Namespace, tup: Tup) -> Bound | None:
    """Return the connection that a real server's packet belongs to (ip_vs_conn_out_get)."""
    return by_sent(run, ns, mirrored(tup))


def by_sent(run: Run, ns: Namespace, tup: Tup) -> Bound | None:
    """Return the connection whose client's packets are these, as the real server gets them."""
    return next((one for one in _connections(run, ns, tup) if one.sent == tup), None)


def _connections(run: Run, ns: Namespace, tup: Tup) -> Iterator[Bound]:
    """
    Yield those of this walk, then those of the snapshot.

    A port that the kernel is still to choose meets no old entry, as with conntrack.
    """
    yield from run.bound.get(ns.name, ())
    ports = (tup.sport, tup.dport)
    if any(port is None or port.single is None for port in ports):
        return
    held: tuple[IpvsConnection, ...] = run.section(ns.name, "ipvs_connections")
    servers: tuple[VirtualServer, ...] = run.section(ns.name, "ipvs")
    for one in held:
        if one.client_port and one.proto == tup.proto:
            yield _listed(ns, servers, one)


def _listed(ns: Namespace, servers: tuple[VirtualServer, ...], one: IpvsConnection) -> Bound:
    """
    Return an entry of the snapshot.

    How it forwards is not shown with it, but with its real server, which it keeps.
    """
    real = next(
        (
            real
            for server in servers
            for real in server.real_servers
            if real.address == one.server and real.port in (one.server_port, 0) and _serves(server, one)
        ),
        None,
    )
    return Bound(
        asked=Tup(one.proto, one.client, one.address, _port(one.client_port), _port(one.port)),
        server=one.server,
        port=_port(one.server_port),
        forwarding=real.forwarding if real is not None else GONE,
        tunnel=real.tunnel if real is not None else "",
        tracked=_tracks(ns),
        ref=f"{ns.name}/ipvs_connections",
        text=f"{one.proto} {one.client}:{one.client_port} {one.address}:{one.port} {one.state}",
    )


def _serves(server: VirtualServer, one: IpvsConnection) -> bool:
    if server.fwmark:
        return True
    return (server.proto, server.address) == (one.proto, one.address) and server.port in (one.port, 0)


def _port(number: int) -> PortRange:
    return PortRange(number, number)


def _tracks(ns: Namespace) -> bool:
    return bool(int(ns.sysctls.get("net.ipv4.vs.conntrack", "0")))


# --- a new one ---------------------------------------------------------------------------


def chosen(run: Run, ns: Namespace, server: VirtualServer, packet: Packet) -> Bound | None:
    """Choose a real server for a new connection and remember it; None where there is nobody."""
    if not server.fwmark and server.persistent is None and packet.dport != _port(server.port):
        return None  # port zero is only supported in persistent services
    real = _kept(run, ns, server, packet) if server.persistent is not None else None
    how = "kept by its affinity" if real is not None else ""
    if real is None:
        real = _scheduled(run, ns, server, packet)
        how = f"chosen by {server.scheduler}"
    if real is None:
        return None
    port = _port(real.port) if real.port and _same_port(server, packet) else packet.dport
    made = Bound(
        asked=tuple_of(packet),
        server=real.address,
        port=port,
        forwarding=real.forwarding,
        tunnel=real.tunnel,
        tracked=_tracks(ns),
        ref=ref_of(ns, server),
        text=f"{server_text(server)}: {real.address} {how}",
    )
    run.bound.setdefault(ns.name, []).append(made)
    return made


def _same_port(server: VirtualServer, packet: Packet) -> bool:
    """A persistent server of all ports leaves the port as it is (ip_vs_sched_persist)."""
    return server.persistent is None or packet.dport == _port(server.port)


def _scheduled(run: Run, ns: Namespace, server: VirtualServer, packet: Packet) -> RealServer | None:
    ref = ref_of(ns, server)
    options = shares(server, packet, ref)
    words = [
        f"{one.server.address}:{one.server.port} {one.part} by {server.scheduler} in {ns.name}"
        if one.server is not None
        else f"nobody {one.part} by {server.scheduler} in {ns.name}"
        for one in options
    ]
    index = run.choose(
        [(one.part, text) for one, text in zip(options, words, strict=True)],
        key=f"{ref} {packet.src} {packet.sport}",
    )
    return options[index].server


def _kept(run: Run, ns: Namespace, server: VirtualServer, packet: Packet) -> RealServer | None:
    """
    Return the real server that the client's last connections went to, if that may still take it.

    The template is kept by the client's address, masked; for a mark's servers under the mark.  It
    does not hold if its real server is gone, or has weight 0 and expire_quiescent_template is set.
    """
    proto, address, port = packet.proto, packet.dst, 0
    if packet.dport == _port(server.port):
        port = server.port if server.port != _FTP else 0
    elif server.fwmark:
        proto, address = "ip", str(ip_address(server.fwmark))
    client = _masked(packet.src, server.netmask)
    held: tuple[IpvsConnection, ...] = run.section(ns.name, "ipvs_connections")
    for one in held:
        if (one.proto, one.client, one.client_port) != (proto, client, 0):
            continue
        if (one.address, one.port) != (address, port):
            continue
        for real in server.real_servers:
            if real.address == one.server and (not one.server_port or real.port == one.server_port):
                quiet = int(ns.sysctls.get("net.ipv4.vs.expire_quiescent_template", "0"))
                return None if quiet and not real.weight else real
    return None


def _masked(address: str, length: int | None) -> str:
    if length is None:
        return address
    return str(ip_network(f"{address}/{length}", strict=False).network_address)
