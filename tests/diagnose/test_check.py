"""Checks on the model: what each word means, what suppressions cover, what names that are not there mean."""

import pytest
from msgspec.structs import replace

from nettrace.diagnose.check.asked import Asked, with_port
from nettrace.diagnose.check.expand import expand
from nettrace.diagnose.check.invariants import invariant, sees_itself
from nettrace.diagnose.check.judge import judge_outcomes, judge_walk
from nettrace.diagnose.check.suppress import suppressed
from nettrace.diagnose.check.unreadable import unreadable
from nettrace.diagnose.goal import Goal
from nettrace.model.check import (
    INVARIANTS,
    Checked,
    Expect,
    Expectation,
    Group,
    Status,
    Suppression,
)
from nettrace.model.finding import Finding, Severity
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.kube import ContainerPort, EndpointSlice, Kube, KubeNode, Pod, PodContainer, Service
from nettrace.model.links import Address
from nettrace.model.packet import Packet, PortRange
from nettrace.model.policy import Expression, LabelSelector
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Endpoint, Leg, Needs, Outcome, Path, Walk

PACKET = Packet(src="10.0.0.1", dst="10.0.0.2", proto="tcp", dport=PortRange(80, 80))
FLOW = Flow(
    origin=Origin(netns="a"),
    packet=PACKET,
    source=ObjectRef(kind="netns", name="a"),
    target=ObjectRef(kind="netns", name="b"),
)
OWED = Goal(because="b listens", endpoints=frozenset({("10.0.0.2", 80)}))
NOTHING = Goal(because="nobody listens", owed=False)


def path(outcome: Outcome, verdict: Verdict, share: float = 1.0, end: str = "10.0.0.2") -> Path:
    """One branch of a walk."""
    step = Step(node="n", netns="a", stage=Stage.SEND, verdict="leaves", after=PACKET)
    arrived = verdict is Verdict.DELIVERED
    return Path(
        probability=share,
        legs=(Leg(kind="request", steps=(step,), verdict=verdict, reason="the routes of a"),),
        verdict=verdict,
        outcome=outcome,
        endpoint=Endpoint(netns="b", address=end, port=80, source="10.0.0.1") if arrived else None,
        failed=None if arrived else 0,
    )


def walk_of(*paths: Path) -> Walk:
    """A walk of these branches."""
    return Walk(flow=FLOW, paths=paths, verdict=paths[0].verdict, outcome=paths[0].outcome)


def asked(*expect: Expect) -> Asked:
    """A question."""
    return Asked(name="q", kind="expectation", source="a", target="b:80", expect=expect)


CONNECTED = path(Outcome.CONNECTED, Verdict.DELIVERED)
REFUSED = path(Outcome.REFUSED, Verdict.NOT_LISTENING)
REJECTED = path(Outcome.REFUSED, Verdict.REJECTED)
DROPPED = path(Outcome.TIMEOUT, Verdict.DROPPED_BY_RULE)
NO_ROUTE = path(Outcome.UNREACHABLE, Verdict.NO_ROUTE)
LOST = path(Outcome.TIMEOUT, Verdict.NEIGHBOUR_FAILED)
UNKNOWN = path(Outcome.UNKNOWN, Verdict.UNKNOWN)
LEFT = path(Outcome.UNKNOWN, Verdict.LEFT_SNAPSHOT)


@pytest.mark.parametrize(
    ("expect", "passing"),
    [
        (Expect.CONNECTED, [CONNECTED]),
        (Expect.REFUSED, [REFUSED, REJECTED]),
        (Expect.BLOCKED, [REJECTED, DROPPED]),
        (Expect.UNREACHABLE, [NO_ROUTE]),
        (Expect.OWED, [CONNECTED]),
    ],
)
def test_what_each_word_means(expect: Expect, passing: list[Path]) -> None:
    """Each word is met by its own ends, fails for the others, and is never met by what is unknown."""
    for one in (CONNECTED, REFUSED, REJECTED, DROPPED, NO_ROUTE, LOST):
        judged = judge_walk(Snapshot(), asked(expect), walk_of(one), OWED)
        assert judged.status is (Status.PASSED if one in passing else Status.FAILED), one
    for one in (UNKNOWN, LEFT):
        judged = judge_walk(Snapshot(), asked(expect), walk_of(one), OWED)
        assert judged.status is Status.INCONCLUSIVE
        assert judged.reason


