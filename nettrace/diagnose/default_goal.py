"""
What is owed to a flow by default.

Lives here: from the Kubernetes objects, from published ports, from who listens: who has to
answer.  Where nobody serves or listens a refusal is right, and there is nothing to repair.
Not here: judging a walk (goal.py).
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from nettrace.diagnose.goal import Goal
from nettrace.diagnose.inferred import beyond, inferred_goal
from nettrace.diagnose.look import addresses_in, connected_prefix, holder_of, listeners, where
from nettrace.diagnose.node_ports import excluded
from nettrace.diagnose.policies import Judge, source_of
from nettrace.diagnose.rules import addressed_to
from nettrace.diagnose.services import (
    Entrance,
    called_endpoints,
    calls_itself,
    entrance,
    index_services,
)
from nettrace.kube.services import prefixes_of_family
from nettrace.model.addr import family_of, in_prefix, is_loopback
from nettrace.model.flow import Flow
from nettrace.model.kube import Pod
from nettrace.model.owed import Owed, OwedChain, OwedRoute, OwedRule, OwedVirtualServer
from nettrace.model.policy_verdict import Decision
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Comment, Negatable
from nettrace.model.xt_target import Dnat, Masquerade, Snat

__all__ = ["default_goal"]

#: Denials that are told one by one, where a Service has many endpoints.
_SAID = 3


def default_goal(
    snapshot: Snapshot, flow: Flow, owed: Sequence[Owed], *, connected: bool = False
) -> Goal | Needs:
    """
    Return the goal of *flow*: who has to answer it, and by whose word.

    A flow that network policies deny is owed a refusal.  *connected*: the user says that it should
    get through, whatever policies and whoever listens say.  Needs the sections that tell who has the
    destination and who listens there.
    """
    goal = _answered(snapshot, flow, owed)
    if isinstance(goal, Needs):
        return goal
    if connected:
        because = f"stated; by default: {goal.because}"
        return (
            replace(goal, because=because, stated=True) if goal.owed else Goal(because=because, stated=True)
        )
    if not goal.owed:
        return goal
    denial = _denied(snapshot, flow, goal)
    return Goal(because=denial, owed=False, denied=True) if denial else goal


def _denied(snapshot: Snapshot, flow: Flow, goal: Goal) -> str:
    """Say which policies deny all that the flow may lead to, "" if they do not."""
    source = source_of(snapshot, flow)
    if not source or flow.origin.device is not None:
        return ""
    port = flow.packet.dport.single if flow.packet.dport is not None else None
    ends = goal.endpoints or frozenset((address, port) for address in goal.beyond)
    judge = Judge(snapshot)
    said: dict[str, None] = {}
    for address, number in sorted(ends, key=str):
        verdict = judge.verdict(source, address, flow.packet.proto, number)
        if verdict.decision is not Decision.DENIED:
            return ""
        said[verdict.words().removeprefix("denied: ")] = None
    return "; ".join(list(said)[:_SAID]) + (f"; and {len(said) - _SAID} more" if len(said) > _SAID else "")


def _answered(snapshot: Snapshot, flow: Flow, owed: Sequence[Owed]) -> Goal | Needs:
    """Return the goal of a flow that no policy is asked about."""
    packet = flow.packet
    index = index_services(snapshot.kube, family_of(packet.dst))
    service = entrance(snapshot, index, packet)
    if service is not None:
        return _service_goal(snapshot, flow, service, owed)
    other = next((e for (address, _, _), e in index.by_address.items() if address == packet.dst), None)
    if other is not None:
        asked = f"port {packet.dport}/{packet.proto}" if packet.dport is not None else packet.proto
        return Goal(because=f"{other.words} has no {asked}", owed=False)
    published = _published(snapshot, flow, owed)
    if published is not None:
        return published
    if not isinstance(snapshot.kube.services, Known):
        inferred = inferred_goal(snapshot, flow)
        if inferred is not None:
            return inferred
    holder = _holder(snapshot, flow)
    if isinstance(holder, Needs):
        return holder
    return _outside(snapshot, flow, owed) if holder is None else _listener(snapshot, flow, holder)


# --- Services --------------------------------------------------------------------------


def _service_goal(snapshot: Snapshot, flow: Flow, service: Entrance, owed: Sequence[Owed]) -> Goal:
    refused = _not_served(snapshot, flow, service)
    if refused:
        return Goal(because=refused, owed=False)
    backends = called_endpoints(snapshot, flow, service)
    if not backends:
        return Goal(because=f"{service.words} has no ready endpoint", owed=False)
    ends: set[tuple[str, int | None]] = set()
    away: list[str] = []
    pods = {ip: pod for pod in _pods(snapshot) for ip in pod.ips}
    for backend in backends:
        pod = pods.get(backend.address)
        netns = _pod_netns(snapshot, pod) if pod is not None else holder_of(snapshot, backend.address)
        # an endpoint that is known not to listen on its port may be reached on another
        silent = netns is not None and not _may_listen(snapshot, netns, service, backend.port)
        ends.add((backend.address, None if silent else backend.port))
        if netns is None and (pod is None or pod.node_name not in snapshot.nodes):
            away.append(backend.address)
    local = service.way != "cluster" and service.port.external_local
    kept = local and not calls_itself(snapshot, flow, service)
    outside = beyond(snapshot, away)
    return Goal(
        because=service.words,
        endpoints=frozenset(ends),
        beyond=outside,
        through=_through(owed, outside),
        source="kept" if kept else "",
    )


def _not_served(snapshot: Snapshot, flow: Flow, service: Entrance) -> str:
    """Say why a Service's own settings refuse the flow, "" if they do not."""
    packet, port = flow.packet, service.port
    if service.way == "node" and (served := excluded(snapshot, packet.dst)):
        return f"kube-proxy serves NodePorts on {served} only, and {packet.dst} is not among them"
    if service.way != "external" or not port.source_ranges or packet.dst not in port.load_balancer_ips:
        return ""
    source = source_of(snapshot, flow)
    if not source or any(in_prefix(source, one) for one in port.source_ranges):
        return ""
    ranges = ", ".join(port.source_ranges)
    return (
        f"{port.service.key} lets in {ranges} only (loadBalancerSourceRanges), and {source} is not among them"
    )


