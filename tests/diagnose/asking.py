"""
Asking: walk and diagnose a world, with what is owed there and all causes.

Lives here: what the tests do again and again.
"""

from typing import Any

from nettrace.app.plugins import load_plugins
from nettrace.diagnose import Diagnosis, Goal, diagnose
from nettrace.diagnose.cause import Cause, Context
from nettrace.diagnose.search import context_of
from nettrace.kube.iptables import owed_kube_proxy
from nettrace.kube.resolve import resolve
from nettrace.model.finding import Finding
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs, Walk
from nettrace.walk.walker import walk
from nettrace_plugins.docker import plugin as docker
from nettrace_plugins.flannel import plugin as flannel
from tests.diagnose.worlds import World

__all__ = [
    "ALL_CAUSES",
    "ALL_OWNERS",
    "ask",
    "candidates",
    "context",
    "diagnosed",
    "first",
    "owed_of",
    "walked",
]

ALL_CAUSES: tuple[Cause, ...] = tuple(load_plugins().causes())
ALL_OWNERS: tuple[Owner, ...] = load_plugins().owners()


def owed_of(snapshot: Snapshot) -> tuple[Owed, ...]:
    """What kube-proxy and the plugins owe every node of the snapshot."""
    found: list[Owed] = []
    members = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    for node in snapshot.nodes.values():
        if isinstance(snapshot.kube.services, Known) and any(m.name == node.name for m in members):
            found += owed_kube_proxy(snapshot.kube, node.name, node.netns)
        found += flannel.nettrace_owes(snapshot, node.name)
        found += docker.nettrace_owes(snapshot, node.name)
    return tuple(found)


def walked(world: World, source: str, target: str) -> Walk:
    """Walk from *source* to *target*."""
    flow = resolve(world.snapshot, source, target)
    assert not isinstance(flow, Needs), flow
    found = walk(world.snapshot, flow)
    assert not isinstance(found, Needs), found
    return found


def ask(world: World, source: str, target: str, **more: Any) -> Diagnosis | Needs:
    """Walk and diagnose, with what is owed and all causes."""
    more.setdefault("owed", owed_of(world.snapshot))
    more.setdefault("causes", ALL_CAUSES)
    more.setdefault("owners", ALL_OWNERS)
    return diagnose(world.snapshot, walked(world, source, target), **more)


def diagnosed(world: World, source: str, target: str, **more: Any) -> Diagnosis:
    """The diagnosis, which must need nothing more."""
    found = ask(world, source, target, **more)
    assert isinstance(found, Diagnosis), found
    return found


def first(found: Diagnosis) -> Finding:
    """The only finding."""
    (finding,) = found.findings
    return finding


def context(world: World, source: str, target: str, walk: Walk | None = None) -> Context:
    """What causes look at."""
    walk = walk or walked(world, source, target)
    return context_of(world.snapshot, walk, Goal(because="test"), owed_of(world.snapshot), ALL_OWNERS)


def candidates(id: str, given: Context) -> list[Any]:
    """The candidates of one cause."""
    cause = next(cause for cause in ALL_CAUSES if cause.id == id)
    return list(cause.candidates(given))
