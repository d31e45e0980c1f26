"""pod-default-route-missing: a pod has no default route, or a wrong one."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import route_text
from nettrace.diagnose.look import addresses_in, where
from nettrace.model.addr import family_of, in_prefix, network_of
from nettrace.model.change import Change, RouteAdd, RouteDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.routes import TABLE_MAIN, Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["POD_DEFAULT_ROUTE_MISSING"]

_DEFAULTS = ("0.0.0.0/0", "::/0")


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for netns in context.visited:
        if snapshot.namespaces[netns].role not in ("pod", "container"):
            continue
        for family, default in ((4, _DEFAULTS[0]), (6, _DEFAULTS[1])):
            sibling = _sibling(snapshot, netns, default, family)
            if sibling is None:
                continue
            own = [route for route in _main(snapshot, netns) if route.dst == default]
            if any(route.nexthops == sibling[1].nexthops for route in own):
                continue
            yield _candidate(context, netns, own, *sibling)


def _pods(context: Context) -> Iterator[SectionKey]:
    """Return what other pods of the nodes say: their addresses and routes."""
    spaces = context.snapshot.namespaces
    nodes = {spaces[netns].node for netns in context.visited if spaces[netns].role in ("pod", "container")}
    for name, netns in spaces.items():
        if netns.role in ("pod", "container") and netns.node in nodes:
            yield SectionKey(name, "addresses")
            yield SectionKey(name, "routes")


def _main(snapshot: Snapshot, netns: str) -> list[Route]:
    routes = snapshot.section(SectionKey(netns, "routes"))
    return [r for r in routes.value if r.table == TABLE_MAIN] if isinstance(routes, Known) else []


def _networks(snapshot: Snapshot, netns: str, family: int) -> set[str]:
    """Return the networks of a pod's addresses."""
    return {
        network_of(own.address, own.prefixlen)
        for own in addresses_in(snapshot, netns)
        if family_of(own.address) == family and own.device != "lo" and own.scope == "global"
    }


def _sibling(snapshot: Snapshot, netns: str, default: str, family: int) -> tuple[str, Route] | None:
    """Return another pod of the same network and its default route, whose gateway somebody has."""
    own = _networks(snapshot, netns, family)
    for name, other in sorted(snapshot.namespaces.items()):
        if name == netns or other.role not in ("pod", "container"):
            continue
        if not own & _networks(snapshot, name, family):
            continue
        for route in _main(snapshot, name):
            via = route.nexthops[0].via if len(route.nexthops) == 1 else None
            if route.dst == default and via and any(in_prefix(via, network) for network in own):
                return name, route
    return None


def _candidate(context: Context, netns: str, own: list[Route], sibling: str, route: Route) -> Candidate:
    place = where(context.snapshot, netns)
    gone: list[Change] = [RouteDelete(netns=netns, route=one) for one in own]
    has = f"sends by {route_text(own[0])}" if own else "has no default route"
    return Candidate(
        cause="pod-default-route-missing",
        netns=netns,
        where=place,
        subject=f"netns/{netns}",
        message=f"{place} {has}; {sibling} on the same bridge has {route_text(route)}",
        changes=(*gone, RouteAdd(netns=netns, route=route)),
        evidence=(
            Evidence(
                ref=f"{netns}/routes/{TABLE_MAIN}/{route.dst}",
                text=route_text(own[0]) if own else "no default route",
                note="what is there",
            ),
            Evidence(
                ref=f"{sibling}/routes/{TABLE_MAIN}/{route.dst}",
                text=route_text(route),
                note=f"what {sibling} has, on the same network",
            ),
        ),
        safety=Safety.GUARDED,
        owner="the CNI plugin, which wrote it once",
        overwritten="not for this pod",
        lasting="delete the pod: a new one gets its routes from the CNI plugin",
    )


POD_DEFAULT_ROUTE_MISSING = Cause(
    id="pod-default-route-missing",
    title="a pod has no default route, or a wrong one",
    what=(
        "The pod's default route is gone, or leads to a gateway that nobody is, while other pods on the "
        "same bridge have one."
    ),
    shows="The pod reaches its own subnet only: network unreachable, or no route to host after 3 s.",
    dies="In the pod: at its own routing decision, or at ARP for the gateway.",
    proof="`ip route` in the pod beside that of another pod of the node.",
    repair="ip route replace default via GATEWAY, in the pod",
    owner="The CNI plugin, which wrote it once when the pod was made.",
    source="measured in a lab; CNI configurations without isDefaultGateway",
    verdicts=frozenset(
        {Verdict.NO_ROUTE, Verdict.NEIGHBOUR_FAILED, Verdict.LEFT_SNAPSHOT, Verdict.OTHERHOST}
    ),
    candidates=_candidates,
    reads=_pods,
)
