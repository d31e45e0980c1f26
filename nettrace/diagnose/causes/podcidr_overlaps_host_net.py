"""podcidr-overlaps-host-net: the network of a node's pods or containers hides hosts of another network."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import connected_prefix, holder_of, link_in, subject_of, where
from nettrace.model.addr import canonical_prefix, family_of, in_prefix, prefix_length
from nettrace.model.change import RouteAdd
from nettrace.model.finding import Evidence, Safety
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["PODCIDR_OVERLAPS_HOST_NET"]

_MAIN = 254


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    told = set[tuple[str, str]]()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.NEIGHBOUR_FAILED or step is None or step.before is None:
            continue
        netns, hidden = step.netns, step.before.dst
        on = connected_prefix(snapshot, netns, hidden, "bridge")
        if on is None or on[0].device != step.device or (netns, hidden) in told:
            continue
        told.add((netns, hidden))
        other = _other_way(snapshot, netns, hidden, on[0].device)
        if other is None or not _lives_there(snapshot, netns, hidden, other):
            continue
        device, network = on[0].device, on[1]
        place = where(snapshot, netns)
        route = Route(dst=canonical_prefix(hidden), nexthops=other.nexthops, scope=other.scope)
        yield Candidate(
            cause="podcidr-overlaps-host-net",
            netns=netns,
            where=place,
            subject=subject_of(snapshot, netns),
            message=(
                f"{place} looks for {hidden} on {device}, whose network {network} overlaps {other.dst}, by "
                "which it would be reached"
            ),
            changes=(RouteAdd(netns=netns, route=route),),
            evidence=(
                Evidence(
                    ref=f"{netns}/addresses",
                    text=f"{on[0].address}/{on[0].prefixlen} on {device}",
                    note="the network of pods or containers, which is longer and so comes first",
                ),
                Evidence(ref=f"{netns}/routes/{_MAIN}", text=_words(other), note="the other way to it"),
            ),
            safety=Safety.GUARDED,
            owner="whoever chose the network of the pods or containers",
            overwritten="not by anybody; no pod or container may get that address as long as it is there",
            lasting=(
                "a route for one host is a stop-gap: give the pods or containers a network that nobody has "
                "(the cluster's podCIDR; Docker's bip and default-address-pools)"
            ),
        )


def _other_way(snapshot: Snapshot, netns: str, address: str, device: str) -> Route | None:
    """Return the route that would be taken without *device*: the longest of the others."""
    section = snapshot.section(SectionKey(netns, "routes"))
    routes: tuple[Route, ...] = section.value if isinstance(section, Known) else ()
    fitting = [
        route
        for route in routes
        if route.type == "unicast"
        and route.table == _MAIN
        and route.nexthops
        and all(hop.device not in (None, device) for hop in route.nexthops)
        and family_of(route.dst) == family_of(address)
        and in_prefix(address, route.dst)
    ]
    return max(fitting, key=lambda route: (prefix_length(route.dst), -route.metric), default=None)


def _lives_there(snapshot: Snapshot, netns: str, address: str, other: Route) -> bool:
    """
    Is the address one of the other network, as far as anything says so?

    Somebody who is no pod of this node has it, or it is in a network that another device of the node is in.
    A default route alone leads everywhere, also to addresses of pods that are gone.
    """
    holder = holder_of(snapshot, address)
    if holder is not None:
        found = snapshot.namespaces[holder]
        return holder != netns and (found.node != snapshot.namespaces[netns].node or found.role == "outside")
    device = other.nexthops[0].device
    direct = all(hop.via is None for hop in other.nexthops)
    return direct and link_in(snapshot, netns, device) is not None


def _words(route: Route) -> str:
    hops = " ".join(f"{f'via {hop.via} ' if hop.via else ''}dev {hop.device}" for hop in route.nexthops)
    return f"{route.dst} {hops}"


PODCIDR_OVERLAPS_HOST_NET = Cause(
    id="podcidr-overlaps-host-net",
    title="the network of pods or containers hides hosts of another network",
    what=(
        "The bridge of pods or containers is in a network that overlaps one which the node reaches by "
        "another device: a LAN, a VPN, the DNS server's. The longer prefix wins, so that the node looks for "
        "such hosts on its own bridge, where nobody has their addresses."
    ),
    shows="No route to host after 3 s for some hosts of the LAN, from pods and the node; others work.",
    dies="On the node: nobody on the bridge answers ARP for that address.",
    proof="`ip route get HOST` says dev cni0 or docker0; `ip route show match HOST` has another network too.",
    repair="another network for pods or containers; until then a route for that one host",
    owner="Whoever chose the cluster's podCIDR, or Docker's bip and default-address-pools.",
    source="calico#2720, calico#8344, calico#2252, docker/for-linux#418, docker/for-linux#599",
    verdicts=frozenset({Verdict.NEIGHBOUR_FAILED}),
    candidates=_candidates,
)
