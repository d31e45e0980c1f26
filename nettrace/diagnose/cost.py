"""
What a candidate costs: who has to agree, how far it reaches, how much it changes.

Lives here: the order in which candidates are tried, and equal ones told apart.
"""

from nettrace.diagnose.cause import Candidate
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
from nettrace.model.finding import Safety
from nettrace.model.xt import BUILTIN_CHAINS

__all__ = ["Cost", "cost", "reach"]

#: (safety class, reach, number of changes, id)
Cost = tuple[int, int, int, str]

_CLASSES = (Safety.AUTO, Safety.GUARDED, Safety.KICK, Safety.ADVICE)


def cost(candidate: Candidate) -> Cost:
    """Return what *candidate* costs; a smaller one is tried first and preferred."""
    far = max((reach(change) for change in candidate.changes), default=0)
    return _CLASSES.index(candidate.safety), far, len(candidate.changes), candidate.id


def reach(change: Change) -> int:
    """Return how much traffic a change touches: 1 one peer or port, 5 all of a namespace."""
    match change:
        case FdbAdd() | FdbDelete() | NeighbourAdd() | NeighbourDelete() | ConntrackDelete():
            return 1
        case RecentAdd() | RecentDelete():
            return 1
        case IpvsDestAdd() | IpvsDestDelete() | IpvsDestSet():
            return 1
        case IpvsServiceAdd() | IpvsServiceDelete():
            return 2
        case IpsetEntryAdd() | IpsetEntryDelete():
            return 1
        case IpsetCreate() | IpsetDestroy():
            return 2
        case LinkSet():
            return 1
        case AddressAdd() | AddressDelete():
            return 2
        case SysctlSet():
            return 2 if ".conf." in change.name and ".conf.all." not in change.name else 5
        case RouteAdd() | RouteDelete():
            return 3
        case ChainSet() | ChainDelete():
            return 3
        case RuleInsert() | RuleReplace() | RuleDelete():
            return 4 if change.chain in BUILTIN_CHAINS.get(change.table, ()) else 2
        case PolicySet():
            return 5
