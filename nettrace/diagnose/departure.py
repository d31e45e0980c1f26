"""
How a node departs from what it is owed: the types.

Lives here: one departure with its meaning, and all of a node.
Not here: finding them (departures.py and its like for kube-proxy, owed_departures.py for plugins).
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from nettrace.model.change import Change
from nettrace.model.system import Claim

__all__ = ["Departure", "DepartureKind", "DepartureReport", "Share"]

DepartureKind: TypeAlias = Literal[
    "flushed",
    "not-linked",
    "rule-missing",
    "service-missing",
    "masquerade-missing",
    "masquerade-differs",
    "endpoint-stale",
    "endpoint-missing",
    "wrong-probability",
    "wrong-destination",
    "affinity",
    "rule-extra",
    "rule-order",
    "sysctl",
    "address-missing",
    "set-missing",
    "weight-zero",
    "missing",
    "differs",
]


class Share(Struct, frozen=True, kw_only=True):
    """
    What part of the connections that reach a chain one endpoint gets.

    ``endpoint`` is ``10.244.1.5:9376``, or the chain's name where its address is not known;
    ``owed`` and ``found`` from 0 to 1.
    """

    endpoint: str
    owed: float
    found: float


class Departure(Struct, frozen=True, kw_only=True):
    """
    One thing that is not as it is owed.

    ``cause`` is an id of the catalogue.  ``subject`` is the object that it concerns
    (``svc/default/hostnames``), "" for the frame around all Services.  ``owed`` and ``found``
    are rules as ``iptables -S`` prints them, "" where there is none.  ``position`` is the
    number of the rule in its chain, as found, or None.  ``shares`` where endpoints do not get
    what they should, ``unmatched`` the part of connections that goes to none of them.
    """

    kind: DepartureKind
    cause: str
    family: int
    table: str
    chain: str
    meaning: str
    subject: str = ""
    owed: str = ""
    found: str = ""
    position: int | None = None
    shares: tuple[Share, ...] = ()
    unmatched: float = 0.0
    owner: str = "kube-proxy"
    source: str = ""
    netns: str = ""
    changes: tuple[Change, ...] = ()


class DepartureReport(Struct, frozen=True, kw_only=True):
    """
    How a node departs from what it is owed.

    ``missing`` maps what could not be read to the reason; without it and without ``departures``
    the node is as it is owed.  ``mode`` is "" where kube-proxy was not compared.  ``systems`` are the
    others.
    """

    label: str
    node: str
    netns: str
    mode: str
    version: str
    families: tuple[int, ...]
    departures: tuple[Departure, ...]
    missing: dict[str, str]
    systems: tuple[Claim, ...] = ()
