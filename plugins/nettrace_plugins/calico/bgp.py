"""
calico-bgp-down and calico-wrong-autodetect: a peer's blocks are missing because nobody tells of them.

Lives here: the causes, with what sockets, processes and rules say of the session.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import connected, where
from nettrace.diagnose.making import owed_candidate
from nettrace.diagnose.sessions import apart, names_of
from nettrace.model.addr import in_prefix
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRoute
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace_plugins.calico.facts import OWNER, Published, blocks_of, pools, published, setting
from nettrace_plugins.calico.names import TUNNEL, VXLAN
from nettrace_plugins.kube_router.bgp import BGP_PORT

__all__ = ["CALICO_BGP_DOWN", "CALICO_WRONG_AUTODETECT"]


#: Values of programClusterRoutes with which Felix, not BIRD, leads to the blocks of pools with IPIP.
_BY_FELIX = ("Enabled", "EnabledIPIPOnly")


def _down(context: Context) -> Iterator[Candidate]:
    nodes = published(context.snapshot)
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedRoute) or owed.owner != OWNER or not difference.restored.absent:
            continue
        hop = owed.route.nexthops[0] if owed.route.nexthops else None
        here = next((one for one in context.snapshot.nodes.values() if one.netns == owed.netns), None)
        peer = next((one for one in nodes.values() if hop and one.address == hop.via), None)
        if hop is None or here is None or peer is None or hop.device == VXLAN:
            continue
        if hop.device == TUNNEL and str(setting(context.snapshot, "programClusterRoutes")) in _BY_FELIX:
            continue
        if connected(context.snapshot, owed.netns, peer.address, BGP_PORT) is False:
            yield _candidate(context, difference, here, peer)


def _candidate(context: Context, difference: Difference, here: NodeState, peer: Published) -> Candidate:
    snapshot = context.snapshot
    place = where(snapshot, here.netns)
    ends = [here, *(one for one in snapshot.nodes.values() if one.name == peer.node)]
    evidence = [
        Evidence(
            ref=f"{here.netns}/sockets",
            text=f"no session with {peer.address}:{BGP_PORT} is established",
            note=f"BGP between {here.name} and {peer.node}",
        )
    ]
    idle = [one for one in ends if _without_bird(one)]
    for one in idle:
        evidence.append(Evidence(ref=f"node:{one.name}/processes", text="no process bird", note=one.name))
    found = apart(snapshot, ends, BGP_PORT, known=[one.name for one in idle])
    evidence += found.evidence
    why = ""
    lasting = (
        "calicoctl node status, on both nodes, says in which state the session is; BIRD's log is in the "
        "container calico-node"
    )
    if idle:
        names = names_of(idle)
        why = f": BIRD does not run on {names}"
        lasting = f"restart calico-node on {names}; see in its log why BIRD ended"
    elif found.mute:
        why = f": nobody listens for it on {names_of(found.mute)}"
    elif found.blocks:
        why = f": a rule drops TCP port {BGP_PORT}"
        lasting = (
            f"let TCP port {BGP_PORT} through between the nodes: take the rule away, or accept it before"
        )
    return owed_candidate(
        context,
        "calico-bgp-down",
        [difference],
        f"{place} has no route to {difference.about}, and no BGP session with {peer.node}{why}",
        safety=Safety.GUARDED,
        overwritten="BIRD writes its own in its place when the session is up",
        lasting=lasting,
        before=evidence,
    )


def _without_bird(node: NodeState) -> bool:
    """Is it known that no BIRD runs on the node?"""
    processes = node.processes
    return isinstance(processes, Known) and not any(one.name == "bird" for one in processes.value)


def _reads(context: Context) -> Iterator[SectionKey]:
    if any(isinstance(item, OwedRoute) and item.owner == OWNER for item in context.owed):
        for node in context.snapshot.nodes.values():
            yield SectionKey(node.netns, "sockets")
            yield SectionKey(f"node:{node.name}", "processes")


CALICO_BGP_DOWN = Cause(
    id="calico-bgp-down",
    title="a Calico node has no BGP session with a peer",
    what=(
        "Without VXLAN, Calico's nodes tell each other by BGP (BIRD, TCP port 179) which address blocks are "
        "theirs. Without the session a peer's blocks have no route."
    ),
    shows="Pods of one peer, or of all, time out; calico-node is not ready: BGP not established.",
    dies="At the default gateway, which knows no pods.",
    proof="`calicoctl node status`; `ss -tn sport = :179 or dport = :179`; `ip route show proto bird`.",
    repair="the route that BIRD would write; then the session.",
    owner="calico-node (BIRD), or whoever blocks TCP port 179.",
    source="calico#2561, calico#2785, calico#3541, calico#8606, kubernetes#58908",
    reads=_reads,
    candidates=_down,
)


# --- the wrong interface ---------------------------------------------------------------


def _wrong(context: Context) -> Iterator[Candidate]:
    packets = [step.after or step.before for step in context.steps]
    ends = {end for p in packets if p and (i := innermost(p)) for end in (i.src, i.dst) if end}
    for one in published(context.snapshot).values():
        if not one.internal or one.address in one.internal or not pools(context.snapshot):
            continue
        if any(in_prefix(end, block) for end in ends for block in _blocks(context.snapshot, one.node)):
            yield _autodetected(context, one)


def _blocks(snapshot: Snapshot, node: str) -> list[str]:
    return [block for block, owner in blocks_of(snapshot).items() if owner == node]


def _autodetected(context: Context, one: Published) -> Candidate:
    state = context.snapshot.nodes.get(one.node)
    netns = state.netns if state is not None else ""
    return Candidate(
        cause="calico-wrong-autodetect",
        netns=netns,
        where=one.node,
        subject=f"node/{one.node}",
        message=(
            f"Calico on {one.node} took {one.address} for the node's address, which is "
            f"{', '.join(one.internal)}: its peers look for it there"
        ),
        changes=(),
        evidence=(
            Evidence(ref="kube/nodes", text=f"projectcalico.org/IPv4Address: {one.address}", note=one.source),
            Evidence(ref="kube/nodes", text=f"InternalIP: {', '.join(one.internal)}", note=one.source),
        ),
        safety=Safety.ADVICE,
        owner=OWNER,
        lasting=(
            "kubectl -n calico-system set env daemonset/calico-node "
            "IP_AUTODETECTION_METHOD=kubernetes-internal-ip (with the operator: nodeAddressAutodetectionV4)"
        ),
    )


CALICO_WRONG_AUTODETECT = Cause(
    id="calico-wrong-autodetect",
    title="a Calico node took a wrong interface for its own",
    what=(
        "calico-node looks for the node's address itself, by default on the first interface that looks "
        "valid, which may be a bridge of libvirt or a second network card. Peers and tunnels then use that."
    ),
    shows="Pods of that node cannot be reached from others; its BGP sessions do not come up.",
    dies="At the default gateway, or wherever the wrong address leads.",
    proof="The Node's annotation projectcalico.org/IPv4Address is none of its InternalIPs.",
    repair="none on the node: IP_AUTODETECTION_METHOD",
    owner="Whoever configures calico-node.",
    source="calico#8607, calico#3541, calicoctl#2108",
    candidates=_wrong,
)