def test_owed_nothing_is_a_refusal() -> None:
    """Where nobody serves, everything but an answer is right."""
    for one in (REFUSED, DROPPED, NO_ROUTE):
        assert judge_walk(Snapshot(), asked(Expect.OWED), walk_of(one), NOTHING).status is Status.PASSED
    assert judge_walk(Snapshot(), asked(Expect.OWED), walk_of(CONNECTED), NOTHING).status is Status.FAILED
    judged = judge_walk(Snapshot(), asked(Expect.OWED), walk_of(UNKNOWN), NOTHING)
    assert judged.status is Status.INCONCLUSIVE


def test_all_branches_count() -> None:
    """One branch in three that fails is a failure with its share; one that is unknown, inconclusive."""
    third, rest = replace(DROPPED, probability=1 / 3), replace(CONNECTED, probability=2 / 3)
    judged = judge_walk(Snapshot(), asked(Expect.CONNECTED), walk_of(rest, third), OWED)
    assert judged.status is Status.FAILED
    assert "33%" in judged.reason
    unsure = replace(UNKNOWN, probability=1 / 3)
    judged = judge_walk(Snapshot(), asked(Expect.CONNECTED), walk_of(rest, unsure), OWED)
    assert judged.status is Status.INCONCLUSIVE
    assert judge_walk(Snapshot(), asked(Expect.CONNECTED), walk_of(rest), OWED).status is Status.FAILED


def test_wrong_endpoint_and_source_fail() -> None:
    """Who answers, and whom it sees, count where they are said."""
    other = walk_of(path(Outcome.CONNECTED, Verdict.DELIVERED, end="10.0.0.9"))
    assert judge_walk(Snapshot(), asked(Expect.CONNECTED), other, OWED).status is Status.FAILED
    named = replace(asked(Expect.CONNECTED), endpoints=frozenset({("10.0.0.9", None)}))
    assert judge_walk(Snapshot(), named, other, OWED).status is Status.PASSED
    kept = replace(asked(Expect.CONNECTED), kept="kept")
    assert judge_walk(Snapshot(), kept, walk_of(CONNECTED), OWED).status is Status.PASSED
    rewritten = replace(asked(Expect.CONNECTED), kept="rewritten")
    assert judge_walk(Snapshot(), rewritten, walk_of(CONNECTED), OWED).status is Status.FAILED


def test_real_connections() -> None:
    """A client cannot tell who denies it; one wrong connection fails; none tells nothing."""
    blocked = asked(Expect.BLOCKED)
    for outcome in (Outcome.TIMEOUT, Outcome.DENIED, Outcome.REFUSED, Outcome.UNREACHABLE):
        assert judge_outcomes(blocked, [outcome], None).status is Status.PASSED
    assert judge_outcomes(blocked, [Outcome.CONNECTED], None).status is Status.FAILED
    both = [Outcome.CONNECTED, Outcome.REFUSED]
    assert judge_outcomes(asked(Expect.CONNECTED), both, None).status is Status.FAILED
    assert judge_outcomes(asked(Expect.CONNECTED, Expect.REFUSED), both, None).status is Status.PASSED
    assert judge_outcomes(asked(Expect.CONNECTED), [], None).status is Status.INCONCLUSIVE
    assert judge_outcomes(asked(Expect.UNREACHABLE), [Outcome.UNREACHABLE], None).status is Status.PASSED
    for walked, goal, outcome in ((CONNECTED, OWED, Outcome.CONNECTED), (REFUSED, NOTHING, Outcome.REFUSED)):
        judged = judge_walk(Snapshot(), asked(Expect.OWED), walk_of(walked), goal)
        assert judge_outcomes(asked(Expect.OWED), [outcome], judged).status is Status.PASSED
        other = Outcome.TIMEOUT if outcome is Outcome.CONNECTED else Outcome.CONNECTED
        assert judge_outcomes(asked(Expect.OWED), [other], judged).status is Status.FAILED


# --- suppressions ----------------------------------------------------------------------


def failure(*causes: str) -> Checked:
    """A failed check with findings of these causes."""
    return Checked(
        name="api",
        kind="expectation",
        source="pod/shop/a",
        target="svc/shop/api:80",
        expected="connected",
        status=Status.FAILED,
        findings=tuple(Finding(cause=c, severity=Severity.ERROR, message=c) for c in causes),
    )


