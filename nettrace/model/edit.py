"""
Changes applied to the model: the snapshot as it would be.

Lives here: ``edit``; what it does is in edit_sysctls, edit_xt, edit_tables, edit_links,
edit_addresses, edit_ipvs and edit_ipsets.
Not here: the inverse (nettrace.model.undo), the kernel (nettrace.apply).
"""

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
from nettrace.model.edit_addresses import add_address, delete_address
from nettrace.model.edit_ipsets import edit_ipsets
from nettrace.model.edit_ipvs import edit_ipvs
from nettrace.model.edit_links import edit_link
from nettrace.model.edit_sysctls import set_sysctl
from nettrace.model.edit_tables import (
    add_fdb,
    add_neighbour,
    add_recent,
    add_route,
    delete_connection,
    delete_fdb,
    delete_neighbour,
    delete_recent,
    delete_route,
)
from nettrace.model.edit_xt import edit_xt
from nettrace.model.snapshot import Snapshot

__all__ = ["edit"]


def edit(snapshot: Snapshot, change: Change) -> Snapshot:
    """
    Return *snapshot* as it would be after *change*, with what the kernel does along the way.

    ValueError says which part of the state the change names is not there, differs from
    what the change expects, or was not read.  Sections that the change does not touch are
    the same objects as before.
    """
    match change:
        case SysctlSet():
            return set_sysctl(snapshot, change)
        case RuleInsert() | RuleDelete() | RuleReplace() | ChainSet() | ChainDelete() | PolicySet():
            return edit_xt(snapshot, change)
        case RouteAdd():
            return add_route(snapshot, change)
        case RouteDelete():
            return delete_route(snapshot, change)
        case LinkSet():
            return edit_link(snapshot, change)
        case AddressAdd():
            return add_address(snapshot, change)
        case AddressDelete():
            return delete_address(snapshot, change)
        case FdbAdd():
            return add_fdb(snapshot, change)
        case FdbDelete():
            return delete_fdb(snapshot, change)
        case NeighbourAdd():
            return add_neighbour(snapshot, change)
        case NeighbourDelete():
            return delete_neighbour(snapshot, change)
        case IpvsServiceAdd() | IpvsServiceDelete() | IpvsDestAdd() | IpvsDestDelete() | IpvsDestSet():
            return edit_ipvs(snapshot, change)
        case IpsetCreate() | IpsetDestroy() | IpsetEntryAdd() | IpsetEntryDelete():
            return edit_ipsets(snapshot, change)
        case ConntrackDelete():
            return delete_connection(snapshot, change)
        case RecentAdd():
            return add_recent(snapshot, change)
        case RecentDelete():
            return delete_recent(snapshot, change)
