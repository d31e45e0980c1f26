"""
kube-router-bgp-down: a peer's routes are missing because nobody announces them.

Lives here: the cause.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import connected, where
from nettrace.diagnose.making import owed_candidate
from nettrace.diagnose.sessions import apart, names_of
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRoute
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import NodeState
from nettrace_plugins.kube_router.facts import RouterNode, nodes_of
from nettrace_plugins.kube_router.owes import OWNER

__all__ = ["BGP_PORT", "KUBE_ROUTER_BGP_DOWN"]

BGP_PORT = 179


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot, nodes = context.snapshot, nodes_of(context.snapshot)
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedRoute) or owed.owner != OWNER or not difference.restored.absent:
            continue
        here = next((one for one in snapshot.nodes.values() if one.netns == owed.netns), None)
        peer = next((one for one in nodes.values() if one.pod_cidr == owed.route.dst), None)
        if (
            here is None
            or peer is None
            or connected(snapshot, owed.netns, peer.address, BGP_PORT) is not False
        ):
            continue
        yield _candidate(context, difference, here, peer)


def _candidate(context: Context, difference: Difference, here: NodeState, peer: RouterNode) -> Candidate:
    snapshot = context.snapshot
    place = where(snapshot, here.netns)
    ends = [here, *(one for one in snapshot.nodes.values() if one.name == peer.name)]
    evidence = [
        Evidence(
            ref=f"{here.netns}/sockets",
            text=f"no session with {peer.address}:{BGP_PORT} is established",
            note=f"BGP between {here.name} and {peer.name}",
        )
    ]
    found = apart(snapshot, ends, BGP_PORT)
    evidence += found.evidence
    why, lasting = (
        "",
        "see kube-router's log on both nodes: `gobgp neighbor` in its container shows the sessions",
    )
    if found.mute:
        names = names_of(found.mute)
        why, lasting = f": nobody listens for it on {names}", f"start kube-router on {names}; see its log"
    elif found.blocks:
        why = f": a rule drops TCP port {BGP_PORT}"
        lasting = (
            f"let TCP port {BGP_PORT} through between the nodes: take the rule away, or accept it before"
        )
    return owed_candidate(
        context,
        "kube-router-bgp-down",
        [difference],
        f"{place} has no route to {difference.about}, and no BGP session with {peer.name}{why}",
        safety=Safety.GUARDED,
        overwritten="kube-router writes the same when the session is up",
        lasting=lasting,
        before=evidence,
    )


def _reads(context: Context) -> Iterator[SectionKey]:
    if any(isinstance(item, OwedRoute) and item.owner == OWNER for item in context.owed):
        for node in context.snapshot.nodes.values():
            yield SectionKey(node.netns, "sockets")


KUBE_ROUTER_BGP_DOWN = Cause(
    id="kube-router-bgp-down",
    title="kube-router has no BGP session with a peer",
    what=(
        "kube-router learns where the pods of other nodes are by BGP: each node announces its pod CIDR to "
        "the others, over TCP port 179. Without the session the routes of that peer are withdrawn."
    ),
    shows="Pods of one peer, or of all, time out; those of the same node work.",
    dies="At the default gateway, which knows no pods.",
    proof="`ss -tn sport = :179 or dport = :179` shows no session; `ip route show proto 17` lacks the peer.",
    repair="ip route replace PEERCIDR via PEERIP proto 17, as kube-router writes it; then the session.",
    owner="kube-router, or whoever blocks TCP port 179.",
    source="kube-router#425, kube-router#1815, calicoctl#949",
    reads=_reads,
    candidates=_candidates,
)
