"""
Target texts to a flow: who sends, from where, to which address, port and protocol.

Lives here: the flow between two ends, the ports that they may mean, the addresses and ports of one.
Not here: finding the ends by name (nettrace.kube.ends), the grammar of the text
(nettrace.parse.target), reading what is missing (nettrace.app): a section that was not read yet
comes back as Needs.
"""

from collections.abc import Iterable
from typing import NamedTuple

from nettrace.kube.ends import End, Wanted, arriving_end, find_end, known, refuse, sources_of
from nettrace.kube.service_names import headless_ends, outside_address
from nettrace.model.addr import family_of, is_loopback
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.kube import Service, ServicePort
from nettrace.model.packet import Packet, PortRange
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs
from nettrace.parse.target import Target, parse_target

__all__ = ["FIRST_SIZES", "Ends", "ends_of", "resolve"]

#: Sizes in bytes of the first packet when none is asked for, by version of IP: a SYN with the
#: usual options, a small datagram, and ping's default.
FIRST_SIZES = {
    4: {"tcp": 60, "udp": 60, "icmp": 84},
    6: {"tcp": 80, "udp": 80, "icmpv6": 104},
}

#: The type of an echo request (RFC 792, RFC 4443).
ECHO_TYPES = {"icmp": 8, "icmpv6": 128}


def resolve(
    snapshot: Snapshot,
    source: str,
    target: str,
    *,
    sport: int | None = None,
    size: int | None = None,
    mark: int = 0,
    ttl: int = 64,
    df: bool = True,
    at: str | None = None,
) -> Flow | Needs:
    """
    Turn two target texts into a flow.

    Returns Needs with the sections to read first.  Raises UserError for a name that is
    not there, one that means several things, and a target without a usable port.  *at*,
    ``NETNS/DEVICE``: the packet arrives there from outside, and the source is an address.
    """
    wanted_from, wanted_to = parse_target(source), parse_target(target)
    try:
        start = (
            find_end(snapshot, wanted_from, as_source=True)
            if at is None
            else arriving_end(snapshot, wanted_from, at)
        )
        if start.netns is None:
            refuse(f"{source} is not something that sends packets", sources_of(snapshot), where=source)
        end = find_end(snapshot, wanted_to, as_source=False)
        return _flow(snapshot, start, end, wanted_to, sport=sport, size=size, mark=mark, ttl=ttl, df=df)
    except Wanted as wanted:
        return Needs(wanted.keys)


class Ends(NamedTuple):
    """Addresses by which somebody is reached; ``ports`` empty for any, ``proto`` None for any."""

    addresses: frozenset[str]
    ports: frozenset[int]
    proto: str | None


def ends_of(snapshot: Snapshot, text: str) -> Ends | Needs:
    """
    Return everything that packets to or from *text* may have in their headers.

    Of a Service that is what NAT makes of it too: endpoints, node ports.  Raises UserError like
    resolve(), but for a missing port, which stands for all.
    """
    target = parse_target(text)
    try:
        end = find_end(snapshot, target, as_source=False)
        addresses, ports = set(end.addresses), set[int]()
        if end.service is not None:
            service = end.service
            addresses.update(service.external_ips, service.load_balancer_ips)
            chosen = (
                service.ports
                if target.port is None and target.proto is None
                else (_service_port(service, target),)
            )
            ports.update(number for one in chosen for number in (one.port, one.node_port) if number)
            for held in known(snapshot, SectionKey("", "kube/endpoint_slices")) or ():
                if (held.namespace, held.service) == (service.namespace, service.name):
                    addresses.update(one for endpoint in held.endpoints for one in endpoint.addresses)
                    ports.update(port.port for port in held.ports if port.port)
        elif target.port is not None:
            number = _port(snapshot, end, target)[1]
            ports.update((number,) if number is not None else ())
        return Ends(frozenset(addresses), frozenset(ports), target.proto)
    except Wanted as wanted:
        return Needs(wanted.keys)


def _flow(
    snapshot: Snapshot,
    start: End,
    end: End,
    target: Target,
    *,
    sport: int | None,
    size: int | None,
    mark: int,
    ttl: int,
    df: bool,
) -> Flow:
    proto, port, port_name = _port(snapshot, end, target)
    balanced = outside_address(end.service) if end.service and start.ref.kind == "internet" else None
    if balanced is not None:
        end.addresses = (balanced,)
    address = _address(start, end, 6 if target.proto == "icmpv6" else 4)
    proto = _echo_of(proto, address, target)
    echo = proto in ECHO_TYPES
    packet = Packet(
        src=start.addresses[0] if start.device and start.addresses else "",
        dst=address,
        proto=proto,
        sport=None if echo or sport is None else PortRange(sport, sport),
        dport=None if echo or port is None else PortRange(port, port),
        tcp_flags=frozenset({"SYN"}) if proto == "tcp" else frozenset(),
        icmp_type=ECHO_TYPES.get(proto),
        icmp_code=0 if echo else None,
        size=size or FIRST_SIZES[family_of(address)].get(proto, 60),
        ttl=ttl,
        df=df,
        mark=mark,
    )
    return Flow(
        origin=Origin(netns=start.netns or "", device=start.device),
        packet=packet,
        source=start.ref,
        target=ObjectRef(
            kind=end.ref.kind, name=end.ref.name, namespace=end.ref.namespace, port_name=port_name
        ),
        segment=None,
    )


