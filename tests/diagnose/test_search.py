"""The search: sets in order of cost, extended only where they get further, none larger than it has to be."""

from collections.abc import Callable, Iterable

import pytest
from msgspec.structs import replace

from nettrace.diagnose import Diagnosis, Goal, Limits
from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.cost import cost, reach
from nettrace.diagnose.progress import Progress, progress
from nettrace.diagnose.search import apply
from nettrace.model.change import (
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    FdbAdd,
    LinkSet,
    PolicySet,
    RouteDelete,
    RuleInsert,
    SysctlSet,
)
from nettrace.model.finding import Evidence, Safety
from nettrace.model.flow import Flow
from nettrace.model.links import FdbEntry
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Walk
from nettrace.parse.iptables import parse_rule
from nettrace.walk.walker import walk
from tests.diagnose.asking import ALL_CAUSES, ask, diagnosed, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import World, cluster

CLIENT, OTHER = "pod/client-near", "pod/hostnames-1"


def forward(netns: str, value: str = "0") -> Change:
    """The forwarding switch of a namespace."""
    return SysctlSet(netns=netns, name="net.ipv4.ip_forward", value=value)


def names(found: Diagnosis) -> list[tuple[str, str]]:
    """(cause, where) of each finding."""
    return [(finding.cause, finding.where) for finding in found.findings]


def broken(*faults: str) -> World:
    """A cluster with several faults at once."""
    world = cluster()
    return world.edited(*(change for fault in faults for change in FAULTS[fault].breaks(world)))


def test_two_defects_of_one_cause_are_one_finding() -> None:
    """Forwarding off on both nodes: one finding that names both, one repair with both changes."""
    found = diagnosed(cluster().edited(forward("node-a"), forward("node-b")), CLIENT, OTHER)
    assert names(found) == [("ip-forward-off", "node-a, node-b")]
    assert found.findings[0].repairs[0].changes == (forward("node-a", "1"), forward("node-b", "1"))


@pytest.mark.parametrize(
    ("faults", "source", "target"),
    [
        (("ip-forward-off", "flannel-fdb-missing"), CLIENT, OTHER),
        (("service-jump-missing", "service-rules-absent"), CLIENT, "svc/hostnames"),
        (("stale-endpoint-rule", "hairpin-off"), "pod/hostnames-0", "svc/hostnames"),
        (("forward-policy-drop", "ip-forward-off", "flannel-fdb-missing"), CLIENT, OTHER),
        (("pod-route-missing", "service-jump-missing", "bridge-nf-off"), CLIENT, "svc/hostnames"),
    ],
)
def test_several_defects_are_all_named(faults: tuple[str, ...], source: str, target: str) -> None:
    """Each defect of a set has its finding, all with the one repair that takes all of them."""
    found = diagnosed(broken(*faults), source, target)
    assert {cause for cause, _ in names(found)} == set(faults)
    assert len({finding.repairs for finding in found.findings}) == 1
    assert all("needed together with" in finding.notes[0] for finding in found.findings)


def test_the_same_question_has_the_same_answer() -> None:
    """Owed items and causes in another order change nothing."""
    world = broken("ip-forward-off", "flannel-fdb-missing")
    assert diagnosed(world, CLIENT, OTHER) == diagnosed(world, CLIENT, OTHER, causes=ALL_CAUSES[::-1])


def test_the_budget_is_counted_in_walks() -> None:
    """A search that runs out says how many walks it made, and finds nothing it did not prove."""
    world = broken("ip-forward-off", "flannel-fdb-missing")
    found = diagnosed(world, CLIENT, OTHER, limits=Limits(walks=1))
    assert found.findings == ()
    assert found.walks == 1
    assert found.notes[-1] == "no repair was found within 1 walks"


def test_the_size_is_limited() -> None:
    """Two defects are not found in sets of one."""
    world = broken("ip-forward-off", "flannel-fdb-missing")
    assert diagnosed(world, CLIENT, OTHER, limits=Limits(size=1)).findings == ()


def test_without_a_fitting_cause_the_place_is_still_named() -> None:
    """Where nothing fits, the notes say where the flow fails and that nothing was found."""
    found = diagnosed(cluster().edited(forward("node-a")), CLIENT, OTHER, causes=())
    assert found.findings == ()
    assert found.met is False
    assert found.notes[0].startswith("the request ends on node-a, cni0: NOT_FORWARDED: ")
    assert found.notes[1].startswith("no known cause fits")