@pytest.mark.parametrize(
    ("suppression", "covers"),
    [
        (Suppression(reason="r", name="api"), True),
        (Suppression(reason="r", name="ap"), False),
        (Suppression(reason="r", source="pod/shop/*", target="svc/*"), True),
        (Suppression(reason="r", source="pod/shop/*", target="svc/x"), False),
        (Suppression(reason="r", cause="hairpin-*"), False),  # the other cause is not covered
        (Suppression(reason="r", cause="*"), True),
        (Suppression(reason="r", name="api", until="2026-01-01"), False),
        (Suppression(reason="r", name="api", until="2026-01-02"), True),
    ],
)
def test_suppressions_cover_what_they_name(suppression: Suppression, covers: bool) -> None:
    """All that is given has to match, all causes have to be covered, and the day not to have passed."""
    (checked,), (state,) = suppressed([failure("hairpin-off", "x")], [suppression], "2026-01-02")
    assert (checked.status is Status.SUPPRESSED) is covers
    assert state.used == covers
    assert state.expired == (suppression.until == "2026-01-01")


def test_only_failures_are_suppressed() -> None:
    """What could not be read or asked stays what it is; two suppressions cover two causes together."""
    everything = Suppression(reason="r", name="*")
    for status in (Status.INCONCLUSIVE, Status.ERROR, Status.PASSED):
        (checked,), (state,) = suppressed([replace(failure(), status=status)], [everything], "2026-01-02")
        assert (checked.status, state.used) == (status, 0)
    pair = [Suppression(reason="one", cause="a"), Suppression(reason="two", cause="b")]
    (checked,), states = suppressed([failure("a", "b")], pair, "2026-01-02")
    assert checked.status is Status.SUPPRESSED
    assert "one; two" in checked.reason
    assert [state.used for state in states] == [1, 1]
    (checked,), _ = suppressed([failure()], pair, "2026-01-02")
    assert checked.status is Status.FAILED


# --- expanding -------------------------------------------------------------------------


def pod(name: str, node: str = "n1", *, phase: str = "Running", here: bool = True) -> Pod:
    """A pod with one port."""
    return Pod(
        name=name,
        namespace="shop",
        node_name=node,
        ips=(f"10.0.0.{ord(name[-1])}",),
        labels={"app": name[:-1]},
        phase=phase,
        containers=(PodContainer(name="c", ports=(ContainerPort(container_port=80),)),),
        netns=f"ns-{name}" if here else None,
    )


PODS = (pod("weba"), pod("webb"), pod("apic"), pod("apid", "n2", here=False), pod("olde", phase="Succeeded"))


def cluster(**sections: object) -> Snapshot:
    """A cluster of these pods; *sections* of the objects take the place of known ones."""
    known: dict[str, object] = {
        "pods": Known(PODS),
        "services": Known((Service(name="api", namespace="shop", cluster_ips=("10.96.0.1",)),)),
        "nodes": Known((KubeNode(name="n1"), KubeNode(name="n2"))),
        "endpoint_slices": Known(tuple[EndpointSlice, ...]()),
    }
    spaces = {
        f"ns-{p.name}": Netns(
            name=f"ns-{p.name}",
            node="n1",
            role="pod",
            addresses=Known((Address(device="eth0", address=p.ips[0], prefixlen=24),)),
            sockets=Known(()),
        )
        for p in PODS
        if p.netns
    }
    return Snapshot(
        nodes={"n1": NodeState(name="n1", netns="n1")},
        namespaces={**spaces, "n1": Netns(name="n1", node="n1", role="node", addresses=Known(()))},
        kube=Kube(**{**known, **sections}),  # type: ignore[arg-type]
    )


def matrix(source: Group | str, target: Group | str, **more: object) -> Expectation:
    """An expectation of one source and one target."""
    return Expectation(name="m", sources=(source,), targets=(target,), **more)  # type: ignore[arg-type]


def group(app: str = "", kind: str = "pods", namespace: str = "") -> Group:
    """A group by the label app."""
    selector = LabelSelector(match_labels={"app": app}) if app else LabelSelector()
    return Group(kind=kind, selector=selector, namespace=namespace)


def flows(snapshot: Snapshot, expectation: Expectation) -> list[tuple[str, str]]:
    """The flows that an expectation comes to."""
    found = expand(snapshot, expectation)
    assert not isinstance(found, Needs)
    assert not any(one.problem for one in found.asked)
    return [(one.source, one.target) for one in found.asked]


def test_a_matrix_is_every_pair_but_oneself() -> None:
    """Selectors choose running pods on both sides; targets may be on nodes that were not read."""
    assert flows(cluster(), matrix(group("web"), group("api"), ports=("80",))) == [
        (f"pod/shop/web{a}", f"pod/shop/api{b}:80") for a in "ab" for b in "cd"
    ]
    assert flows(cluster(), matrix(group("web"), group("web"), ports=("icmp",))) == [
        ("pod/shop/weba", "pod/shop/webb/icmp"),
        ("pod/shop/webb", "pod/shop/weba/icmp"),
    ]
    assert flows(cluster(), matrix("internet", "ip/10.0.0.9:80")) == [("internet", "ip/10.0.0.9:80")]


