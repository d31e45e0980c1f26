"""
The flows that a repair must not hurt.

Lives here: choosing a bounded, deterministic set of owed flows, a few of each class: pod to
pod here and on other nodes, to Services, to the outside; nodes to Services; the outside to
NodePorts and published ports; connections that are established; flows that
network policies deny, one of each policy.
Not here: walking and comparing them (safety.py).
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from msgspec import Struct

from nettrace.diagnose.look import addresses_in, where
from nettrace.diagnose.policies import Judge
from nettrace.diagnose.services import Entrance, called_endpoints, endpoints_of, entrance, index_services
from nettrace.kube.policy import isolating
from nettrace.kube.services import ProxiedPort, addresses_of_family, proxied_ports
from nettrace.model.addr import family_of, in_prefix, is_loopback, network_of
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.kube import Pod
from nettrace.model.owed import Owed, OwedRule
from nettrace.model.packet import Packet, PortRange
from nettrace.model.policy_verdict import Decision
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.walk import Needs, Walk
from nettrace.model.xt_match import Tcp, Udp
from nettrace.model.xt_target import Dnat

__all__ = ["safety_flows"]

#: How many of each are taken: enough to see each class from each node, few enough to read.
_PODS_OF_A_NODE = 2
_SERVICES = 3
_ESTABLISHED = 4
_POLICIES = 8
_CONTAINERS = 64


class _Host(Struct, frozen=True):
    """Somebody who may be called: a pod, a container, a host outside."""

    ref: ObjectRef
    netns: str
    node: str
    address: str
    port: int | None = None  # TCP; None: only an echo can be asked for


def safety_flows(
    snapshot: Snapshot, walked: Walk, owed: Sequence[Owed], limit: int
) -> tuple[Flow, ...] | Needs:
    """
    Return at most *limit* flows that are owed an answer, the one of *walked* not among them.

    They are flows of the nodes that the walk passes: nothing else can be hurt by what is
    changed there.  Needs the addresses of pods, containers and hosts outside that no object
    tells.
    """
    nodes = _nodes(snapshot, walked)
    keys = tuple(
        SectionKey(name, "addresses")
        for name in _without_objects(snapshot, nodes)
        if _unread(snapshot, SectionKey(name, "addresses"))
    )
    if keys:
        return Needs(keys)
    chosen: dict[tuple[str, str, str, int | None], Flow] = {}
    own = _key(walked.flow)
    classes = [list(found) for found in _classes(snapshot, walked.flow, nodes, owed)]
    # one of each class in turn, so that a small limit still sees all of them
    for turn in range(max((len(found) for found in classes), default=0)):
        for found in classes:
            if turn < len(found) and len(chosen) < limit and _key(found[turn]) != own:
                chosen.setdefault(_key(found[turn]), found[turn])
    return tuple(chosen.values())


def _nodes(snapshot: Snapshot, walked: Walk) -> tuple[NodeState, ...]:
    """Return the nodes that the walk passes, and those that have the ends of its Service."""
    passed = {step.node for path in walked.paths for leg in path.legs for step in leg.steps}
    found = tuple(node for node in snapshot.nodes.values() if node.name in passed)
    if isinstance(snapshot.kube.nodes, Known):
        members = {node.name for node in snapshot.kube.nodes.value}
        if any(node.name in members for node in found):
            return tuple(n for n in snapshot.nodes.values() if n.name in passed | members)
    return found


def _key(flow: Flow) -> tuple[str, str, str, int | None]:
    port = flow.packet.dport.single if flow.packet.dport is not None else None
    return flow.origin.netns, flow.packet.dst, flow.packet.proto, port


def _unread(snapshot: Snapshot, key: SectionKey) -> bool:
    section = snapshot.section(key)
    return isinstance(section, Missing) and section.kind is MissingKind.NOT_READ


def _without_objects(snapshot: Snapshot, nodes: Sequence[NodeState]) -> list[str]:
    """Return the namespaces whose addresses only they themselves tell, if they are not too many."""
    names = {node.name for node in nodes}
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    told = {pod.netns for pod in pods if pod.ips}
    found = [
        n.name
        for n in snapshot.namespaces.values()
        if n.name not in told
        and ((n.role in ("pod", "container") and n.node in names) or n.role == "outside")
    ]
    return found if len(found) <= _CONTAINERS else []


def _classes(
    snapshot: Snapshot, flow: Flow, nodes: Sequence[NodeState], owed: Sequence[Owed]
) -> Iterator[Iterator[Flow]]:
    hosts = _hosts(snapshot, flow, {node.name for node in nodes})
    outside = _outside(snapshot, nodes)
    services = _services(snapshot, flow)
    first = list({host.node: host for host in reversed(hosts)}.values())[::-1]
    senders = [_Host(ObjectRef(kind="node", name=n.name), n.netns, n.name, "") for n in nodes]
    yield (_call(a, b) for a in hosts for b in hosts if a is not b and a.node == b.node)
    yield (_call(a, b) for a in hosts for b in hosts if a.node != b.node)
    yield (_to_service(a, port) for port in services for a in first)
    yield (_call(a, b) for a in first for b in outside)
    yield (_to_service(a, port) for port in services for a in senders)
    yield _node_ports(snapshot, outside, services)
    yield _published(snapshot, outside, owed)
    yield _established(snapshot)
    yield _denied(snapshot, hosts, {node.name for node in nodes})


def _denied(snapshot: Snapshot, callers: Sequence[_Host], nodes: Collection[str]) -> Iterator[Flow]:
    """Yield for each NetworkPolicy one call from pod to pod that is denied, to or from a pod it isolates."""
    policies = snapshot.kube.network_policies
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    hosts = [(pod, host) for pod in pods if (host := _pod(snapshot, pod)) is not None and host.node in nodes]
    judge = Judge(snapshot)
    for policy in policies.value[:_POLICIES] if isinstance(policies, Known) else ():
        found = (
            _call(a, b)
            for direction in ("ingress", "egress")
            for pod, host in hosts
            if isolating([policy], pod, direction)
            for other in callers
            for a, b in [(other, host) if direction == "ingress" else (host, other)]
            if other.netns != host.netns and _is_denied(judge, a, b)
        )
        yield from islice(found, 1)


def _is_denied(judge: Judge, a: _Host, b: _Host) -> bool:
    if b.port is None:
        return False
    return judge.verdict(a.address, b.address, "tcp", b.port).decision is Decision.DENIED


def _hosts(snapshot: Snapshot, flow: Flow, nodes: Collection[str]) -> list[_Host]:
    """Return a few pods or containers of each node; the flow's own ends come first."""
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    found = [host for pod in pods if (host := _pod(snapshot, pod)) is not None]
    known = {host.netns for host in found}
    found += [
        _Host(ObjectRef(kind="netns", name=n.name), n.name, n.node, address)
        for n in snapshot.namespaces.values()
        if n.role in ("pod", "container") and n.name not in known
        for address in _addresses(snapshot, n.name)[:1]
    ]
    index = index_services(snapshot.kube, family_of(flow.packet.dst))
    service = entrance(snapshot, index, flow.packet)
    ends = {flow.packet.dst}
    if service is not None:
        ends |= {backend.address for backend in called_endpoints(snapshot, flow, service)}
    found = [host for host in found if host.node in nodes]
    found.sort(key=lambda h: (h.netns != flow.origin.netns and h.address not in ends, h.node, h.netns))
    taken: dict[str, list[_Host]] = {}
    for host in found:
        own = taken.setdefault(host.node, [])
        if len(own) < _PODS_OF_A_NODE:
            own.append(host)
    return [host for node in sorted(taken) for host in taken[node]]


