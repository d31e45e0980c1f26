"""pod-route-missing: no route, or a wrong one, to another node's pods."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import route_text
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import subject_of, where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.addr import in_prefix, prefix_contains
from nettrace.model.change import RouteDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRoute
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["POD_ROUTE_MISSING", "REJECTING", "route_candidates", "route_cause"]

#: Types of routes that refuse (rtnetlink(7)).
REJECTING = ("blackhole", "unreachable", "prohibit")


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from route_candidates(context, "pod-route-missing")
    for item in context.owed:
        if isinstance(item, OwedRoute) and item.netns in context.visited:
            yield from _shadowed(context, item)


def route_cause(snapshot: Snapshot, owed: OwedRoute, *, absent: bool) -> tuple[str, str]:
    """Return the cause that an owed route which is not there belongs to, and its verb."""
    section = snapshot.section(SectionKey(owed.netns, "routes"))
    routes: tuple[Route, ...] = section.value if isinstance(section, Known) else ()
    same = [r for r in routes if (r.dst, r.table) == (owed.route.dst, owed.route.table)]
    if any(route.type in REJECTING for route in same):
        return "reject-route", "refuses what is for"
    if same and not absent:
        return "wrong-next-hop", "sends elsewhere what is for"
    return "pod-route-missing", "has no route to"


def route_candidates(context: Context, cause: str) -> Iterator[Candidate]:
    """Yield the candidates that put owed routes right, of one of these three causes."""
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedRoute) or not _is_asked(context, owed):
            continue
        if owed.subject.startswith("pod/"):
            continue  # the way to a pod of the node's own: its system's to name
        name, what = route_cause(context.snapshot, owed, absent=difference.restored.absent)
        if name == cause:
            place = where(context.snapshot, owed.netns)
            yield owed_candidate(
                context,
                cause,
                [difference],
                f"{place} {what} {difference.about or owed.route.dst}",
                safety=Safety.GUARDED,
                overwritten=f"{owed.owner} writes the same when it next starts",
                lasting=f"restart {owed.owner}; if it goes again, see who removes it with `ip monitor route`",
            )


def _shadowed(context: Context, owed: OwedRoute) -> Iterator[Candidate]:
    """
    Propose to take away what is preferred to an owed route that is there.

    Within the pod CIDR that the API gave to a node, routes are for its agent to make: another
    one of a longer prefix, or before it, is none of anybody's that is known.
    """
    section = context.snapshot.section(SectionKey(owed.netns, "routes"))
    routes: tuple[Route, ...] = section.value if isinstance(section, Known) else ()
    standing = next((r for r in routes if (r.dst, r.table) == (owed.route.dst, owed.route.table)), None)
    if standing is None:
        return
    wanted = [item.route.dst for item in context.owed if isinstance(item, OwedRoute)]
    asked = _asked(context, owed)
    found = [
        route
        for route in routes
        if route.table == owed.route.table
        and route.dst not in wanted
        and prefix_contains(owed.route.dst, route.dst)
        and any(in_prefix(address, route.dst) for address in asked)
    ]
    if not found:
        return
    place, about = where(context.snapshot, owed.netns), owed.about or owed.route.dst
    yield Candidate(
        cause="pod-route-missing",
        netns=owed.netns,
        where=place,
        subject=subject_of(context.snapshot, owed.netns),
        message=f"{place} sends elsewhere what is for {about}: {route_text(found[0])} is preferred",
        changes=tuple(RouteDelete(netns=owed.netns, route=route) for route in found),
        evidence=(
            *(
                Evidence(
                    ref=f"{owed.netns}/routes/{route.table}/{route.dst}",
                    text=route_text(route),
                    note=f"what is there, by protocol {route.protocol}",
                )
                for route in found
            ),
            Evidence(
                ref=f"{owed.netns}/routes/{standing.table}/{standing.dst}",
                text=route_text(standing),
                note=f"owed by {owed.owner}: {owed.source}; there, and a longer prefix goes before it",
            ),
        ),
        safety=Safety.GUARDED,
        owner="whoever added the route",
        overwritten="added again, if a program did it",
        lasting="see who adds it with `ip monitor route`: another network agent, or a script",
    )


def _is_asked(context: Context, owed: OwedRoute) -> bool:
    """Does a packet of the failing branches pass here with an address that the route is for?"""
    return bool(_asked(context, owed))


def _asked(context: Context, owed: OwedRoute) -> frozenset[str]:
    """Return the addresses that the route is for of packets that pass there in the failing branches."""
    packets = (step.after or step.before for step in context.steps if step.netns == owed.netns)
    ends = ((inner.src, inner.dst) for packet in packets if packet and (inner := innermost(packet)))
    return frozenset(a for pair in ends for a in pair if a and in_prefix(a, owed.route.dst))


POD_ROUTE_MISSING = Cause(
    id="pod-route-missing",
    title="no route to the pods of another node",
    what=(
        "The route to a peer's pod CIDR is not in the node's table, leads elsewhere, or another one "
        "is preferred to it. The CNI's agent puts it there when it learns of the peer."
    ),
    shows=(
        "Pods of that peer cannot be reached from this node: a timeout where the packets leave by "
        "the default gateway, ENETUNREACH where there is none."
    ),
    dies="Wherever the default gateway's way ends; without one, at the routing decision.",
    proof="`ip route get POD` answers with the default gateway instead of the overlay's device.",
    repair="ip route replace PEERCIDR via PEERVTEP dev DEVICE onlink, as the agent writes it",
    owner="The CNI's agent (flanneld, calico-node, kube-router).",
    source="flannel#823, flannel#1604, kube-router#425",
    candidates=_candidates,
)
