"""
What a check of the guided flow asks for.

Lives here: the requests, and typed ways to make them from inside a check.
Not here: who answers (nettrace.app.debug; tests with what they please).
"""

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

from nettrace.diagnose.diagnosis import Diagnosis
from nettrace.model.cni import CniPlugin
from nettrace.model.lookup import DnsAnswer, Lookup
from nettrace.model.observation import Observed
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs, Walk

__all__ = [
    "Ask",
    "Asking",
    "Connect",
    "Delegate",
    "Diagnose",
    "Query",
    "Request",
    "connected",
    "delegated",
    "diagnosed",
    "queried",
    "section",
    "state",
]

T = TypeVar("T")


class Ask(Struct, frozen=True):
    """A question to the state; it is put again once what it Needs was read."""

    question: Callable[[Snapshot], Any]


class Diagnose(Struct, frozen=True):
    """
    Walk the flow *source* to *target* and say why it fails: it should pass, whatever policies say.

    *sport*: from that port, None for any.
    """

    source: str
    target: str
    sport: int | None = None


class Query(Struct, frozen=True):
    """Ask a DNS server, for real; the answer is None where nothing can be sent."""

    lookup: Lookup


class Connect(Struct, frozen=True):
    """Make *count* real connections along a walk; the answer is None where none can be made."""

    walk: Walk
    count: int


class Delegate(Struct, frozen=True):
    """To which CNI plugin does *plugin* hand on, on a node?"""

    node: str
    plugin: CniPlugin


Request: TypeAlias = Ask | Diagnose | Query | Connect | Delegate

#: A check, or a part of one, that comes to a T.
Asking: TypeAlias = Generator[Request, Any, T]


def state() -> Asking[Snapshot]:
    """Return the state as far as it was read."""
    found: Snapshot = yield Ask(lambda snapshot: snapshot)
    return found


def section(key: SectionKey) -> Asking[Any]:
    """Return a section, read if nobody had: Known or Missing, but never NotRead."""

    def question(snapshot: Snapshot) -> Known[Any] | Missing | Needs:
        found: Known[Any] | Missing = snapshot.section(key)
        unread = isinstance(found, Missing) and found.kind is MissingKind.NOT_READ
        return Needs((key,)) if unread else found

    found: Known[Any] | Missing = yield Ask(question)
    return found


def diagnosed(source: str, target: str, sport: int | None = None) -> Asking[tuple[Walk, Diagnosis]]:
    """Return the walk of a flow and its diagnosis."""
    found: tuple[Walk, Diagnosis] = yield Diagnose(source, target, sport)
    return found


def delegated(node: str, plugin: CniPlugin) -> Asking[CniPlugin]:
    """Return the CNI plugin that *plugin* hands on to; itself if it does the work."""
    found: CniPlugin = yield Delegate(node, plugin)
    return found


def queried(lookup: Lookup) -> Asking[DnsAnswer | None]:
    """Return what a real DNS query brought, None where none can be made."""
    found: DnsAnswer | None = yield Query(lookup)
    return found


def connected(walk: Walk, count: int = 1) -> Asking[Observed | None]:
    """Return what real connections came to, None where none can be made."""
    found: Observed | None = yield Connect(walk, count)
    return found
