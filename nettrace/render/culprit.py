"""
The step to look at: where in a walk the first repair would take hold.

A packet often dies far from the fault: a reply is refused by the client because the request
was not masqueraded two nodes before.  The step that ended the leg is marked by the walk; this
finds the other one.
Lives here: matching a change with the steps of a path.
"""

from collections.abc import Iterable, Sequence

from nettrace.model.addr import in_prefix
from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    FdbAdd,
    FdbDelete,
    IpsetCreate,
    IpsetDestroy,
    IpsetEntryAdd,
    IpsetEntryDelete,
    IpvsDestAdd,
    IpvsDestDelete,
    IpvsDestSet,
    IpvsServiceAdd,
    IpvsServiceDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    PolicySet,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.step import Stage
from nettrace.render.contract import FindingView
from nettrace.render.contract_walk import PathView, StepView

__all__ = ["culprit"]


def culprit(path: PathView, findings: Sequence[FindingView]) -> StepView | None:
    """
    Return the step of *path* that the first finding is about, or None if none can be told.

    First by what its repair would change, then by the state that its evidence points at.
    """
    if not findings:
        return None
    legs = (path.request, path.reply, *path.legs)
    steps = [step for leg in legs if leg is not None for step in leg.steps]
    for repair in findings[0].repairs:
        for change in repair.changes:
            found = _taking_hold(change, steps)
            if found is not None:
                return found
    refs = [piece.ref for piece in findings[0].evidence if piece.ref]
    for ref in refs:
        for step in steps:
            if step.why is not None and step.why.ref == ref:
                return step
    return None


def _taking_hold(change: Change, steps: Sequence[StepView]) -> StepView | None:
    """Return the first step that would be another with *change* made."""
    here = [step for step in steps if step.netns == change.netns]
    match change:
        case RuleInsert() | RuleDelete() | RuleReplace() | PolicySet() | ChainSet() | ChainDelete():
            return _rule(change, here)
        case SysctlSet():
            return _sysctl(change, here)
        case RouteAdd(route=route) | RouteDelete(route=route):
            return _first(
                step
                for step in here
                if step.stage is Stage.ROUTE
                and step.before is not None
                and in_prefix(step.before.dst, route.dst)
            )
        case LinkSet():
            there = [step for step in here if step.device == change.device]
            return _first(step for step in (*there, *here) if step.stage is Stage.BRIDGE) or _first(there)
        case AddressAdd(address=address) | AddressDelete(address=address):
            deciding = (Stage.ROUTE, Stage.NEIGHBOUR)
            return _first(s for s in here if s.stage in deciding and s.device in (None, address.device))
        case FdbAdd(entry=entry) | FdbDelete(entry=entry):
            deciding = (Stage.TUNNEL, Stage.BRIDGE)
            return _first(s for s in here if s.device == entry.device and s.stage in deciding)
        case NeighbourAdd(entry=neighbour) | NeighbourDelete(entry=neighbour):
            return _first(s for s in here if s.device == neighbour.device and s.stage is Stage.NEIGHBOUR)
        case IpvsServiceAdd() | IpvsServiceDelete() | IpvsDestAdd() | IpvsDestDelete() | IpvsDestSet():
            return _first(step for step in here if step.stage is Stage.IPVS)
        case IpsetCreate() | IpsetDestroy() | IpsetEntryAdd() | IpsetEntryDelete():
            return None
        case ConntrackDelete():
            return _first(step for step in here if step.stage is Stage.CONNTRACK)
        case RecentAdd() | RecentDelete():
            named = f"--name {change.name} "
            return _first(step for step in here if step.why is not None and named in step.why.text)


def _rule(
    change: RuleInsert | RuleDelete | RuleReplace | PolicySet | ChainSet | ChainDelete,
    steps: Sequence[StepView],
) -> StepView | None:
    """Return the first step of the chain that comes to the changed place or passes it."""
    inside = [step for step in steps if step.table == change.table and step.chain == change.chain]
    if isinstance(change, RuleDelete | RuleReplace):
        return _first(step for step in inside if step.rule == change.position)
    if isinstance(change, RuleInsert):
        passing = _first(step for step in inside if not step.rule or step.rule >= change.position)
        if passing is not None:
            return passing
        # A hook at which no rule of this table was met leaves no step of the chain.
        hook = change.chain.lower()
        return _first(step for step in steps if step.hook == hook)
    if isinstance(change, PolicySet):
        return _first(step for step in inside if not step.rule)
    return _first(inside) or _first(step for step in steps if step.verdict.split()[-1:] == [change.chain])


def _sysctl(change: SysctlSet, steps: Sequence[StepView]) -> StepView | None:
    """Return the step that reads the sysctl, else the first of the stage that it governs."""
    # net.ipv4.ip_forward is read as net.ipv4.conf.DEVICE.forwarding, .all. as .DEVICE.
    word = "forwarding" if change.name.endswith("ip_forward") else change.name.rpartition(".")[2]
    for ending in (f"/{change.name}", f".{word}"):
        reading = _first(s for s in steps if s.why is not None and s.why.ref.endswith(ending))
        if reading is not None:
            return reading
    if word == "forwarding":
        return _first(step for step in steps if step.stage is Stage.FORWARD)
    if word == "rp_filter":
        return _first(step for step in steps if step.stage is Stage.ROUTE)
    if "bridge-nf" in change.name:
        # what the bridge passes on without asking the hooks, rather than what it hands up
        bridging = [step for step in steps if step.stage is Stage.BRIDGE]
        return _first(step for step in reversed(bridging) if step.verdict != "up") or _first(bridging)
    return None


def _first(steps: Iterable[StepView]) -> StepView | None:
    return next(iter(steps), None)
