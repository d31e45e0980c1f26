"""
What a data path that is no rule set answers for: its Service table, and its maps in words.

Lives here: what plugins make of the bytes of maps.  Not here: the maps (bpf), what Kubernetes wants
(kube).
"""

from msgspec import Struct

__all__ = ["MapWords", "ServiceEntry", "ServiceTable", "TableBackend"]


class TableBackend(Struct, frozen=True, kw_only=True):
    """Who an entry leads to; ``state`` is ``active``, or the system's word for why it gets nothing new."""

    address: str
    port: int
    state: str = "active"


class ServiceEntry(Struct, frozen=True, kw_only=True):
    """
    One address and port that the data path answers for.

    ``proto`` is "" for all.  ``kind`` is the system's word (``ClusterIP``, ``NodePort``), ``notes`` what
    else it says (``external traffic to local backends only``).  ``source`` names the map.
    """

    address: str
    port: int
    proto: str
    kind: str
    backends: tuple[TableBackend, ...]
    notes: tuple[str, ...] = ()
    source: str = ""


class ServiceTable(Struct, frozen=True, kw_only=True):
    """The Service table of one system on one node; ``unknown`` says what could not be told, and why."""

    node: str
    system: str
    entries: tuple[ServiceEntry, ...] = ()
    unknown: tuple[str, ...] = ()


class MapWords(Struct, frozen=True, kw_only=True):
    """
    One map as people read it: a line for each entry.

    ``what`` says what the map is for; ``unknown`` why its bytes could not be told, "" if they were.
    """

    id: int
    name: str
    system: str
    what: str
    rows: tuple[str, ...] = ()
    unknown: str = ""
