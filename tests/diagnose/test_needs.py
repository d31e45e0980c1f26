"""Nothing is read before it is needed, and each section is asked for once."""

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from nettrace.diagnose import Diagnosis, diagnose
from nettrace.kube.resolve import resolve
from nettrace.model.flow import Flow
from nettrace.model.section import NOT_READ, Known, Section, SectionKey
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.walk import Needs, Walk
from nettrace.model.xt import XtRuleset, XtTable
from nettrace.walk.walker import walk
from tests.diagnose.asking import ALL_CAUSES, diagnosed, owed_of
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import World

_SECTIONS = ("links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls", "sockets", "conntrack")
_MORE = ("xt_nft", "xt_legacy", "ipsets", "nft")


def unread(world: World) -> Snapshot:
    """The world before anything of a namespace was read; the objects and files are."""

    def empty(netns: Netns) -> Netns:
        return replace(netns, **dict.fromkeys((*_SECTIONS, *_MORE), NOT_READ))

    namespaces = {name: empty(netns) for name, netns in world.snapshot.namespaces.items()}
    return replace(world.snapshot, namespaces=namespaces)


def read(whole: Snapshot, snapshot: Snapshot, key: SectionKey) -> Snapshot:
    """Read one section as a reader does: a rule set with its chains still to be read."""
    section = whole.section(key)
    if key.name in ("xt/nft", "xt/legacy") and isinstance(section, Known):
        tables: dict[str, Section[XtTable]] = {
            name: Known(XtTable(dict.fromkeys(table.value.chains, NOT_READ)))
            for name, table in section.value.tables.items()
        }
        section = Known(XtRuleset(tables))
    return snapshot.with_section(key, section)


class Reader:
    """A snapshot that grows as it is asked."""

    def __init__(self, world: World) -> None:
        self.whole = world.snapshot
        self.snapshot = unread(world)
        self.asked: list[SectionKey] = []

    def ask(self, question: Callable[[Snapshot], Any]) -> Any:
        """Put *question* until it needs nothing more; no section is asked for twice."""
        while isinstance(answer := question(self.snapshot), Needs):
            fresh = [key for key in answer.keys if key not in self.asked]
            assert fresh, f"asked again for {answer.keys}"
            self.asked += fresh
            for key in fresh:
                self.snapshot = read(self.whole, self.snapshot, key)
        return answer


def test_the_same_answer_from_a_snapshot_that_grows() -> None:
    """Reading on demand comes to the diagnosis of the whole snapshot, whatever the fault."""
    for name in (
        "service-jump-missing",
        "masquerade-missing, its jump",
        "ip-forward-off",
        "docker-dnat-missing",
    ):
        fault = FAULTS[name]
        whole = fault.world()
        broken = whole.edited(*fault.breaks(whole))
        source, target = fault.source(whole), fault.target(whole)
        reader = Reader(broken)
        flow: Flow = reader.ask(partial(resolve, source=source, target=target))
        walked: Walk = reader.ask(partial(walk, flow=flow))
        owed = owed_of(reader.snapshot)
        found: Diagnosis = reader.ask(partial(diagnose, walk=walked, owed=owed, causes=ALL_CAUSES))
        assert found.findings == diagnosed(broken, source, target).findings


def test_a_healthy_flow_reads_nothing_more() -> None:
    """A flow that meets its goal needs the sections of its walk, and who listens at its end."""
    fault = FAULTS["ip-forward-off"]
    reader = Reader(fault.world())
    flow = reader.ask(lambda s: resolve(s, "pod/client-near", "pod/hostnames-1"))
    walked = reader.ask(lambda s: walk(s, flow))
    before = list(reader.asked)
    found = reader.ask(lambda s: diagnose(s, walked, owed=owed_of(s), causes=ALL_CAUSES))
    assert found.met is True
    assert reader.asked == before


def test_the_goal_asks_who_listens() -> None:
    """A packet that dies on the way needs the sockets of the one it was for."""
    fault = FAULTS["ip-forward-off"]
    whole = fault.world()
    reader = Reader(whole.edited(*fault.breaks(whole)))
    flow = reader.ask(lambda s: resolve(s, "pod/client-near", "pod/hostnames-1"))
    walked = reader.ask(lambda s: walk(s, flow))
    answer = diagnose(reader.snapshot, walked, owed=(), causes=())
    assert answer == Needs((SectionKey("hostnames-1", "sockets"),))
