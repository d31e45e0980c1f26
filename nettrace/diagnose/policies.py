"""
Network policies and one flow: what they want, and what the node does.

Lives here: which pairs of addresses a flow comes to, the verdicts on them, and whether the chains
that the walk passed decide alike.
Not here: the semantics (nettrace.kube.policy), causes and repairs.
"""

from collections.abc import Iterable
from itertools import takewhile

from msgspec import Struct

from nettrace.diagnose.goal import innermost, last_packet, original_source
from nettrace.diagnose.look import addresses_in
from nettrace.diagnose.services import called_endpoints, entrance, index_services
from nettrace.kube.policy import decide
from nettrace.kube.policy_chains import refuses
from nettrace.kube.policy_ends import cluster_of
from nettrace.model.addr import family_of, is_loopback
from nettrace.model.flow import Flow
from nettrace.model.packet import Packet
from nettrace.model.policy_verdict import Decision, Enforced, PolicyFlow, PolicyVerdict
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step, Verdict
from nettrace.model.walk import Path, Walk

__all__ = [
    "Judge",
    "denial_by_chain",
    "ends_of",
    "enforced",
    "is_rewritten",
    "node_addresses",
    "path_verdict",
    "source_of",
]

#: Verdicts that rules give on purpose.
_REFUSALS = (Verdict.REJECTED, Verdict.DROPPED_BY_RULE)

#: Of a Service whose packet got no DNAT, so many endpoints are judged.
_ENDPOINTS = 32


def node_addresses(snapshot: Snapshot) -> dict[str, str]:
    """Return the addresses on the nodes' devices, by which policies may meet them -> names of nodes."""
    return {
        own.address: node.name
        for node in snapshot.nodes.values()
        for own in addresses_in(snapshot, node.netns)
        if not is_loopback(own.address)
    }


def source_of(snapshot: Snapshot, flow: Flow) -> str:
    """Return the address that a flow starts from, "" if that cannot be told without walking it."""
    if flow.packet.src:
        return flow.packet.src
    family = family_of(flow.packet.dst)
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    for pod in pods:
        if pod.netns == flow.origin.netns and not pod.host_network:
            return next((a for a in pod.ips if family_of(a) == family), "")
    node = next((n.name for n in snapshot.nodes.values() if n.netns == flow.origin.netns), None)
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    named = next((n.internal_ips for n in nodes if n.name == node), ())
    own = [a.address for a in addresses_in(snapshot, flow.origin.netns) if a.scope == "global"]
    return next((a for a in (*named, *own) if family_of(a) == family), "")


class Judge:
    """What the policies of a snapshot say, for many flows."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.kube = snapshot.kube
        self.cluster = cluster_of(snapshot.kube, node_addresses(snapshot))

    def verdict(self, src: str, dst: str, proto: str, port: int | None) -> PolicyVerdict:
        """Return what they say about one call."""
        flow = PolicyFlow(src=src, dst=dst, proto=proto, port=port)
        return decide(self.kube, flow, cluster=self.cluster)


# --- a walk ----------------------------------------------------------------------------


class _Pair(Struct, frozen=True):
    src: str
    dst: str
    port: int | None


def _pairs(snapshot: Snapshot, walk: Walk, path: Path) -> tuple[_Pair, ...]:
    """Return who calls whom on one branch: after DNAT, or the endpoints of a Service that got no DNAT."""
    packet = last_packet(path.request) if path.legs else None
    if packet is None:
        return ()
    packet = innermost(packet)
    src = original_source(path) or source_of(snapshot, walk.flow)
    if not src or is_loopback(src) or is_loopback(packet.dst):
        return ()
    if path.endpoint is not None:
        return (_Pair(src, path.endpoint.address, path.endpoint.port),)
    found = entrance(snapshot, index_services(snapshot.kube, family_of(packet.dst)), packet)
    if found is not None:
        backends = called_endpoints(snapshot, walk.flow, found)
        return tuple(_Pair(src, one.address, one.port) for one in backends[:_ENDPOINTS])
    return (_Pair(src, packet.dst, _single(packet)),)


def _single(packet: Packet) -> int | None:
    return packet.dport.single if packet.dport is not None else None


def ends_of(snapshot: Snapshot, walk: Walk) -> frozenset[tuple[str, int | None]]:
    """Return the (address, port) pairs that *walk* comes to, through Services and all."""
    return frozenset((pair.dst, pair.port) for path in walk.paths for pair in _pairs(snapshot, walk, path))


def path_verdict(snapshot: Snapshot, walk: Walk, path: Path) -> PolicyVerdict | None:
    """Return what policies say about one branch; None where it does not come to one pair of ends."""
    pairs = _pairs(snapshot, walk, path)
    if len(pairs) != 1:
        return None
    pair = pairs[0]
    return Judge(snapshot).verdict(pair.src, pair.dst, walk.flow.packet.proto, pair.port)


def enforced(snapshot: Snapshot, walk: Walk) -> tuple[Enforced, ...]:
    """
    Return what policies say about all that *walk* comes to, and whether the node agrees.

    Nothing where there are no pods that policies could be about.
    """
    if not isinstance(snapshot.kube.pods, Known) or walk.flow.origin.device is not None:
        return ()
    by_pair: dict[_Pair, list[Path]] = {}
    for path in walk.paths:
        for pair in _pairs(snapshot, walk, path):
            by_pair.setdefault(pair, []).append(path)
    judge, proto = Judge(snapshot), walk.flow.packet.proto
    found = []
    for pair, paths in by_pair.items():
        verdict = judge.verdict(pair.src, pair.dst, proto, pair.port)
        words, lets = _node(paths)
        sure = verdict.decision is not Decision.UNKNOWN and lets is not None
        agrees = (verdict.decision is Decision.ALLOWED) == lets if sure else None
        found.append(Enforced(verdict=verdict, node=words, agrees=agrees))
    return tuple(found)


def _node(paths: Iterable[Path]) -> tuple[str, bool | None]:
    """Say what the node does on these branches: does it let them pass?  None: something else stops them."""
    found = {_lets(path) for path in paths}
    if found == {True}:
        return "the node lets it through", True
    denial = next((step for path in paths if (step := denial_by_chain(path)) is not None), None)
    if denial is not None:
        return f"{denial.chain} on {denial.node or denial.netns} refuses it", False
    return "it does not get as far as to a rule that enforces policies", None


def _lets(path: Path) -> bool | None:
    if path.legs and path.request.verdict in (Verdict.DELIVERED, Verdict.NOT_LISTENING):
        return True
    return False if denial_by_chain(path) is not None else None


def denial_by_chain(path: Path) -> Step | None:
    """Return the step at which a pod's chain of policies refuses the request, if that ends the branch."""
    step = path.failing_step
    if path.failed != 0 or path.verdict not in _REFUSALS or step is None:
        return None
    passed = takewhile(lambda one: _is_of_hook(one, step), reversed(path.legs[path.failed].steps))
    return step if refuses(step.chain, (one.chain for one in passed if one.chain)) else None


def _is_of_hook(one: Step, step: Step) -> bool:
    return (one.netns, one.hook, one.table) == (step.netns, step.hook, step.table)


def is_rewritten(step: Step, verdict: PolicyVerdict) -> bool:
    """Does the packet come to *step* with another source than the one that was judged?"""
    return step.before is not None and innermost(step.before).src != verdict.flow.src
