"""
flannel's back end udp: flanneld itself carries the packets, between the device flannel0 and UDP port 8285.

Lives here: what it does with a packet (Relay), and the cause that it does not run.
Facts are from pkg/backend/udp of flannel: flannel0 has the whole network routed to it, each end
lowers the TTL by one, the device goes when flanneld does.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import where
from nettrace.model.addr import in_prefix
from nettrace.model.finding import Evidence, Safety
from nettrace.model.relay import Relay
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.flannel.facts import NET_CONF, Published, own_and_peers, udp_port
from nettrace_plugins.flannel.peers import OWNER

__all__ = ["DEVICE", "FLANNELD_DEAD", "relays"]

DEVICE = "flannel0"


def relays(snapshot: Snapshot, netns: str) -> Iterator[Relay]:
    """Yield the ways of the flanneld that runs in *netns*: one for each peer."""
    node = next((one.name for one in snapshot.nodes.values() if one.netns == netns), None)
    if node is None or _has_device(snapshot, netns) is not True:
        return
    own, peers = own_and_peers(snapshot, node)
    if own is None or own.backend != "udp" or not _listens(snapshot, node, netns, own):
        return
    port = udp_port(snapshot, node)
    for peer in peers:
        if peer.backend == "udp":
            yield Relay(
                device=DEVICE,
                prefix=peer.pod_cidr,
                local=own.public_ip,
                port=port,
                far=peer.public_ip,
                far_port=port,
                owner=OWNER,
                source=peer.source,
                hops=1,
            )


def _has_device(snapshot: Snapshot, netns: str) -> bool | None:
    """Is there a TUN device flannel0?  None where the devices were not read."""
    links = snapshot.section(SectionKey(netns, "links"))
    if not isinstance(links, Known):
        return None
    return any(link.name == DEVICE and link.kind == "tun" for link in links.value)


def _listens(snapshot: Snapshot, node: str, netns: str, own: Published) -> bool:
    sockets = snapshot.section(SectionKey(netns, "sockets"))
    port = udp_port(snapshot, node)
    return isinstance(sockets, Known) and any(
        (one.proto, one.address, one.port) == ("udp", own.public_ip, port) for one in sockets.value
    )


def _candidates(context: Context) -> Iterator[Candidate]:
    asked = {
        (step.netns, inner.dst)
        for step in context.steps
        if (packet := step.after or step.before) and (inner := innermost(packet))
    }
    arrives = {  # with the packet still inside the peer's
        failure.netns
        for failure in context.failures
        if failure.step is not None
        and failure.step.before is not None
        and failure.step.before.inner is not None
    }
    for node in context.snapshot.nodes.values():
        own, peers = own_and_peers(context.snapshot, node.name)
        if own is None or own.backend != "udp" or _has_device(context.snapshot, node.netns) is not False:
            continue
        away = any(n == node.netns and d and in_prefix(d, p.pod_cidr) for n, d in asked for p in peers)
        if away or node.netns in arrives:
            yield _candidate(context, node.name, node.netns, own)


def _candidate(context: Context, node: str, netns: str, own: Published) -> Candidate:
    place = where(context.snapshot, netns)
    return Candidate(
        cause="flanneld-dead",
        netns=netns,
        where=place,
        subject=f"node/{node}",
        message=f"flanneld does not run on {place}: its device {DEVICE} is gone",
        changes=(),
        evidence=(
            Evidence(ref=f"node:{node}/files", text="Backend: udp", note=f"{NET_CONF}; {own.source}"),
            Evidence(ref=f"{netns}/links", text=f"no device {DEVICE}", note="it lives as long as flanneld"),
        ),
        safety=Safety.ADVICE,
        owner=OWNER,
        lasting="start flanneld on this node, and see in its log why it ended",
    )


FLANNELD_DEAD = Cause(
    id="flanneld-dead",
    title="flanneld does not run, and it is what carries the packets",
    what=(
        "With the back end udp flanneld itself carries every packet between the device flannel0 and UDP port "
        "8285. When it ends, the device goes with it, and its route to the pods' network."
    ),
    shows="Pods of all other nodes time out at once; those of the same node work.",
    dies="At the default gateway, which knows no pods.",
    proof="`ip link show flannel0` finds nothing; nobody listens at UDP port 8285.",
    repair="Start flanneld.",
    owner="flanneld",
    source="opsnull#116, flannel#636",
    candidates=_candidates,
)