# --- made-up causes --------------------------------------------------------------------


def cause(
    id: str,
    candidates: Callable[[Context], Iterable[Candidate]],
    verdicts: frozenset[Verdict] = frozenset(),
) -> Cause:
    """A cause with these candidates."""
    words = dict.fromkeys(("title", "what", "shows", "dies", "proof", "repair", "owner", "source"), "words")
    return Cause(id=id, candidates=candidates, verdicts=verdicts, **words)  # type: ignore[arg-type]


def candidate(id: str, *changes: Change, safety: Safety = Safety.AUTO, pieces: int = 1) -> Candidate:
    """A candidate of a made-up cause."""
    return Candidate(
        cause=id,
        netns="node-a",
        where="node-a",
        subject=id,
        message=id,
        changes=changes,
        evidence=tuple(Evidence(ref="", text=f"{id} {n}") for n in range(pieces)),
        safety=safety,
    )


def always(made: Candidate) -> Cause:
    """A cause that always offers *made*."""
    return cause(made.cause, lambda context: [made])


ON = forward("node-a", "1")
NOISE = SysctlSet(netns="node-a", name="net.ipv4.conf.all.rp_filter", value="2")


def test_no_set_is_larger_than_it_has_to_be() -> None:
    """A change that is not needed is in no repair, wherever it stands in the order."""
    causes = [always(candidate("a-noise", NOISE)), always(candidate("b-switch", ON))]
    found = diagnosed(cluster().edited(forward("node-a")), CLIENT, OTHER, causes=causes)
    assert [finding.cause for finding in found.findings] == ["b-switch"]
    assert found.findings[0].repairs[0].changes == (ON,)


def test_a_part_that_is_enough_is_the_repair() -> None:
    """What only shows itself after another change, and is enough without it, is offered alone."""
    both = cluster().edited(forward("node-a"), forward("node-b"))
    enough = candidate("enough", forward("node-b", "1"), ON)

    def later(context: Context) -> Iterable[Candidate]:
        sysctls = context.snapshot.namespaces["node-a"].sysctls
        if isinstance(sysctls, Known) and sysctls.value["net.ipv4.ip_forward"] == "1":
            yield enough

    causes = [always(candidate("first", ON)), cause("enough", later)]
    found = diagnosed(both, CLIENT, OTHER, causes=causes)
    assert [finding.cause for finding in found.findings] == ["enough"]
    assert found.findings[0].repairs[0].changes == enough.changes


def test_changes_that_do_not_apply_are_left_out() -> None:
    """A candidate whose state is not there costs no walk and breaks nothing."""
    gone = RouteDelete(netns="node-a", route=Route(dst="192.0.2.0/24"))
    causes = [always(candidate("a-gone", gone)), always(candidate("b-switch", ON))]
    found = diagnosed(cluster().edited(forward("node-a")), CLIENT, OTHER, causes=causes)
    assert [finding.cause for finding in found.findings] == ["b-switch"]
    assert found.walks == 1
    assert apply(cluster().snapshot, [gone]) is None


def test_causes_with_the_same_changes_are_alternatives() -> None:
    """What nothing tells apart is one finding, the other causes named in it."""
    causes = [always(candidate("one", ON)), always(candidate("two", ON)), always(candidate("two", ON))]
    causes.append(always(candidate("owed-state-missing", ON)))
    found = diagnosed(cluster().edited(forward("node-a")), CLIENT, OTHER, causes=causes)
    (finding,) = found.findings
    assert (finding.cause, finding.alternatives) == ("one", ("two",))


def test_one_cause_with_two_ways_is_one_finding() -> None:
    """Two sufficient sets of one cause about one subject are repairs of one finding."""
    other = SysctlSet(netns="node-a", name="net.ipv4.conf.all.forwarding", value="1")
    ways = [candidate("switch", ON), candidate("switch", other, NOISE)]
    found = diagnosed(
        cluster().edited(forward("node-a")), CLIENT, OTHER, causes=[cause("switch", lambda context: ways)]
    )
    (finding,) = found.findings
    assert {repair.id for repair in finding.repairs} == {"switch", "switch-2"}