def _pod(snapshot: Snapshot, pod: Pod) -> _Host | None:
    netns = snapshot.namespaces.get(pod.netns or "")
    if netns is None or pod.host_network or not pod.ips or not pod.ready:
        return None
    ports = [p.container_port for c in pod.containers for p in c.ports if p.protocol == "TCP"]
    ref = ObjectRef(kind="pod", name=pod.name, namespace=pod.namespace)
    address = next((ip for ip in pod.ips if family_of(ip) == 4), pod.ips[0])
    return _Host(ref, netns.name, netns.node, address, ports[0] if ports else None)


def _addresses(snapshot: Snapshot, netns: str) -> list[str]:
    own = [a.address for a in addresses_in(snapshot, netns) if a.scope == "global"]
    return [address for address in own if family_of(address) == 4 and not is_loopback(address)]


def _outside(snapshot: Snapshot, nodes: Sequence[NodeState]) -> list[_Host]:
    """Return a host outside that is a neighbour of one of the nodes."""
    return [
        _Host(ObjectRef(kind="netns", name=n.name), n.name, n.node, address)
        for n in sorted(snapshot.namespaces.values(), key=lambda n: n.name)
        if n.role == "outside"
        for address in _addresses(snapshot, n.name)[:1]
        if any(_same_network(snapshot, node.netns, address) for node in nodes)
    ][:1]


