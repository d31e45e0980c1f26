"""veth-detached: a pod's veth is in no bridge."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import nearby, peer_netns, pod_ports
from nettrace.diagnose.look import addresses_in, where
from nettrace.model.change import LinkSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.section import Known, SectionKey

__all__ = ["VETH_DETACHED"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for netns in nearby(context):
        ports = pod_ports(snapshot, netns)
        bridges = {port.master for port in ports if port.master is not None}
        if len(bridges) != 1:
            continue  # which bridge it was in cannot be told
        bridge = next(iter(bridges)) or ""
        siblings = [port for port in ports if port.master == bridge]
        for link in ports:
            if link.master is None and not _has_address(context, netns, link.name):
                yield _candidate(context, netns, link, bridge, siblings)


def _has_address(context: Context, netns: str, device: str) -> bool:
    """Is the device used without a bridge, with an address or a route of its own?"""
    routes = context.snapshot.section(SectionKey(netns, "routes"))
    routed = isinstance(routes, Known) and any(
        hop.device == device for route in routes.value for hop in route.nexthops
    )
    return routed or any(own.device == device for own in addresses_in(context.snapshot, netns))


def _candidate(context: Context, netns: str, link: Link, bridge: str, siblings: list[Link]) -> Candidate:
    place, behind = where(context.snapshot, netns), peer_netns(link)
    changes = [LinkSet(netns=netns, device=link.name, attribute="master", value=bridge)]
    if siblings and all(port.port is not None and port.port.hairpin for port in siblings):
        changes.append(LinkSet(netns=netns, device=link.name, attribute="hairpin", value="on"))
    return Candidate(
        cause="veth-detached",
        netns=netns,
        where=place,
        subject=f"netns/{behind}",
        message=f"{link.name} on {place}, which leads to {behind}, is not in the bridge {bridge}",
        changes=tuple(changes),
        evidence=(
            Evidence(
                ref=f"{netns}/links/{link.name}", text=f"{link.name} without a master", note="what is there"
            ),
            Evidence(
                ref=f"{netns}/links/{siblings[0].name}",
                text=f"{siblings[0].name} master {bridge}",
                note=f"so are all {len(siblings)} others that lead to pods",
            ),
        ),
        safety=Safety.GUARDED,
        owner="the CNI plugin that made the pair",
        overwritten="not by itself; whoever took it out may do it again",
        lasting="see who takes it out: `ip monitor link`, a network manager",
    )


VETH_DETACHED = Cause(
    id="veth-detached",
    title="a pod's veth is in no bridge",
    what=(
        "The node's end of a pod's veth pair has no master, while those of the other pods are ports of "
        "the bridge."
    ),
    shows="Nothing reaches the pod, and it reaches nobody: no route to host after 3 s.",
    dies="At ARP: the frames of the pod arrive at the node's own stack, those for it never leave the bridge.",
    proof="`ip link show VETH` has no `master`.",
    repair="ip link set dev VETH master BRIDGE",
    owner="The CNI plugin that made the pair.",
    source="m-lab/k8s-support#111",
    candidates=_candidates,
)