def test_the_failing_steps_own_cause_comes_first() -> None:
    """The cause registered for the failing step is first, then what an owner asks for, then evidence."""
    other = SysctlSet(netns="node-a", name="net.ipv4.conf.all.forwarding", value="1")
    at_step = cause(
        "z-at-step", lambda context: [candidate("z-at-step", ON)], frozenset({Verdict.NOT_FORWARDED})
    )
    elsewhere = always(candidate("a-elsewhere", other))
    elsewhen = cause("never", lambda context: [candidate("never", ON)], frozenset({Verdict.MARTIAN}))
    world = cluster().edited(forward("node-a"))
    found = diagnosed(world, CLIENT, OTHER, causes=[elsewhere, at_step, elsewhen])
    assert [finding.cause for finding in found.findings] == ["z-at-step", "a-elsewhere"]
    proven = always(candidate("z-proven", ON, pieces=3))
    found = diagnosed(world, CLIENT, OTHER, causes=[elsewhere, proven])
    assert [finding.cause for finding in found.findings] == ["z-proven", "a-elsewhere"]
    asked = always(replace(candidate("z-owed", ON), from_owner=True))
    found = diagnosed(world, CLIENT, OTHER, causes=[elsewhere, asked])
    assert [finding.cause for finding in found.findings] == ["z-owed", "a-elsewhere"]


def test_advice_is_proven_and_changes_nothing() -> None:
    """A cause that only a person may mend has a finding with the lasting fix and no changes."""
    advice = replace(candidate("policy", ON, safety=Safety.ADVICE), lasting="ask the owner")
    found = diagnosed(cluster().edited(forward("node-a")), CLIENT, OTHER, causes=[always(advice)])
    (repair,) = found.findings[0].repairs
    assert (repair.changes, repair.safety, repair.lasting) == ((), Safety.ADVICE, "ask the owner")
    assert repair.effect == "without what is said here: connected in 1 of 1 (walked)"


def test_what_proves_nothing_explains() -> None:
    """A candidate without changes is a finding only where nothing was found that mends it."""
    says = replace(candidate("says", safety=Safety.ADVICE), lasting="look at it")
    world = cluster().edited(forward("node-a"))
    found = diagnosed(world, CLIENT, OTHER, causes=[always(says)])
    (finding,) = found.findings
    assert (finding.cause, finding.repairs[0].changes, finding.repairs[0].lasting) == (
        "says",
        (),
        "look at it",
    )
    mended = diagnosed(world, CLIENT, OTHER, causes=[always(says), always(candidate("switch", ON))])
    assert [finding.cause for finding in mended.findings] == ["switch"]


def test_a_goal_that_the_user_states() -> None:
    """With a goal of the user's, what meets it is no problem, and what does not is looked into."""
    refused = Goal(because="stated", endpoints=frozenset({("10.244.2.11", 1)}))
    found = diagnosed(cluster(), CLIENT, OTHER, goal=refused)
    assert found.met is False
    assert found.goal == "connected to 10.244.2.11:1 (stated)"
    assert found.notes[0].startswith("it ends as connected at 10.244.2.11:9376 in hostnames-1, which sees")


def test_a_part_that_does_not_apply_alone_is_no_smaller_set() -> None:
    """What needs the first change to exist cannot be enough without it."""
    both = cluster().edited(forward("node-a"), forward("node-b"))
    place = {"netns": "node-a", "backend": "nft", "table": "filter"}
    makes = candidate("makes", ON, ChainSet(**place, chain="NEW", rules=()))
    rule = RuleInsert(**place, chain="NEW", position=1, rule=parse_rule("-j RETURN"))

    def later(context: Context) -> Iterable[Candidate]:
        if context.snapshot.chain("node-a", "nft", "filter", "NEW") is not None:
            yield candidate("fills", forward("node-b", "1"), rule)
            yield candidate("says", safety=Safety.ADVICE)

    found = diagnosed(both, CLIENT, OTHER, causes=[always(makes), cause("fills", later)])
    assert [finding.cause for finding in found.findings] == ["makes", "fills"]