def _services(snapshot: Snapshot, flow: Flow) -> list[ProxiedPort]:
    """Return a few service ports with endpoints, the one that was asked for first."""
    services = snapshot.kube.services.value if isinstance(snapshot.kube.services, Known) else ()
    ports = proxied_ports(services, 4)
    index = index_services(snapshot.kube, 4)
    asked = entrance(snapshot, index, flow.packet)
    subject = asked.port.subject if asked is not None else ""
    in_order = sorted(ports, key=lambda p: (p.subject != subject, p.subject, p.port.port))
    ways = (Entrance(port=port, way="cluster") for port in in_order)
    served = (way.port for way in ways if endpoints_of(snapshot, way, ""))
    return list(islice(served, _SERVICES))


# --- flows -----------------------------------------------------------------------------


def _packet(dst: str, proto: str, port: int | None, *, src: str = "", sport: int | None = None) -> Packet:
    if port is None:
        return Packet(src=src, dst=dst, proto="icmp", icmp_type=8, icmp_code=0, size=84)
    return Packet(
        src=src,
        dst=dst,
        proto=proto,
        sport=PortRange(sport, sport) if sport else None,
        dport=PortRange(port, port),
        tcp_flags=frozenset({"SYN"}) if proto == "tcp" else frozenset(),
    )


def _call(a: _Host, b: _Host) -> Flow:
    return Flow(
        origin=Origin(netns=a.netns), packet=_packet(b.address, "tcp", b.port), source=a.ref, target=b.ref
    )


def _to_service(a: _Host, port: ProxiedPort) -> Flow:
    own = port.service
    return Flow(
        origin=Origin(netns=a.netns),
        packet=_packet(port.cluster_ip, port.proto, port.port.port),
        source=a.ref,
        target=ObjectRef(
            kind="svc", name=own.name, namespace=own.namespace, port_name=port.port.name or None
        ),
    )


def _node_ports(snapshot: Snapshot, outside: list[_Host], services: list[ProxiedPort]) -> Iterator[Flow]:
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    for port in services:
        for node in nodes:
            if not port.port.node_port or node.name not in snapshot.nodes:
                continue
            for address in addresses_of_family(node.internal_ips, 4)[:1]:
                for host in outside:
                    yield Flow(
                        origin=Origin(netns=host.netns),
                        packet=_packet(address, port.proto, port.port.node_port),
                        source=host.ref,
                        target=ObjectRef(kind="node", name=node.name),
                    )


def _published(snapshot: Snapshot, outside: list[_Host], owed: Sequence[Owed]) -> Iterator[Flow]:
    for item in owed:
        if not isinstance(item, OwedRule) or not isinstance(item.rule.target, Dnat):
            continue
        ports = [
            m.dport.range.single
            for m in item.rule.matches
            if isinstance(m, Tcp | Udp) and m.dport is not None and not m.dport.invert
        ]
        proto = item.rule.proto.value if item.rule.proto is not None else "tcp"
        taken = item.rule.dst.value.split("/")[0] if item.rule.dst is not None else None
        uplinks = [a for a in _addresses(snapshot, item.netns) if taken in (None, a)]
        for host in outside:
            for address in uplinks:
                if ports and _same_network(snapshot, host.netns, address):
                    yield Flow(
                        origin=Origin(netns=host.netns),
                        packet=_packet(address, proto, ports[0]),
                        source=host.ref,
                        target=ObjectRef(kind="node", name=where(snapshot, item.netns)),
                    )


def _same_network(snapshot: Snapshot, netns: str, address: str) -> bool:
    """Is *address* on a network that *netns* is on?  Others are not its to call."""
    return any(
        in_prefix(address, network_of(own.address, own.prefixlen)) for own in addresses_in(snapshot, netns)
    )


def _established(snapshot: Snapshot) -> Iterator[Flow]:
    """Yield calls like those that conntrack holds as established, of senders in the snapshot."""
    senders = {
        own.address: n
        for n in snapshot.namespaces
        for own in addresses_in(snapshot, n)
        if not is_loopback(own.address)
    }
    count = 0
    for netns in snapshot.namespaces.values():
        for entry in netns.conntrack.value if isinstance(netns.conntrack, Known) else ():
            end = entry.original
            if "assured" not in entry.status or end.src not in senders or end.dport is None:
                continue
            if count == _ESTABLISHED:
                return
            count += 1
            yield Flow(
                origin=Origin(netns=senders[end.src]),
                packet=_packet(end.dst, entry.proto, end.dport, src=end.src),
                source=ObjectRef(kind="netns", name=senders[end.src]),
                target=ObjectRef(kind="ip", name=end.dst),
            )
