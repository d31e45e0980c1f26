"""
How a node departs from what kube-proxy owes it: the types.

Lives here: one departure with its meaning, and all of a node.  Not here: finding them (departures.py).
"""

from typing import Literal, TypeAlias

from msgspec import Struct

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


class DepartureReport(Struct, frozen=True, kw_only=True):
    """
    How a node departs from what it is owed.

    ``missing`` maps what could not be read to the reason; without it and without ``departures``
    the node is as it is owed.
    """

    label: str
    node: str
    netns: str
    mode: str
    version: str
    families: tuple[int, ...]
    departures: tuple[Departure, ...]
    missing: dict[str, str]