def test_what_a_smaller_set_needs_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that only the walk of a part needs is needed by the whole answer."""
    from nettrace.diagnose import search

    calls = [0]
    needs = Needs((SectionKey("node-b", "conntrack"),))

    def counted(snapshot: Snapshot, flow: Flow) -> Walk | Needs:
        calls[0] += 1
        return needs if calls[0] == 5 else walk(snapshot, flow)

    monkeypatch.setattr(search, "walk", counted)
    world = cluster().edited(forward("node-a"), forward("node-b"))

    def later(context: Context) -> Iterable[Candidate]:
        if context.snapshot.namespaces["node-a"].sysctls.value["net.ipv4.ip_forward"] == "1":  # type: ignore[union-attr]
            yield candidate("second", forward("node-b", "1"))

    noise = always(candidate("noise", NOISE))
    answer = ask(world, CLIENT, OTHER, causes=[always(candidate("first", ON)), cause("second", later), noise])
    assert answer == needs


def test_a_flow_that_is_owed_nothing_is_explained() -> None:
    """Where a refusal is right the place is named, and nothing is searched for."""
    found = diagnosed(cluster(), CLIENT, "svc/empty")
    assert (found.met, found.findings, found.walks) == (None, (), 0)
    assert "REJECTED" in found.notes[0]


# --- cost and progress -----------------------------------------------------------------


def test_cost_orders_by_who_has_to_agree_then_by_reach() -> None:
    """What is automatic comes before what an agent owns, a device before a namespace, fewer changes first."""
    own = SysctlSet(netns="n", name="net.ipv4.conf.eth0.rp_filter", value="2")
    ordered = [
        candidate("a", own),
        candidate("a", own, own),
        candidate("b", ON),
        candidate("a", own, safety=Safety.GUARDED),
        candidate("a", own, safety=Safety.KICK),
        candidate("a", own, safety=Safety.ADVICE),
    ]
    assert sorted([*ordered[3:], *ordered[:3]], key=cost) == ordered


def test_reach() -> None:
    """One peer is less than a chain, a chain less than a built-in one, a policy the most."""
    place = {"netns": "n", "backend": "nft", "table": "nat"}
    rule = parse_rule("-j ACCEPT")
    way = Tuple(src="10.0.0.1", dst="10.0.0.2")
    changes: list[Change] = [
        FdbAdd(netns="n", entry=FdbEntry(device="d", mac="m")),
        ConntrackDelete(netns="n", entry=ConntrackEntry(proto="tcp", original=way, reply=way)),
        LinkSet(netns="n", device="d", attribute="hairpin", value="on"),
        RuleInsert(**place, chain="OWN", position=1, rule=rule),
        ChainSet(**place, chain="OWN", rules=()),
        ChainDelete(**place, chain="OWN"),
        RuleInsert(**place, chain="POSTROUTING", position=1, rule=rule),
        PolicySet(**place, chain="POSTROUTING", policy="DROP"),
        SysctlSet(netns="n", name="net.ipv4.conf.all.forwarding", value="1"),
    ]
    assert [reach(change) for change in changes] == [1, 1, 1, 2, 3, 3, 4, 5, 5]


def test_progress_is_a_larger_share_or_a_later_failure() -> None:
    """A larger share is progress, a later failure too, but not one with a smaller share."""
    assert Progress(0.5, 1).beats(Progress(0.25, 9))
    assert Progress(0.5, 2).beats(Progress(0.5, 1))
    assert not Progress(0.25, 9).beats(Progress(0.5, 1))
    assert not Progress(0.5, 1).beats(Progress(0.5, 1))
    goal = Goal(because="x")
    world = cluster()
    early = progress(goal, walked(world.edited(forward("node-a")), CLIENT, OTHER))
    later = progress(goal, walked(world.edited(forward("node-b")), CLIENT, OTHER))
    assert later.beats(early)
    assert progress(goal, walked(world, CLIENT, OTHER)) == Progress(1.0, 0.0)


def test_a_rule_more_is_no_step_forward() -> None:
    """Rules that match and decide nothing do not count as progress."""
    world = cluster().edited(forward("node-b"))
    rule = parse_rule('-m comment --comment "counts"')
    insert = RuleInsert(netns="node-a", backend="nft", table="filter", chain="FORWARD", position=1, rule=rule)
    goal = Goal(because="x")
    before, after = walked(world, CLIENT, OTHER), walked(world.edited(insert), CLIENT, OTHER)
    assert progress(goal, before) == progress(goal, after)
