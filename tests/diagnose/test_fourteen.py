"""Each fault, in the forms in which people meet it, is found first and mended, and nothing else is said."""

import pytest
from msgspec.structs import replace

from nettrace.diagnose import diagnose
from nettrace.diagnose.search import apply
from nettrace.model.change import Change, RouteAdd, RuleInsert
from nettrace.model.finding import Finding, Safety
from nettrace.model.routes import NextHop, Route
from nettrace.model.walk import Outcome, Walk
from nettrace.parse.iptables import parse_rule
from nettrace.walk.walker import walk
from tests.diagnose.asking import ALL_CAUSES, diagnosed, owed_of, walked
from tests.diagnose.faults import FAULTS, Fault
from tests.diagnose.worlds import Names, World, cluster

#: Where another cause meets the goal as well, it comes after the first.
ALTERNATIVES = {"rp-filter-strict": {"wrong-next-hop"}}


def oddities(world: World) -> list[Change]:
    """An unused DROP rule, a stale route, an empty rule that counts: on each node."""
    found: list[Change] = []
    for node in world.snapshot.nodes.values():
        drop = parse_rule("-s 203.0.113.9/32 -j DROP")
        counts = parse_rule('-m comment --comment "left over"')
        route = Route(dst="198.51.100.0/24", nexthops=(NextHop(device="eth0"),))
        found += [
            RuleInsert(
                netns=node.netns, backend="nft", table="filter", chain="FORWARD", position=1, rule=drop
            ),
            RuleInsert(
                netns=node.netns, backend="nft", table="nat", chain="POSTROUTING", position=1, rule=counts
            ),
            RouteAdd(netns=node.netns, route=route),
        ]
    return found


def check(fault: Fault, finding: Finding, broken: World, walked_: Walk) -> None:
    """The finding is complete, and its first repair mends the flow."""
    assert finding.cause == fault.cause
    assert fault.repaired(broken) in finding.where.split(", ")
    assert finding.message
    assert finding.subject
    assert 2 <= len(finding.evidence) <= 5
    assert all(piece.text and piece.note for piece in finding.evidence)
    assert any(piece.ref for piece in finding.evidence)
    repair = finding.repairs[0]
    assert repair.changes
    assert all((repair.owner, repair.overwritten, repair.lasting))
    assert repair.safety is not Safety.ADVICE
    assert {change.netns for change in repair.changes} == {fault.repaired(broken)}
    snapshot = apply(broken.snapshot, repair.changes)
    assert snapshot is not None
    after = walk(snapshot, walked_.flow)
    assert isinstance(after, Walk)
    assert after.outcome is Outcome.CONNECTED
    count = len(after.paths)
    assert repair.effect == f"with it: connected in {count} of {count} (walked)"


@pytest.mark.parametrize("name", FAULTS)
def test_the_cause_is_the_first_finding(name: str) -> None:
    """The fault's cause comes first, alone but for named alternatives, with a repair that connects."""
    fault = FAULTS[name]
    whole = fault.world()
    broken = whole.edited(*fault.breaks(whole))
    source, target = fault.source(whole), fault.target(whole)
    assert walked(whole, source, target).outcome is Outcome.CONNECTED
    assert walked(broken, source, target).outcome is not Outcome.CONNECTED
    found = diagnosed(broken, source, target)
    assert found.met is False
    check(fault, found.findings[0], broken, walked(broken, source, target))
    assert {f.cause for f in found.findings[1:]} <= ALTERNATIVES.get(fault.cause, set())
    assert found.findings[0].notes[-1].endswith("owed flows gets worse (walked)")


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", [1])
def test_oddities_and_other_names_change_nothing(name: str, seed: int) -> None:
    """With unused rules and routes about, and other names and addresses, the answer is the same."""
    fault = FAULTS[name]
    whole = cluster(Names(seed)) if fault.world is cluster else fault.world()
    whole = whole.edited(*oddities(whole))
    source, target = fault.source(whole), fault.target(whole)
    assert diagnosed(whole, source, target).met is True
    broken = whole.edited(*fault.breaks(whole))
    found = diagnosed(broken, source, target)
    check(fault, found.findings[0], broken, walked(broken, source, target))
    assert {f.cause for f in found.findings[1:]} <= ALTERNATIVES.get(fault.cause, set())


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.without_objects])
def test_the_kernels_state_alone_is_enough(name: str) -> None:
    """Without Kubernetes objects and owners' files the same cause is the first finding."""
    fault = FAULTS[name]
    whole = fault.world()
    broken = whole.edited(*fault.breaks(whole))
    flow = walked(broken, fault.source(whole), fault.target(whole)).flow
    bare = broken.without_objects()
    found_walk = walk(bare.snapshot, flow)
    assert isinstance(found_walk, Walk)
    found = diagnose(bare.snapshot, found_walk, owed=owed_of(bare.snapshot), causes=ALL_CAUSES)
    assert found == diagnose(bare.snapshot, found_walk, owed=(), causes=ALL_CAUSES)
    assert not isinstance(found, tuple)
    check(fault, found.findings[0], bare, found_walk)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name in FAULTS if "," in name or name.endswith("missing")])
def test_iptables_legacy_is_mended_where_it_is(name: str) -> None:
    """Where the rules are iptables-legacy's, changes of rules are made there."""
    fault = FAULTS[name]
    whole = fault.world()
    broken = whole.edited(*fault.breaks(whole))
    source, target = fault.source(whole), fault.target(whole)
    snapshot = broken.snapshot
    for node in snapshot.nodes.values():
        netns = snapshot.namespaces[node.netns]
        swapped = replace(netns, xt_nft=netns.xt_legacy, xt_legacy=netns.xt_nft)
        snapshot = snapshot.with_netns(swapped)
    legacy = World(snapshot, broken.names)
    found = diagnosed(legacy, source, target)
    check(fault, found.findings[0], legacy, walked(legacy, source, target))
    assert {getattr(c, "backend", "legacy") for c in found.findings[0].repairs[0].changes} == {"legacy"}
