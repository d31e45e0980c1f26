"""
weave-peers-disconnected: a node's router has no connection to a peer's.

Lives here: what is owed for a peer where a VXLAN's own forwarding database says where frames go, the
cause, and what sockets and rules tell of the connection.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference, differences
from nettrace.diagnose.look import connected, where
from nettrace.diagnose.making import owed_candidate
from nettrace.diagnose.sessions import apart, names_of
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import FdbEntry
from nettrace.model.owed import OwedFdb
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.step import Verdict
from nettrace_plugins.weave.facts import Peer, peers, runs_on, tunnel
from nettrace_plugins.weave.names import PORT
from nettrace_plugins.weave.owes import OWNER

__all__ = ["WEAVE_PEERS_DISCONNECTED", "owed_for_peers"]

_DEFAULT = "00:00:00:00:00:00"


def owed_for_peers(snapshot: Snapshot, node: str) -> Iterator[OwedFdb]:
    """Yield the default entry for each peer: frames for nobody known go to all of them."""
    if not runs_on(snapshot, node):
        return
    netns = snapshot.nodes[node].netns
    link = tunnel(snapshot, netns)
    for peer in peers(snapshot, node) if link is not None else ():
        yield OwedFdb(
            netns=netns,
            owner=OWNER,
            source=peer.source,
            about=f"the way to {peer.name}",
            entry=FdbEntry(device=link.name if link else "", mac=_DEFAULT, dst=peer.address, permanent=True),
        )


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    owed = [item for item in context.owed if isinstance(item, OwedFdb) and item.owner == OWNER]
    missing = differences(snapshot, owed)
    near = {snapshot.namespaces[netns].node for netns in context.visited if netns in snapshot.namespaces}
    seen: set[frozenset[str]] = set()
    for node in (snapshot.nodes[name] for name in sorted(near & snapshot.nodes.keys())):
        for peer in peers(snapshot, node.name):
            there = next((one for one in snapshot.nodes.values() if one.name == peer.name), None)
            ends = (node,) if there is None else (node, there)
            pair = frozenset((node.name, peer.name))
            lost = [one for one in missing if _is_between(snapshot, one, ends, pair)]
            if lost and pair not in seen and connected(snapshot, node.netns, peer.address, PORT) is False:
                seen.add(pair)
                yield _candidate(context, lost, ends, peer)


def _is_between(
    snapshot: Snapshot, difference: Difference, ends: tuple[NodeState, ...], pair: frozenset[str]
) -> bool:
    """Is it the way of one of these nodes to the other?"""
    owed = difference.owed
    here = next((one for one in ends if one.netns == owed.netns), None)
    if here is None or not isinstance(owed, OwedFdb):
        return False
    return any(peer.address == owed.entry.dst and peer.name in pair for peer in peers(snapshot, here.name))


def _candidate(
    context: Context, lost: list[Difference], ends: tuple[NodeState, ...], peer: Peer
) -> Candidate:
    snapshot, here = context.snapshot, ends[0]
    evidence = [
        Evidence(
            ref=f"{here.netns}/sockets",
            text=f"no connection with {peer.address}:{PORT} is established",
            note=f"Weave's routers on {here.name} and {peer.name}",
        )
    ]
    found = apart(snapshot, ends, PORT)
    evidence += found.evidence
    why, lasting = "", "see `weave status connections` in the weave container, and its log; restart its pod"
    if found.mute:
        names = names_of(found.mute)
        why, lasting = f": its router does not run on {names}", f"restart the weave-net pod of {names}"
    elif found.blocks:
        why = f": a rule drops TCP port {PORT}"
        lasting = (
            f"let TCP port {PORT} and UDP ports {PORT} and {PORT + 1} through between the nodes: take the "
            "rule away, or accept them before it"
        )
    return owed_candidate(
        context,
        "weave-peers-disconnected",
        lost,
        f"Weave on {where(snapshot, here.netns)} is not connected to {peer.name}{why}",
        safety=Safety.GUARDED,
        overwritten="Weave takes it over when the peers are connected again",
        lasting=lasting,
        before=evidence,
    )


def _reads(context: Context) -> Iterator[SectionKey]:
    if any(isinstance(item, OwedFdb) and item.owner == OWNER for item in context.owed):
        for node in context.snapshot.nodes.values():
            yield SectionKey(node.netns, "sockets")
            yield SectionKey(node.netns, "fdb")


WEAVE_PEERS_DISCONNECTED = Cause(
    id="weave-peers-disconnected",
    title="two nodes of Weave have no connection",
    what=(
        "Weave's routers tell each other where pods are over TCP port 6783, and carry frames by UDP ports "
        "6783 and 6784. Without the connection to a peer nothing is sent to its pods."
    ),
    shows="Pods of one node cannot be reached, until weave-net is restarted there or the ports are open.",
    dies="In the datapath: no way leads to the peer.",
    proof="`weave status connections` is not established; `ss -tn` has no session of port 6783 with it.",
    repair="Open TCP 6783 and UDP 6783-6784 between the nodes; restart the weave-net pod.",
    owner="Weave, or whoever blocks its ports.",
    source="weave#3641, weave#3392, weave#3165, weave#2984",
    reads=_reads,
    verdicts=frozenset({Verdict.NO_TUNNEL_DESTINATION, Verdict.NEIGHBOUR_FAILED}),
    candidates=_candidates,
)
