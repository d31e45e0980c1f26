"""
Owed state: what an owner (kube-proxy, flanneld, dockerd, kubelet) has to have put on a node.

Lives here: one type per kind of state, each with its owner and the source that says so.
Not here: who owes what (nettrace.kube, plugins), what differs (nettrace.diagnose).
"""

from typing import TypeAlias

from msgspec import Struct

from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import VirtualServer
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.routes import Route
from nettrace.model.xt import XtRule

__all__ = [
    "Owed",
    "OwedAddress",
    "OwedChain",
    "OwedFdb",
    "OwedIpset",
    "OwedJump",
    "OwedLink",
    "OwedNeighbour",
    "OwedRoute",
    "OwedRule",
    "OwedSysctl",
    "OwedVirtualServer",
    "RuleNote",
]


class RuleNote(Struct, frozen=True, kw_only=True):
    """Whose one rule is, in a chain that holds the rules of many; the words of ``_Owed``."""

    source: str
    about: str = ""
    subject: str = ""


class _Owed(Struct, frozen=True, kw_only=True):
    """
    Common to all: where, by whom, and which object of the snapshot says so.

    ``about`` names the thing in words (``endpoint default/hostnames-0``); ``subject`` is the
    object it serves (``svc/default/hostnames``), so that causes can tell one Service's rules
    from the frame around all of them.
    """

    netns: str
    owner: str
    source: str
    about: str = ""
    subject: str = ""


class OwedChain(_Owed, frozen=True, kw_only=True, tag=True):
    """
    A user-defined chain with exactly these rules.

    ``ordered`` False: a dispatch chain whose order means nothing (KUBE-SERVICES), compared
    as a set but for rules in ``last``, which come after all others.  ``rules`` holds those
    too, at its end.  ``notes`` has one entry for each of ``rules`` where they serve different
    objects, and is empty where all are what the chain is.
    """

    table: str
    chain: str
    rules: tuple[XtRule, ...]
    ordered: bool = True
    last: tuple[XtRule, ...] = ()
    notes: tuple[RuleNote, ...] = ()


class OwedJump(_Owed, frozen=True, kw_only=True, tag=True):
    """A rule of a built-in chain, among rules of others; ``first`` if it has to come before them."""

    table: str
    chain: str
    rule: XtRule
    first: bool = False


class OwedRule(_Owed, frozen=True, kw_only=True, tag=True):
    """One rule of a chain that others write to as well."""

    table: str
    chain: str
    rule: XtRule


class OwedRoute(_Owed, frozen=True, kw_only=True, tag=True):
    """A route."""

    route: Route


class OwedNeighbour(_Owed, frozen=True, kw_only=True, tag=True):
    """A permanent neighbour entry."""

    entry: Neighbour


class OwedFdb(_Owed, frozen=True, kw_only=True, tag=True):
    """A forwarding-database entry."""

    entry: FdbEntry


class OwedSysctl(_Owed, frozen=True, kw_only=True, tag=True):
    """A sysctl; any of ``values`` will do, the first is what would be set."""

    name: str
    values: tuple[str, ...]


class OwedAddress(_Owed, frozen=True, kw_only=True, tag=True):
    """An address of a device."""

    address: Address


class OwedVirtualServer(_Owed, frozen=True, kw_only=True, tag=True):
    """
    A virtual server of IPVS with its real servers.

    ``closed``: who makes it also takes away real servers that it does not name.
    """

    server: VirtualServer
    closed: bool = True


class OwedIpset(_Owed, frozen=True, kw_only=True, tag=True):
    """
    An ipset with its entries; ``options`` stand behind the type where it is made.

    ``notes`` has one for each of the members where they serve different objects, and is empty where all
    are what the set is.  ``closed``: who makes it also takes away entries that it does not name.
    """

    set: IpSet
    options: str
    notes: tuple[RuleNote, ...] = ()
    closed: bool = True


class OwedLink(_Owed, frozen=True, kw_only=True, tag=True):
    """An attribute of a device, as in LinkSet."""

    device: str
    attribute: str
    value: str


Owed: TypeAlias = (
    OwedChain
    | OwedJump
    | OwedRule
    | OwedRoute
    | OwedNeighbour
    | OwedFdb
    | OwedSysctl
    | OwedLink
    | OwedAddress
    | OwedVirtualServer
    | OwedIpset
)
