"""
Changes: typed edits of node state, and how each is taken back.

A fault is a Change nobody wants; a repair is a Change somebody wants.
Lives here: the types.  Applying one to the model is nettrace.model.edit, its inverse
nettrace.model.undo, its shell command nettrace.render.command, the kernel nettrace.apply.
"""

from typing import TypeAlias

from msgspec import Struct

from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.routes import Route
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.xt import XtRule

__all__ = [
    "AddressAdd",
    "AddressDelete",
    "ChainDelete",
    "ChainSet",
    "Change",
    "ConntrackDelete",
    "Exact",
    "FdbAdd",
    "FdbDelete",
    "IpsetCreate",
    "IpsetDestroy",
    "IpsetEntryAdd",
    "IpsetEntryDelete",
    "IpvsDestAdd",
    "IpvsDestDelete",
    "IpvsDestSet",
    "IpvsServiceAdd",
    "IpvsServiceDelete",
    "LinkSet",
    "NeighbourAdd",
    "NeighbourDelete",
    "NoUndo",
    "PolicySet",
    "Rebuilds",
    "RecentAdd",
    "RecentDelete",
    "RouteAdd",
    "RouteDelete",
    "RuleDelete",
    "RuleInsert",
    "RuleReplace",
    "SysctlSet",
    "Undo",
]


class SysctlSet(Struct, frozen=True, kw_only=True, tag=True):
    """``sysctl -w NAME=VALUE``."""

    netns: str
    name: str
    value: str


class RuleInsert(Struct, frozen=True, kw_only=True, tag=True):
    """``iptables -t TABLE -I CHAIN POSITION ...``; the position counts from 1."""

    netns: str
    backend: str
    table: str
    chain: str
    position: int
    rule: XtRule


class RuleDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``iptables -t TABLE -D CHAIN POSITION``; *rule* is what must stand there."""

    netns: str
    backend: str
    table: str
    chain: str
    position: int
    rule: XtRule


class RuleReplace(Struct, frozen=True, kw_only=True, tag=True):
    """``iptables -t TABLE -R CHAIN POSITION ...``; *old* is what must stand there."""

    netns: str
    backend: str
    table: str
    chain: str
    position: int
    old: XtRule
    rule: XtRule


class ChainSet(Struct, frozen=True, kw_only=True, tag=True):
    """
    Give a user-defined chain exactly these rules, in one transaction; make it if it is not there.

    ``iptables-restore --noflush`` with a ``:CHAIN - [0:0]`` line.
    """

    netns: str
    backend: str
    table: str
    chain: str
    rules: tuple[XtRule, ...]


class ChainDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``iptables -X`` of a chain, with the rules it must hold emptied first."""

    netns: str
    backend: str
    table: str
    chain: str


class PolicySet(Struct, frozen=True, kw_only=True, tag=True):
    """``iptables -t TABLE -P CHAIN POLICY``."""

    netns: str
    backend: str
    table: str
    chain: str
    policy: str


class RouteAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``ip route add``; *replaces* is the route of the same key that it takes the place of."""

    netns: str
    route: Route
    replaces: Route | None = None


class RouteDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``ip route del``."""

    netns: str
    route: Route


class LinkSet(Struct, frozen=True, kw_only=True, tag=True):
    """
    One attribute of a device.

    ``attribute`` is ``up``, ``mtu``, ``promisc``, ``master``, ``address`` (``ip link set``), ``hairpin``,
    ``isolated``, ``learning``, ``flood``, ``state`` (``bridge link set``); ``value`` is ``on``,
    ``off``, a number as text, for ``master`` a bridge's name, "" for none, for ``address`` a MAC address.
    """

    netns: str
    device: str
    attribute: str
    value: str


class AddressAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``ip addr add``."""

    netns: str
    address: Address


class AddressDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``ip addr del``."""

    netns: str
    address: Address


class FdbAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``bridge fdb replace``/``append``."""

    netns: str
    entry: FdbEntry


class FdbDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``bridge fdb del``."""

    netns: str
    entry: FdbEntry


class NeighbourAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``ip neigh replace``."""

    netns: str
    entry: Neighbour


class NeighbourDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``ip neigh del``."""

    netns: str
    entry: Neighbour


class IpvsServiceAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``ipvsadm -A`` of a virtual server, and ``-a`` of each of its real servers (``ipvsadm -R``)."""

    netns: str
    server: VirtualServer


class IpvsServiceDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``ipvsadm -D``; *server* is what must be there."""

    netns: str
    server: VirtualServer


class IpvsDestAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``ipvsadm -a``; of *server* only what names it counts: address, port and protocol, or mark."""

    netns: str
    server: VirtualServer
    real: RealServer


class IpvsDestDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``ipvsadm -d``; *real* is what must be there, its counters aside."""

    netns: str
    server: VirtualServer
    real: RealServer


class IpvsDestSet(Struct, frozen=True, kw_only=True, tag=True):
    """``ipvsadm -e``: another weight, way of forwarding or threshold; *old* is what must be there."""

    netns: str
    server: VirtualServer
    old: RealServer
    real: RealServer


class IpsetCreate(Struct, frozen=True, kw_only=True, tag=True):
    """
    ``ipset create`` and an ``ipset add`` of each entry (``ipset restore``).

    ``options`` stand behind the type in ``ipset save``: the kernel's sizes, which the model does not keep.
    """

    netns: str
    set: IpSet
    options: str


class IpsetDestroy(Struct, frozen=True, kw_only=True, tag=True):
    """``ipset destroy``; *set* and *options* are what makes it again."""

    netns: str
    set: IpSet
    options: str


class IpsetEntryAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``ipset add``; *entry* as ``ipset save`` writes it."""

    netns: str
    name: str
    entry: str


class IpsetEntryDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``ipset del``."""

    netns: str
    name: str
    entry: str


class ConntrackDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``conntrack -D`` of one entry."""

    netns: str
    entry: ConntrackEntry


class RecentAdd(Struct, frozen=True, kw_only=True, tag=True):
    """``echo +ADDRESS > /proc/net/xt_recent/NAME``: seen now, with no TTL."""

    netns: str
    name: str
    address: str


class RecentDelete(Struct, frozen=True, kw_only=True, tag=True):
    """``echo -ADDRESS > /proc/net/xt_recent/NAME``: the list forgets one address."""

    netns: str
    name: str
    address: str


Change: TypeAlias = (
    SysctlSet
    | RuleInsert
    | RuleDelete
    | RuleReplace
    | ChainSet
    | ChainDelete
    | PolicySet
    | RouteAdd
    | RouteDelete
    | LinkSet
    | AddressAdd
    | AddressDelete
    | FdbAdd
    | FdbDelete
    | NeighbourAdd
    | NeighbourDelete
    | IpvsServiceAdd
    | IpvsServiceDelete
    | IpvsDestAdd
    | IpvsDestDelete
    | IpvsDestSet
    | IpsetCreate
    | IpsetDestroy
    | IpsetEntryAdd
    | IpsetEntryDelete
    | ConntrackDelete
    | RecentAdd
    | RecentDelete
)


class Exact(Struct, frozen=True, tag=True):
    """The changes that restore the state exactly, to be applied in this order."""

    changes: tuple[Change, ...]


class Rebuilds(Struct, frozen=True, tag=True):
    """Changes that bring the state back but for what *differs* says."""

    changes: tuple[Change, ...]
    differs: str


class NoUndo(Struct, frozen=True, tag=True):
    """Cannot be taken back; *reason* says why that may be well."""

    reason: str


Undo: TypeAlias = Exact | Rebuilds | NoUndo
