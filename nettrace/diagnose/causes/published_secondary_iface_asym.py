"""published-secondary-iface-asym: what comes in by one uplink is answered by another."""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.diagnose.cause import Candidate, Cause, Context, Failure
from nettrace.diagnose.difference import route_text
from nettrace.diagnose.look import addresses_in, subject_of, where
from nettrace.model.addr import canonical_prefix, family_of, in_prefix
from nettrace.model.change import RouteAdd
from nettrace.model.finding import Evidence, Safety
from nettrace.model.routes import TABLE_LOCAL, NextHop, PolicyRule, Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Stage, Step

__all__ = ["PUBLISHED_SECONDARY_IFACE_ASYM", "Crossed", "crossed"]


class Crossed(Struct, frozen=True, kw_only=True):
    """
    An answer that leaves a node by another device than the request came in by.

    ``address`` is the node's that ``client`` called, ``came`` and ``goes`` are the devices, ``arrival`` and
    ``routed`` the steps that show them.
    """

    netns: str
    client: str
    address: str
    came: str
    goes: str
    arrival: Step
    routed: Step


def crossed(snapshot: Snapshot, failure: Failure) -> Crossed | None:
    """Return how the lost answer of a translated request crosses over, None where it does not."""
    leg = failure.leg
    if leg is None or leg is failure.path.request:
        return None
    for arrival in failure.path.request.steps:
        packet = arrival.before
        if arrival.stage is not Stage.RECEIVE or packet is None or arrival.device is None:
            continue
        own = [one.device for one in addresses_in(snapshot, arrival.netns) if one.address == packet.dst]
        if arrival.device not in own or failure.path.endpoint is None:
            continue
        if failure.path.endpoint.netns == arrival.netns:
            return None  # its own socket answers from the address that was called: rules for that hold
        here = [s for s in leg.steps if s.netns == arrival.netns and s.before and s.before.dst == packet.src]
        routed = next((s for s in here if s.stage is Stage.ROUTE), None)
        out = next((s for s in here if s.stage in (Stage.NEIGHBOUR, Stage.TRANSMIT) and s.device), None)
        if routed is None or out is None or out.device is None or out.device == arrival.device:
            return None
        return Crossed(
            netns=arrival.netns,
            client=packet.src,
            address=packet.dst,
            came=arrival.device,
            goes=out.device,
            arrival=arrival,
            routed=routed,
        )
    return None


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        found = crossed(context.snapshot, failure)
        if found is not None and (found.netns, found.client) not in seen:
            seen.add((found.netns, found.client))
            yield _candidate(context.snapshot, found)


def _candidate(snapshot: Snapshot, found: Crossed) -> Candidate:
    """Route this client's answers by the device that it calls, as somebody's route by that device says."""
    place, rule = where(snapshot, found.netns), _rule(snapshot, found)
    back = _way_back(snapshot, found, rule)
    hop = NextHop(device=found.came, via=back.nexthops[0].via) if back is not None else None
    route = Route(dst=canonical_prefix(found.client), nexthops=(hop,)) if hop is not None else None
    table = rule.table if rule is not None and rule.table is not None else "TABLE"
    seen = [
        Evidence(
            ref=found.arrival.why.ref if found.arrival.why is not None else "",
            text=f"{found.client} called {found.address} by {found.came}",
            note="the request",
        ),
        Evidence(
            ref=found.routed.why.ref if found.routed.why is not None else "",
            text=found.routed.why.text if found.routed.why is not None else f"by {found.goes}",
            note=f"the answer, from {found.routed.before.src if found.routed.before else 'the pod'}",
        ),
    ]
    if rule is not None:
        seen.append(
            Evidence(
                ref=f"{found.netns}/rules",
                text=f"{rule.priority}: from {rule.src} lookup {rule.table}",
                note="not for this: the answer gets that address only after it was routed",
            )
        )
    if back is not None:
        ref = f"{found.netns}/routes/{back.table}/{back.dst}"
        seen.append(Evidence(ref=ref, text=route_text(back), note=f"the way by {found.came}"))
    return Candidate(
        cause="published-secondary-iface-asym",
        netns=found.netns,
        where=place,
        subject=subject_of(snapshot, found.netns),
        message=(
            f"{place} is called at {found.address} by {found.came}, and answers {found.client} by "
            f"{found.goes}, where nobody takes what comes from {found.address}"
        ),
        changes=(RouteAdd(netns=found.netns, route=route),) if route is not None else (),
        evidence=tuple(seen),
        safety=Safety.GUARDED if route is not None else Safety.ADVICE,
        owner="the node's network configuration",
        overwritten="not by Kubernetes; gone at the next boot",
        lasting=(
            f"for every client: mark what is new from {found.came} (iptables -t mangle -A PREROUTING -i "
            f"{found.came} -m conntrack --ctstate NEW -j CONNMARK --set-mark MARK), give answers from pods "
            "that mark (-A PREROUTING -i BRIDGE -j CONNMARK --restore-mark), and ip rule add fwmark MARK "
            f"lookup {table}"
        ),
        notes=("the route is for this client only",) if route is not None else (),
    )


def _rule(snapshot: Snapshot, found: Crossed) -> PolicyRule | None:
    """Return the rule that was to send answers from the address back where they came from."""
    section = snapshot.section(SectionKey(found.netns, "rules"))
    rules: tuple[PolicyRule, ...] = section.value if isinstance(section, Known) else ()
    for rule in rules:
        if rule.src is not None and rule.table is not None and in_prefix(found.address, rule.src):
            return rule
    return None


def _way_back(snapshot: Snapshot, found: Crossed, rule: PolicyRule | None) -> Route | None:
    """Return a route by the device that would lead to the client, the rule's table's before others."""
    section = snapshot.section(SectionKey(found.netns, "routes"))
    known = section.value if isinstance(section, Known) else ()
    fitting = [
        route
        for route in known
        if route.type == "unicast"
        and route.table != TABLE_LOCAL
        and [hop.device for hop in route.nexthops] == [found.came]
        and family_of(route.dst) == family_of(found.client)
        and in_prefix(found.client, route.dst)
    ]
    table = rule.table if rule is not None else None
    return min(fitting, key=lambda route: route.table != table, default=None)


PUBLISHED_SECONDARY_IFACE_ASYM = Cause(
    id="published-secondary-iface-asym",
    title="what is called by a second uplink is answered by the first",
    what=(
        "A node port or published port is called at the address of a second uplink.  The answer comes from a "
        "pod: it is routed with the pod's address, before that is translated back, so that a rule `from "
        "ADDRESS` never meets it, and it leaves by the main table's default route.  The network there does "
        "not take packets from that address, or has no way to the client."
    ),
    shows=(
        "The port answers at the node's first address and times out at its second; the node's own sockets "
        "answer at both."
    ),
    dies="Outside of the node, behind the uplink by which the answer leaves.",
    proof=(
        "`ip route get CLIENT from POD iif BRIDGE` names another device than the one that the client calls "
        "by; a capture shows the answer on the other uplink."
    ),
    repair=(
        "CONNMARK what is new from the second uplink, restore it for what pods answer, and ip rule add "
        "fwmark MARK lookup TABLE; for one client: ip route add CLIENT via GATEWAY dev UPLINK"
    ),
    owner="The node's network configuration.",
    source="moby#35251, lxd#1102",
    candidates=_candidates,
)