def test_what_a_matrix_leaves_out_is_said() -> None:
    """Sources on nodes that were not read, and pods that do not run, are left out in words."""
    found = expand(cluster(), matrix(group(), group("web")))
    assert not isinstance(found, Needs)
    assert any("1 of 4 pods as sources" in words for words in found.left_out)
    assert any("1 of 5 pods" in words and "not running" in words for words in found.left_out)


EXISTS = LabelSelector(match_expressions=(Expression(key="z", operator="Exists"),))


@pytest.mark.parametrize(
    ("side", "words", "unread"),
    [
        (group("nobody"), "no pods match: app=nobody", False),
        (group("web", namespace="other"), "in namespace other", False),
        (group("old"), "running", False),
        (group(kind="services"), "services send nothing", False),
        (Group(kind="nodes", selector=EXISTS), "z Exists", False),
    ],
)
def test_a_selector_that_chooses_nothing_is_no_success(side: Group, words: str, unread: bool) -> None:
    """It is a question that cannot be asked, with the selector in words."""
    found = expand(cluster(), matrix(side, "pod/shop/weba:80"))
    assert not isinstance(found, Needs)
    (one,) = found.asked
    assert words in one.problem
    assert one.unread is unread


def test_unread_objects_are_not_absent_ones() -> None:
    """Objects that nobody read are needed; those that could not be read leave it open."""
    expectation = matrix(group("web"), group("api"))
    unread = expand(cluster(pods=Missing(MissingKind.NOT_READ)), expectation)
    assert unread == Needs((SectionKey("", "kube/pods"),))
    denied = cluster(pods=Missing(MissingKind.DENIED, "403"))
    found = expand(denied, expectation)
    assert not isinstance(found, Needs)
    assert all(one.unread and "403" in one.problem for one in found.asked)
    assert "403" in unreadable(denied, "pod/shop/weba", "ip/10.0.0.1:80")
    assert unreadable(cluster(), "pod/shop/weba") == ""
    for name in INVARIANTS:
        if name in ("node-health", "pod-sees-itself"):
            continue
        inquired = invariant(denied, name)
        assert not isinstance(inquired, Needs)
        assert all(one.unread for one in inquired.asked), name
        assert inquired.asked


def test_a_pod_that_is_known_by_another_address() -> None:
    """A pod without the address of its object fails; one whose addresses were not read is open."""
    snapshot = cluster()
    found = sees_itself(snapshot)
    assert not isinstance(found, Needs)
    assert {one.status for one in found} == {Status.PASSED}
    other = replace(snapshot.namespaces["ns-weba"], addresses=Known(()))
    unread = replace(snapshot.namespaces["ns-webb"], addresses=Missing(MissingKind.DENIED, "no privilege"))
    changed = sees_itself(snapshot.with_netns(other).with_netns(unread))
    assert not isinstance(changed, Needs)
    status = {one.source: one.status for one in changed}
    assert status["pod/shop/weba"] is Status.FAILED
    assert status["pod/shop/webb"] is Status.INCONCLUSIVE


def test_big_clusters_are_sampled_and_that_is_said() -> None:
    """A sample sees each node; `all` leaves nothing out."""
    sampled, whole = invariant(cluster(), "pod-to-pod", 2), invariant(cluster(), "pod-to-pod", None)
    assert not isinstance(sampled, Needs)
    assert not isinstance(whole, Needs)
    assert len(sampled.asked) == 2
    assert any("asked 2 of 6" in words for words in sampled.left_out)
    assert len(whole.asked) == 6
    assert any("1 pods of n2, which were not read" in words for words in whole.left_out)


@pytest.mark.parametrize(
    ("target", "port", "made"),
    [
        ("pod/a/b", "80/tcp", "pod/a/b:80/tcp"),
        ("pod/a/b", "icmp", "pod/a/b/icmp"),
        ("pod/a/b", "", "pod/a/b"),
        ("fd00::1", "80", "[fd00::1]:80"),
        ("ip/fd00::1", "80", "ip/[fd00::1]:80"),
        ("[fd00::1]", "80", "[fd00::1]:80"),
        ("10.0.0.1", "53/udp", "10.0.0.1:53/udp"),
    ],
)
def test_ports_are_put_behind_targets(target: str, port: str, made: str) -> None:
    """A port makes of a target another target, brackets around IPv6."""
    assert with_port(target, port) == made