def _may_listen(snapshot: Snapshot, netns: str, service: Entrance, port: int) -> bool:
    waiting = listeners(snapshot, netns, service.port.proto)
    return waiting is None or any(s.port == port for s in waiting)


def _pods(snapshot: Snapshot) -> tuple[Pod, ...]:
    pods = snapshot.kube.pods
    return pods.value if isinstance(pods, Known) else ()


def _pod_at(snapshot: Snapshot, address: str) -> Pod | None:
    return next((pod for pod in _pods(snapshot) if address in pod.ips), None)


def _pod_netns(snapshot: Snapshot, pod: Pod) -> str | None:
    if pod.netns is not None and pod.netns in snapshot.namespaces:
        return pod.netns
    if pod.host_network and pod.node_name in snapshot.nodes:
        return snapshot.nodes[pod.node_name].netns
    return next((n for address in pod.ips if (n := holder_of(snapshot, address)) is not None), None)


# --- published ports -------------------------------------------------------------------


def _published(snapshot: Snapshot, flow: Flow, owed: Sequence[Owed]) -> Goal | Needs | None:
    """Return the goal that an owed DNAT of a node's own address and port gives."""
    packet = flow.packet
    balanced = _balanced(flow, owed)
    if balanced is not None:
        return balanced
    for item in owed:
        if not isinstance(item, OwedRule) or item.table != "nat" or not isinstance(item.rule.target, Dnat):
            continue
        if packet.dport is None or is_loopback(packet.dst) or not addressed_to(item.rule, packet):
            continue
        key = SectionKey(item.netns, "addresses")
        if _unread(snapshot, key):
            return Needs((key,))
        to = item.rule.target.to
        if to.lo is None or all(own.address != packet.dst for own in addresses_in(snapshot, item.netns)):
            continue
        if _is_left_out(snapshot, flow, item):
            continue
        port = to.ports.single if to.ports is not None else packet.dport.single
        return Goal(
            because=f"{item.owner} publishes it for {item.about or item.source}",
            endpoints=frozenset({(to.lo, port)}),
        )
    return None


def _balanced(flow: Flow, owed: Sequence[Owed]) -> Goal | None:
    """Return the goal that an owed virtual server of this address and port gives: any of its real servers."""
    packet = flow.packet
    if packet.dport is None or packet.dport.single is None:
        return None
    asked = (packet.proto, packet.dst, packet.dport.single)
    for item in owed:
        if not isinstance(item, OwedVirtualServer):
            continue
        server = item.server
        if (server.proto, server.address, server.port) != asked:
            continue
        ends = {
            (one.address, one.port or packet.dport.single)
            if one.forwarding == "masq"
            else (packet.dst, packet.dport.single)
            for one in server.real_servers
            if one.weight
        }
        because = f"{item.owner} balances it: {item.about or item.source}"
        return Goal(because=because, endpoints=frozenset(ends)) if ends else Goal(because=because, owed=False)
    return None


def _is_left_out(snapshot: Snapshot, flow: Flow, item: OwedRule) -> bool:
    """Does the rule pass over what comes from behind the bridge that the sender is on (``! -i docker0``)?"""
    wanted = item.rule.in_device
    if wanted is None or flow.origin.netns == item.netns:
        return False
    for own in addresses_in(snapshot, flow.origin.netns):
        behind = connected_prefix(snapshot, item.netns, own.address, "bridge")
        if behind is not None and (behind[0].device == wanted.value) == wanted.invert:
            return True
    return False


def _unread(snapshot: Snapshot, key: SectionKey) -> bool:
    section = snapshot.section(key)
    return isinstance(section, Missing) and section.kind is MissingKind.NOT_READ


# --- listeners, and those outside ------------------------------------------------------


