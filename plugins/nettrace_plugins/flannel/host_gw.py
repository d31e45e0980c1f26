"""hostgw-no-l2: host-gw between nodes that are not on one network."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import route_text
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import where
from nettrace.model.addr import family_of, in_prefix
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Address
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace_plugins.flannel.facts import Published, own_and_peers
from nettrace_plugins.flannel.peers import OWNER, uplink

__all__ = ["HOSTGW_NO_L2"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for node in context.snapshot.nodes.values():
        own, peers = own_and_peers(context.snapshot, node.name)
        if own is None or own.backend != "host-gw" or node.netns not in context.visited:
            continue
        section = context.snapshot.section(SectionKey(node.netns, "addresses"))
        if not isinstance(section, Known):
            continue  # which networks it is on nobody knows
        for peer in peers:
            far = uplink(context.snapshot, node.netns, peer.public_ip) is None
            if far and peer.backend == "host-gw" and _is_asked(context, node.netns, peer):
                yield _candidate(context, node.netns, peer, section.value)


def _is_asked(context: Context, netns: str, peer: Published) -> bool:
    """Does a packet of the failing branches that is for the peer's pods pass here?"""
    packets = (step.after or step.before for step in context.steps if step.netns == netns)
    ends = (inner.dst for packet in packets if packet and (inner := innermost(packet)))
    return any(end and in_prefix(end, peer.pod_cidr) for end in ends)


def _candidate(context: Context, netns: str, peer: Published, addresses: tuple[Address, ...]) -> Candidate:
    place = where(context.snapshot, netns)
    section = context.snapshot.section(SectionKey(netns, "routes"))
    routes: tuple[Route, ...] = section.value if isinstance(section, Known) else ()
    standing = [route for route in routes if route.dst == peer.pod_cidr]
    networks = ", ".join(
        f"{own.address}/{own.prefixlen} dev {own.device}"
        for own in addresses
        if family_of(own.address) == 4 and own.scope == "global"
    )
    return Candidate(
        cause="hostgw-no-l2",
        netns=netns,
        where=place,
        subject=f"node/{peer.node}",
        message=(
            f"{place} cannot have {peer.public_ip}, the address of {peer.node}, as next hop to its pods: "
            "it is on none of the networks that this node is on"
        ),
        changes=(),
        evidence=(
            Evidence(ref="kube/nodes", text=f"public-ip: {peer.public_ip}", note=peer.source),
            Evidence(ref=f"{netns}/addresses", text=networks, note="the networks of this node"),
            *(
                Evidence(
                    ref=f"{netns}/routes/{route.table}/{route.dst}",
                    text=route_text(route),
                    note="what is there; nobody on that network answers for the next hop",
                )
                for route in standing
            ),
        ),
        safety=Safety.ADVICE,
        owner=OWNER,
        lasting=(
            "the back end vxlan with DirectRouting, which uses host-gw's routes between nodes of one network "
            "only; or put the nodes on one network"
        ),
    )


HOSTGW_NO_L2 = Cause(
    id="hostgw-no-l2",
    title="host-gw between nodes that are not on one network",
    what=(
        "flannel's back end host-gw makes each node the next hop to its pods, which works only from a node "
        "that reaches it without a router. The kernel refuses such a route to flanneld; one that was "
        "forced with `onlink` has a next hop that answers no ARP."
    ),
    shows=(
        "Pods of nodes in another subnet: a timeout, or No route to host after 3 s where a route was forced."
    ),
    dies="At the default gateway, which knows no pods; with a forced route at the neighbour.",
    proof="The peer's annotation public-ip is in no network of `ip addr`; `ip neigh` has it FAILED.",
    repair="none on the node: the back end vxlan, with DirectRouting",
    owner="Whoever chose the back end: net-conf.json in the ConfigMap kube-flannel-cfg.",
    source="flannel#1520, flannel#771, kubernetes-handbook#87",
    candidates=_candidates,
)
