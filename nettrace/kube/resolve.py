"""
Target texts to a flow: who sends, from where, to which address, port and protocol.

Lives here: finding pods, Services, nodes, namespaces and addresses in a snapshot by name.
Not here: the grammar of the text (nettrace.parse.target), reading what is missing
(nettrace.app): a section that was not read yet comes back as Needs.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn, TypeAlias

from nettrace.kube.inside import SEVERAL, container_netns, told_pods
from nettrace.kube.service_names import aliased, headless_ends, outside_address
from nettrace.model.addr import ANY4, canonical_address, family_of, is_loopback
from nettrace.model.errors import UserError
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.kube import Pod, Service, ServicePort
from nettrace.model.packet import Packet, PortRange
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
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


class _Wanted(Exception):
    """Sections that have to be read before the answer is known."""

    def __init__(self, *keys: SectionKey) -> None:
        super().__init__()
        self.keys = keys


class _End:
    """What a target text came to: an object, a namespace, addresses."""

    def __init__(
        self, ref: ObjectRef, netns: str | None, addresses: tuple[str, ...], device: str | None = None
    ) -> None:
        self.ref = ref
        self.netns = netns
        self.addresses = addresses
        self.device = device
        self.service: Service | None = None
        self.pod: Pod | None = None


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
            _find(snapshot, wanted_from, as_source=True)
            if at is None
            else _arriving(snapshot, wanted_from, at)
        )
        if start.netns is None:
            _fail(f"{source} is not something that sends packets", _sources(snapshot), where=source)
        end = _find(snapshot, wanted_to, as_source=False)
        return _flow(snapshot, start, end, wanted_to, sport=sport, size=size, mark=mark, ttl=ttl, df=df)
    except _Wanted as wanted:
        return Needs(wanted.keys)


def _arriving(snapshot: Snapshot, source: Target, at: str) -> _End:
    """Return the source of a packet that arrives at a device."""
    netns, _, device = at.rpartition("/")
    if netns not in snapshot.namespaces:
        _fail(f"{at!r} names no device", "write NETNS/DEVICE, with a name of `show namespaces`", where=at)
    links = _known(snapshot, SectionKey(netns, "links")) or ()
    if device not in {link.name for link in links}:
        _fail(f"{netns} has no device {device!r}", "nettrace show links", where=at)
    if not _is_address(source.name):
        _fail(f"{source.text!r} is not an address", "what arrives has one: ip/203.0.113.9", where=source.text)
    address = canonical_address(source.name)
    return _End(ObjectRef(kind="ip", name=address), netns, (address,), device)


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
        end = _find(snapshot, target, as_source=False)
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
            for held in _known(snapshot, SectionKey("", "kube/endpoint_slices")) or ():
                if (held.namespace, held.service) == (service.namespace, service.name):
                    addresses.update(one for endpoint in held.endpoints for one in endpoint.addresses)
                    ports.update(port.port for port in held.ports if port.port)
        elif target.port is not None:
            number = _port(snapshot, end, target)[1]
            ports.update((number,) if number is not None else ())
        return Ends(frozenset(addresses), frozenset(ports), target.proto)
    except _Wanted as wanted:
        return Needs(wanted.keys)


def _flow(
    snapshot: Snapshot,
    start: _End,
    end: _End,
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
        _fail(f"{address} has no ICMPv6", f"write {address}/icmp", where=target.text)
    return "icmpv6" if family_of(address) == 6 else "icmp"


def _address(start: _End, end: _End, family: int) -> str:
    """Pick the destination: inside one namespace localhost, otherwise the first address of *family*."""
    if end.ref.kind == "container" and end.netns is not None and end.netns == start.netns:
        return "::1" if family == 6 else "127.0.0.1"
    for address in end.addresses:
        if family_of(address) == family:
            return address
    if end.addresses:
        return end.addresses[0]
    _fail(f"{end.ref} has no address", "give an address: ip/ADDRESS:PORT", where=str(end.ref))


# --- ports -----------------------------------------------------------------------------


def _port(snapshot: Snapshot, end: _End, target: Target) -> tuple[str, int | None, str | None]:
    """Return (protocol, port, port's name) of the destination."""
    if target.proto in ("icmp", "icmpv6"):
        return "icmp", None, None
    if end.service is not None:
        chosen = _service_port(end.service, target)
        number: int | None = chosen.port
        if end.service.headless:
            slices = _known(snapshot, SectionKey("", "kube/endpoint_slices")) or ()
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
        _fail(
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
    _fail(
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
        _fail(
            f"Service {service.key} has no such port",
            f"it has {shown}" if shown else "it has no ports",
            where=target.text,
        )
    _fail(f"which port of Service {service.key}?", f"it has {shown}", where=target.text)


def _declared_ports(end: _End) -> list[tuple[str, int, str]]:
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


def _listening(snapshot: Snapshot, end: _End, proto: str | None) -> set[tuple[int, str]]:
    """Return the ports on which somebody listens in the target's namespace, localhost aside."""
    if end.netns is None:
        return set()
    sockets = _known(snapshot, SectionKey(end.netns, "sockets")) or ()
    return {
        (s.port, s.proto)
        for s in sockets
        if s.state in ("listen", "unconn") and not is_loopback(s.address) and proto in (None, s.proto)
    }


# --- names -----------------------------------------------------------------------------

Finder: TypeAlias = Callable[[Snapshot, Target], _End]


def _find(snapshot: Snapshot, target: Target, *, as_source: bool) -> _End:
    finders = {
        "pod": _pod,
        "svc": _service,
        "node": _node,
        "ip": _ip,
        "ep": _ip,
        "netns": _netns,
        "container": _container,
        "internet": _internet,
        "host": _host,
    }
    if target.kind is None:
        return _guess(snapshot, target, as_source=as_source)
    finder = finders.get(target.kind)
    if finder is None:
        _fail(f"{target.kind} targets are not walked yet", f"one of {', '.join(finders)}", where=target.text)
    return finder(snapshot, target)


def _guess(snapshot: Snapshot, target: Target, *, as_source: bool) -> _End:
    """Resolve a target without a kind: an address, or whatever bears that name."""
    if _is_address(target.name):
        return _ip(snapshot, target)
    if target.name == "internet" and target.namespace is None:
        return _internet(snapshot, target)
    found = _named(snapshot, target, (_pod, _node, _netns) if as_source else (_pod, _service, _node, _netns))
    if not found:
        # Containers often bear the names of what they belong to, so they come last.
        found = _named(snapshot, target, (_container,))
    if len(found) == 1:
        return found[0]
    if not found:
        _fail(f"nothing here is called {target.text!r}", _sources(snapshot), where=target.text)
    _fail(
        f"{target.text!r} means several things",
        "write one of " + ", ".join(str(end.ref) for end in found),
        where=target.text,
    )


def _named(snapshot: Snapshot, target: Target, finders: Iterable[Finder]) -> list[_End]:
    """Return what the finders find, each namespace once; UserError for a name of several namespaces."""
    found: list[_End] = []
    for finder in finders:
        try:
            end = finder(snapshot, target)
        except UserError as error:
            if error.hint.startswith(SEVERAL):
                raise
            continue
        if all(end.netns is None or end.netns != other.netns for other in found):
            found.append(end)
    return found


def _is_address(text: str) -> bool:
    try:
        canonical_address(text)
    except ValueError:
        return False
    return True


def _pod(snapshot: Snapshot, target: Target) -> _End:
    pods = _known(snapshot, SectionKey("", "kube/pods")) or ()
    named = [p for p in pods if p.name == target.name and target.namespace in (None, p.namespace)]
    pod = _only(named or told_pods(snapshot, target), "pod", target)
    netns = _pod_netns(snapshot, pod)
    end = _End(ObjectRef(kind="pod", name=pod.name, namespace=pod.namespace), netns, tuple(pod.ips))
    end.pod = pod
    if not end.addresses and netns is not None:
        end.addresses = _global_addresses(snapshot, netns)
    return end


def _pod_netns(snapshot: Snapshot, pod: Pod) -> str | None:
    if pod.netns is not None:
        return pod.netns
    if pod.host_network and pod.node_name in snapshot.nodes:
        return snapshot.nodes[pod.node_name].netns
    return next((n for n in snapshot.namespaces if set(pod.ips) & set(_read_addresses(snapshot, n))), None)


def _service(snapshot: Snapshot, target: Target) -> _End:
    services = _known(snapshot, SectionKey("", "kube/services"))
    if services is None:
        _fail(
            "no Kubernetes objects are known, so Services have no names here",
            "give --manifests DIR, or the Service's address: ip/ADDRESS:PORT",
            where=target.text,
        )
    named = [s for s in services if s.name == target.name and target.namespace in (None, s.namespace)]
    asked = _only(named, "Service", target)
    service = aliased(asked, services)
    addresses = service.cluster_ips
    if service.headless:
        slices = _known(snapshot, SectionKey("", "kube/endpoint_slices")) or ()
        addresses = headless_ends(service, None, slices)[0]
    elif not addresses:
        _fail(
            f"Service {service.key} has no cluster IP",
            f"its name is {service.external_name}" if service.external_name else "give an address",
            where=target.text,
        )
    end = _End(ObjectRef(kind="svc", name=asked.name, namespace=asked.namespace), None, addresses)
    end.service = service
    return end


def _node(snapshot: Snapshot, target: Target) -> _End:
    node = snapshot.nodes.get(target.name) if target.namespace is None else None
    kube_nodes = _known(snapshot, SectionKey("", "kube/nodes")) or ()
    addresses = next((n.internal_ips for n in kube_nodes if n.name == target.name), ())
    if node is None and not addresses:
        _fail(f"there is no node {target.name!r}", _known_list("nodes", snapshot.nodes), where=target.text)
    netns = node.netns if node else None
    if not addresses and netns is not None:
        addresses = _uplink_addresses(snapshot, netns)
    return _End(ObjectRef(kind="node", name=target.name), netns, tuple(addresses))


def _netns(snapshot: Snapshot, target: Target) -> _End:
    netns = snapshot.namespaces.get(target.name) if target.namespace is None else None
    if netns is None:
        _fail(
            f"there is no namespace {target.text!r}",
            _known_list("namespaces", snapshot.namespaces),
            where=target.text,
        )
    ref = ObjectRef(kind="netns", name=netns.name)
    return _End(ref, netns.name, _global_addresses(snapshot, netns.name))


def _container(snapshot: Snapshot, target: Target) -> _End:
    pods: tuple[Pod, ...] = _known(snapshot, SectionKey("", "kube/pods")) or ()
    inside = [
        p
        for p in pods
        if any(c.name == target.name for c in p.containers)
        and target.namespace in (None, p.namespace, p.name)
    ]
    if inside:
        if len(inside) > 1:
            places = ", ".join(f"container/{p.name}/{target.name}" for p in inside)
            _fail(
                f"container {target.name!r} is ambiguous",
                f"{SEVERAL} pods: write one of {places}",
                where=target.text,
            )
        pod = inside[0]
        ref = ObjectRef(kind="container", name=target.name, namespace=pod.namespace)
        end = _End(ref, _pod_netns(snapshot, pod), tuple(pod.ips))
        end.pod = pod
        return end
    netns = container_netns(snapshot, target)
    if netns is None or netns.role not in ("container", "pod"):
        names = [
            n.name for n in snapshot.namespaces.values() if n.role == "container" and not n.container_names
        ]
        names += [name for n in snapshot.namespaces.values() for name in n.container_names]
        _fail(f"there is no container {target.text!r}", _known_list("containers", names), where=target.text)
    ref = ObjectRef(kind="container", name=target.name)
    return _End(ref, netns.name, _global_addresses(snapshot, netns.name))


def _internet(snapshot: Snapshot, target: Target) -> _End:
    outside = [n for n in snapshot.namespaces.values() if n.role == "outside"]
    ref = ObjectRef(kind="internet", name="internet")
    if outside:
        netns = next((n for n in outside if n.name == "internet"), outside[0])
        return _End(ref, netns.name, _global_addresses(snapshot, netns.name))
    _fail(
        "nobody outside the nodes is known here",
        "name a namespace, or an address: ip/ADDRESS",
        where=target.text,
    )


def _host(snapshot: Snapshot, target: Target) -> _End:
    if _is_address(target.name):
        return _ip(snapshot, target)
    for finder in (_node, _netns, _container):
        try:
            return finder(snapshot, target)
        except UserError:
            continue
    _fail(
        f"{target.name!r} is not the name of a host in this snapshot",
        "names of other hosts are not looked up: give the address, ip/ADDRESS:PORT",
        where=target.text,
    )


def _ip(snapshot: Snapshot, target: Target) -> _End:
    if not _is_address(target.name):
        _fail(
            f"{target.name!r} is not an address", "write ip/10.0.0.1:80, ip/[fd00::1]:80", where=target.text
        )
    address = canonical_address(target.name)
    ref = ObjectRef(kind="ip", name=address)
    if is_loopback(address):
        return _End(ref, None, (address,))
    owner = next((n for n in snapshot.namespaces if address in _read_addresses(snapshot, n)), None)
    return _End(ref, owner, (address,))


# --- looking into the snapshot ---------------------------------------------------------


def _known(snapshot: Snapshot, key: SectionKey) -> Any:
    """Return the section's value; None if it cannot be had; _Wanted if nobody tried yet."""
    section = snapshot.section(key)
    if isinstance(section, Known):
        return section.value
    if isinstance(section, Missing) and section.kind is MissingKind.NOT_READ:
        raise _Wanted(key)
    return None


def _read_addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    """Return the addresses of a namespace; asks for those of all namespaces at once."""
    section = snapshot.namespaces[netns].addresses
    if isinstance(section, Missing) and section.kind is MissingKind.NOT_READ:
        unread = [
            SectionKey(n.name, "addresses")
            for n in snapshot.namespaces.values()
            if isinstance(n.addresses, Missing) and n.addresses.kind is MissingKind.NOT_READ
        ]
        raise _Wanted(*unread)
    return tuple(a.address for a in section.value) if isinstance(section, Known) else ()


def _global_addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    addresses = _known(snapshot, SectionKey(netns, "addresses")) or ()
    usable = [a for a in addresses if a.scope == "global" and not is_loopback(a.address)]
    return tuple(a.address for a in usable)


def _uplink_addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    """Return the node's addresses, those of the device of the default route first."""
    addresses = _known(snapshot, SectionKey(netns, "addresses")) or ()
    routes = _known(snapshot, SectionKey(netns, "routes")) or ()
    links = _known(snapshot, SectionKey(netns, "links")) or ()
    uplinks = {hop.device for r in routes if r.dst == ANY4 for hop in r.nexthops}
    bridges = {link.name for link in links if link.kind in ("bridge", "vxlan", "tun", "ipip")}

    def rank(device: str) -> int:
        return 0 if device in uplinks else 2 if device in bridges else 1

    usable = [a for a in addresses if a.scope == "global" and not is_loopback(a.address)]
    return tuple(a.address for a in sorted(usable, key=lambda a: rank(a.device)))


# --- words -----------------------------------------------------------------------------


def _only(found: list[Any], kind: str, target: Target) -> Any:
    """Return the one object of that name; UserError for none and for several."""
    if len(found) == 1:
        return found[0]
    if not found:
        inside = f" in namespace {target.namespace}" if target.namespace else ""
        _fail(
            f"there is no {kind} {target.name!r}{inside}",
            "nettrace show services|namespaces",
            where=target.text,
        )
    places = ", ".join(sorted(f"{o.namespace}/{target.name}" for o in found))
    _fail(
        f"{kind} {target.name!r} is ambiguous",
        f"{SEVERAL} namespaces: write one of {places}",
        where=target.text,
    )


def _known_list(what: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    if not listed:
        return f"no {what} are known here"
    shown = ", ".join(listed[:12])
    return f"known {what}: {shown}" + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def _sources(snapshot: Snapshot) -> str:
    return _known_list("namespaces", snapshot.namespaces)


def _fail(what: str, hint: str, *, where: str = "") -> NoReturn:
    raise UserError(what, where=where, hint=hint)