def _echo_of(proto: str, address: str, target: Target) -> str:
    """Return ``icmpv6`` for an echo to an IPv6 address, however it was written."""
    if proto not in ECHO_TYPES:
        return proto
    if target.proto == "icmpv6" and family_of(address) == 4:
        refuse(f"{address} has no ICMPv6", f"write {address}/icmp", where=target.text)
    return "icmpv6" if family_of(address) == 6 else "icmp"


def _address(start: End, end: End, family: int) -> str:
    """Pick the destination: inside one namespace localhost, otherwise the first address of *family*."""
    if end.ref.kind == "container" and end.netns is not None and end.netns == start.netns:
        return "::1" if family == 6 else "127.0.0.1"
    for address in end.addresses:
        if family_of(address) == family:
            return address
    if end.addresses:
        return end.addresses[0]
    refuse(f"{end.ref} has no address", "give an address: ip/ADDRESS:PORT", where=str(end.ref))


# --- ports -----------------------------------------------------------------------------


def _port(snapshot: Snapshot, end: End, target: Target) -> tuple[str, int | None, str | None]:
    """Return (protocol, port, port's name) of the destination."""
    if target.proto in ("icmp", "icmpv6"):
        return "icmp", None, None
    if end.service is not None:
        chosen = _service_port(end.service, target)
        number: int | None = chosen.port
        if end.service.headless:
            slices = known(snapshot, SectionKey("", "kube/endpoint_slices")) or ()
            number = headless_ends(end.service, chosen, slices)[1]
        return chosen.protocol.lower(), number, chosen.name or None
    proto = target.proto or "tcp"
    if isinstance(target.port, int):
        return proto, target.port, None
    declared = _declared_ports(end)
    if isinstance(target.port, str):
        for name, number, spoken in declared:
            if name == target.port and target.proto in (None, spoken):
                return spoken, number, name
        refuse(
            f"{end.ref} has no port named {target.port!r}",
            f"it has: {_port_list(declared)}" if declared else "give the port as a number",
            where=str(end.ref),
        )
    candidates = {(number, spoken) for _, number, spoken in declared if target.proto in (None, spoken)}
    if not candidates:
        candidates = _listening(snapshot, end, target.proto)
    if len(candidates) == 1:
        ((number, spoken),) = candidates
        return spoken, number, None
    shown = ", ".join(f"{number}/{spoken}" for number, spoken in sorted(candidates))
    refuse(
        f"which port of {end.ref}?",
        (f"it has {shown}: " if shown else "")
        + f"write {target.text}:PORT, or {target.text}/icmp for an echo",
        where=target.text,
    )


def _service_port(service: Service, target: Target) -> ServicePort:
    ports = [p for p in service.ports if target.proto in (None, p.protocol.lower())]
    if target.port is not None:
        ports = [p for p in ports if target.port in (p.port, p.name)]
        tcp = [p for p in ports if p.protocol == "TCP"]
        if len(ports) > 1 and target.proto is None and tcp:
            ports = tcp
    if len(ports) == 1:
        return ports[0]
    shown = ", ".join(
        f"{p.port}/{p.protocol.lower()}" + (f" ({p.name})" if p.name else "") for p in service.ports
    )
    if not ports:
        refuse(
            f"Service {service.key} has no such port",
            f"it has {shown}" if shown else "it has no ports",
            where=target.text,
        )
    refuse(f"which port of Service {service.key}?", f"it has {shown}", where=target.text)


def _declared_ports(end: End) -> list[tuple[str, int, str]]:
    """Return (name, number, protocol) for each port that the pod's manifest declares."""
    if end.pod is None:
        return []
    wanted = end.ref.name if end.ref.kind == "container" else None
    return [
        (port.name, port.container_port, port.protocol.lower())
        for container in end.pod.containers
        if wanted is None or container.name == wanted
        for port in container.ports
    ]


def _port_list(declared: Iterable[tuple[str, int, str]]) -> str:
    return ", ".join(f"{name or '-'} {number}/{spoken}" for name, number, spoken in declared)


def _listening(snapshot: Snapshot, end: End, proto: str | None) -> set[tuple[int, str]]:
    """Return the ports on which somebody listens in the target's namespace, localhost aside."""
    if end.netns is None:
        return set()
    sockets = known(snapshot, SectionKey(end.netns, "sockets")) or ()
    return {
        (s.port, s.proto)
        for s in sockets
        if s.state in ("listen", "unconn") and not is_loopback(s.address) and proto in (None, s.proto)
    }
