"""
Driving the guided flow's checks without any I/O.

Lives here: answering what a check asks for from a snapshot and canned answers.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from nettrace.diagnose import Diagnosis, diagnose
from nettrace.diagnose.guide import CHECKS, Ask, Case, Connect, Diagnose, Query
from nettrace.kube.resolve import resolve
from nettrace.model.change import Change
from nettrace.model.guide import Check
from nettrace.model.kube import Service
from nettrace.model.lookup import DnsAnswer, Lookup
from nettrace.model.observation import Attempt, Observed
from nettrace.model.resolver import Resolver
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs, Outcome, Walk
from nettrace.walk.walker import walk
from tests.diagnose.asking import ALL_CAUSES, owed_of
from tests.diagnose.worlds import World, cluster

__all__ = [
    "DENIED",
    "RESOLVER",
    "SILENT",
    "Driver",
    "answers",
    "case",
    "check",
    "connects",
    "texts",
    "with_kube",
    "with_resolver",
    "with_section",
    "with_service",
]

DENIED = Missing(MissingKind.DENIED, "needs root")
SILENT = DnsAnswer(errno="timeout")
RESOLVER = Resolver(
    nameservers=("10.96.0.10",),
    search=("default.svc.cluster.local", "svc.cluster.local", "cluster.local"),
    ndots=5,
    path="/etc/resolv.conf",
)

Connecting = Callable[[Walk, int], Observed | None]
Querying = Callable[[Lookup], DnsAnswer | None]


class Driver:
    """Answers a check's requests, and keeps them."""

    def __init__(self, world: World, queries: Querying, connections: Connecting) -> None:
        self.snapshot: Snapshot = world.snapshot
        self.queries, self.connections = queries, connections
        self.asked: list[Any] = []
        self.needed: list[SectionKey] = []

    def run(self, id: str, given: Case) -> Check:
        """Drive one check to its end."""
        making = next(one for one in CHECKS if one.id == id).run(given)
        answer: Any = None
        while True:
            try:
                request = making.send(answer)
            except StopIteration as end:
                found: Check = end.value
                return found
            self.asked.append(request)
            answer = self._answer(request)

    def _answer(self, request: Any) -> Any:
        match request:
            case Ask(question=question):
                return self._put(question)
            case Diagnose(source=source, target=target, sport=sport):
                return self._diagnosed(source, target, sport)
            case Query(lookup=lookup):
                return self.queries(lookup)
            case Connect(walk=made, count=count):
                return self.connections(made, count)
        raise AssertionError(request)

    def _put(self, question: Callable[[Snapshot], Any]) -> Any:
        """Put a question; what it needs is refused to be read."""
        while isinstance(found := question(self.snapshot), Needs):
            for key in found.keys:
                assert key not in self.needed, f"{key} is asked for twice"
                self.needed.append(key)
                self.snapshot = self.snapshot.with_section(key, DENIED)
        return found

    def _diagnosed(self, source: str, target: str, sport: int | None) -> tuple[Walk, Diagnosis]:
        flow = self._put(lambda snapshot: resolve(snapshot, source, target, sport=sport))
        made = self._put(lambda snapshot: walk(snapshot, flow))
        owed = owed_of(self.snapshot)
        found = self._put(
            lambda snapshot: diagnose(snapshot, made, owed=owed, causes=ALL_CAUSES, connected=True)
        )
        return made, found


def check(
    id: str,
    world: World | None = None,
    given: Case | None = None,
    *,
    queries: Querying = lambda lookup: None,
    connections: Connecting = lambda made, count: None,
) -> Check:
    """One check of a world, nothing sent unless answers are given."""
    return Driver(world or cluster(), queries, connections).run(id, given or case())


def case(pod: str = "client-near", **more: Any) -> Case:
    """The Service hostnames of the cluster, called by a pod of it."""
    more.setdefault("client", f"pod/default/{pod}")
    more.setdefault("netns", pod)
    more.setdefault("client_pod", f"default/{pod}")
    more.setdefault("namespace", "default")
    more.setdefault("name", "hostnames")
    return Case(**more)


def answers(*given: DnsAnswer, **by_proto: DnsAnswer | None) -> Querying:
    """The same answer to every query, or one by protocol."""

    def query(lookup: Lookup) -> DnsAnswer | None:
        return given[0] if given else by_proto[lookup.proto]

    return query


def connects(*outcomes: Outcome) -> Connecting:
    """Real connections that end so, one after the other, over and over."""

    def connect(made: Walk, count: int) -> Observed:
        assert count > 0
        tries = [Attempt(outcome=outcomes[n % len(outcomes)], delay=0.0) for n in range(count)]
        return Observed(attempts=tuple(tries))

    return connect


def texts(found: Check) -> str:
    """All that is said, in one text."""
    seen = [f"{piece.text} {piece.note}" for piece in found.seen]
    return "\n".join((found.conclusion, *found.checked, *seen))


def with_kube(world: World, **sections: Any) -> World:
    """The world with other objects and the same rules."""
    kube = replace(world.snapshot.kube, **sections)
    return World(replace(world.snapshot, kube=kube), world.names)


def with_service(world: World | None = None, /, key: str = "default/hostnames", **fields: Any) -> World:
    """The world with one Service changed, its rules as they were."""
    world = world or cluster()
    services = world.snapshot.kube.services
    assert isinstance(services, Known)
    changed: list[Service] = [replace(s, **fields) if s.key == key else s for s in services.value]
    return with_kube(world, services=Known(tuple(changed)))


def with_section(world: World, netns: str, name: str, section: Any) -> World:
    """The world with one section as given."""
    return World(world.snapshot.with_section(SectionKey(netns, name), section), world.names)


def with_resolver(
    world: World | None = None, netns: str = "client-near", resolver: Resolver = RESOLVER, **fields: Any
) -> World:
    """The world in which a client has a resolv.conf."""
    return with_section(world or cluster(), netns, "resolver", Known(replace(resolver, **fields)))


def edited(*changes: Change) -> World:
    """The cluster after changes of a node's state."""
    return cluster().edited(*changes)