def _holder(snapshot: Snapshot, flow: Flow) -> str | Needs | None:
    """Return the namespace that has the destination; None if it is none of the snapshot's."""
    address = flow.packet.dst
    if is_loopback(address):
        return flow.origin.netns
    pod = _pod_at(snapshot, address)
    if pod is not None and (netns := _pod_netns(snapshot, pod)) is not None:
        return netns
    nodes = snapshot.kube.nodes
    for node in nodes.value if isinstance(nodes, Known) else ():
        if address in node.internal_ips and node.name in snapshot.nodes:
            return snapshot.nodes[node.name].netns
    found = holder_of(snapshot, address)
    if found is not None:
        return found
    keys = [SectionKey(name, "addresses") for name in snapshot.namespaces]
    unread = tuple(key for key in keys if _unread(snapshot, key))
    return Needs(unread) if unread else None


def _listener(snapshot: Snapshot, flow: Flow, holder: str) -> Goal | Needs:
    packet, name = flow.packet, where(snapshot, holder)
    if packet.proto not in ("tcp", "udp") or packet.dport is None or packet.dport.single is None:
        return Goal(
            because=f"{name} has {packet.dst}",
            endpoints=frozenset({(packet.dst, None)}),
            source=_source(snapshot, flow, holder),
        )
    port = packet.dport.single
    key = SectionKey(holder, "sockets")
    if _unread(snapshot, key):
        return Needs((key,))
    waiting = listeners(snapshot, holder, packet.proto)
    if waiting is not None and not any(
        s.port == port and (s.address in ("0.0.0.0", packet.dst) or (s.address == "::" and not s.v6only))
        for s in waiting
    ):
        return Goal(because=f"nobody in {name} listens on {packet.proto} port {port}", owed=False)
    return Goal(
        because=f"{name} listens on {packet.proto} port {port}",
        endpoints=frozenset({(packet.dst, port)}),
        source=_source(snapshot, flow, holder),
    )


def _source(snapshot: Snapshot, flow: Flow, holder: str) -> str:
    """Pods reach each other without NAT: that is Kubernetes' own rule for networks."""
    if holder == flow.origin.netns:
        return ""
    ends = [snapshot.namespaces.get(name) for name in (holder, flow.origin.netns)]
    return "kept" if all(netns is not None and netns.role == "pod" for netns in ends) else ""


def _outside(snapshot: Snapshot, flow: Flow, owed: Sequence[Owed]) -> Goal:
    address = flow.packet.dst
    through = _through(owed, [address])
    pod = _pod_at(snapshot, address)
    if pod is not None:
        origin = snapshot.namespaces.get(flow.origin.netns)
        inside = origin is not None and origin.role == "pod" and not pod.host_network
        return Goal(
            because=f"pod {pod.key} is on {pod.node_name or 'a node'}, which was not read",
            beyond=frozenset({address}),
            through=through,
            source="kept" if inside else "",
        )
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    for node in nodes:
        cidrs = prefixes_of_family(node.pod_cidrs, family_of(address))
        if node.name in snapshot.nodes and any(in_prefix(address, cidr) for cidr in cidrs):
            return Goal(because=f"no pod of {node.name} has {address}", owed=False)
    # a node sends with its own address; the networks that are masqueraded are those behind it
    own_node = any(node.netns == flow.origin.netns for node in snapshot.nodes.values())
    sources = {own.address for own in addresses_in(snapshot, flow.origin.netns) if not own_node}
    return Goal(
        because=f"{address} is outside of what was read",
        beyond=frozenset({address}),
        through=through,
        source="rewritten" if _is_masked(owed, sources, address) else "",
    )


def _through(owed: Sequence[Owed], addresses: Iterable[str]) -> frozenset[tuple[str, str, str]]:
    """Return (address, namespace, device) of the owed routes that lead to one of *addresses*."""
    return frozenset(
        (address, item.netns, hop.device)
        for address in addresses
        for item in owed
        if isinstance(item, OwedRoute) and in_prefix(address, item.route.dst)
        for hop in item.route.nexthops
        if hop.device is not None
    )


def _is_masked(owed: Sequence[Owed], sources: set[str], dst: str) -> bool:
    """Do owed rules rewrite the source of what goes from one of *sources* to *dst*?"""
    chains: dict[tuple[str, str], list[XtRule]] = {}
    for item in owed:
        if isinstance(item, OwedChain) and not item.subject and item.ordered and item.table == "nat":
            chains.setdefault((item.netns, item.chain), []).extend(item.rules)
        elif isinstance(item, OwedRule) and item.table == "nat":
            chains.setdefault((item.netns, item.chain), []).append(item.rule)
    return any(_masquerades(rules, source, dst) for rules in chains.values() for source in sources)


def _masquerades(rules: Sequence[XtRule], source: str, dst: str) -> bool:
    """Does the first of *rules* that is about these two addresses alone rewrite the source?"""
    for rule in rules:
        if rule.src is None or any(not isinstance(match, Comment) for match in rule.matches):
            continue
        if _covers(rule.src, source) and (rule.dst is None or _covers(rule.dst, dst)):
            return isinstance(rule.target, Masquerade | Snat)
    return False


def _covers(test: Negatable, address: str) -> bool:
    return family_of(test.value) == family_of(address) and in_prefix(address, test.value) != test.invert
