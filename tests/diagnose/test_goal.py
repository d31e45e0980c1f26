"""A goal is a three-valued predicate over all branches."""

import pytest
from msgspec.structs import replace

from nettrace.diagnose.goal import Goal, Judgement, innermost, last_packet, original_source
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Endpoint, Leg, Outcome, Path, Walk

FLOW = Flow(
    origin=Origin(netns="client"),
    packet=Packet(src="", dst="10.0.0.1", proto="tcp"),
    source=ObjectRef(kind="netns", name="client"),
    target=ObjectRef(kind="ip", name="10.0.0.1"),
)


def step(src: str, dst: str = "10.0.0.1", **more: object) -> Step:
    """One step that shows a packet."""
    packet = Packet(src=src, dst=dst, proto="tcp")
    return replace(Step(node="n", netns="client", stage=Stage.SEND, verdict="sent", before=packet), **more)


def path(
    outcome: Outcome = Outcome.CONNECTED,
    *,
    share: float = 1.0,
    end: Endpoint | None = None,
    verdict: Verdict = Verdict.DELIVERED,
    steps: tuple[Step, ...] = (),
) -> Path:
    """One branch."""
    leg = Leg(kind="request", steps=steps, verdict=verdict)
    return Path(probability=share, legs=(leg,), verdict=verdict, outcome=outcome, endpoint=end)


def walk_of(*paths: Path) -> Walk:
    """A walk of these branches."""
    return Walk(flow=FLOW, paths=paths, verdict=Verdict.DELIVERED, outcome=Outcome.CONNECTED)


def end(address: str = "10.0.0.1", port: int | None = 80, source: str = "10.0.0.9") -> Endpoint:
    """Somebody who took the request."""
    return Endpoint(netns="server", address=address, port=port, source=source)


MET, NOT_MET, UNKNOWN = Judgement.MET, Judgement.NOT_MET, Judgement.UNKNOWN


@pytest.mark.parametrize(
    ("goal", "branches", "judged"),
    [
        ({}, [path()], MET),
        ({}, [path(Outcome.TIMEOUT)], NOT_MET),
        ({}, [path(Outcome.UNKNOWN, verdict=Verdict.UNKNOWN)], UNKNOWN),
        ({}, [], UNKNOWN),
        ({}, [path(share=0.5)], NOT_MET),
        ({}, [path(share=0.5), path(share=0.5)], MET),
        ({}, [path(share=0.5), path(Outcome.UNKNOWN, share=0.5)], UNKNOWN),
        ({}, [path(Outcome.TIMEOUT, share=0.5), path(Outcome.UNKNOWN, share=0.5)], NOT_MET),
        ({}, [path(Outcome.WRONG_ENDPOINT)], NOT_MET),
        ({"endpoints": {("10.0.0.1", 80)}}, [path(end=end())], MET),
        ({"endpoints": {("10.0.0.1", None)}}, [path(end=end())], MET),
        ({"endpoints": {("10.0.0.1", 81)}}, [path(end=end())], NOT_MET),
        ({"endpoints": {("10.0.0.1", 80)}}, [path(Outcome.WRONG_ENDPOINT, end=end())], MET),
        ({"endpoints": {("10.0.0.1", 80)}}, [path()], UNKNOWN),
        ({"source": "kept"}, [path(end=end(), steps=(step("10.0.0.9"),))], MET),
        ({"source": "kept"}, [path(end=end(), steps=(step("10.0.0.8"),))], NOT_MET),
        ({"source": "rewritten"}, [path(end=end(), steps=(step("10.0.0.8"),))], MET),
        ({"source": "kept"}, [path(end=end())], UNKNOWN),
        ({"source": "kept"}, [path(end=end(source=""), steps=(step("10.0.0.8"),))], UNKNOWN),
        ({"source": "kept"}, [path()], UNKNOWN),
        ({"outcome": Outcome.REFUSED}, [path(Outcome.REFUSED)], MET),
        ({"outcome": Outcome.REFUSED}, [path()], NOT_MET),
    ],
)
def test_judging(goal: dict[str, object], branches: list[Path], judged: Judgement) -> None:
    """All branches have to meet it; one that fails decides, then one that is unknown."""
    if "endpoints" in goal:
        goal = {**goal, "endpoints": frozenset(goal["endpoints"])}  # type: ignore[call-overload]
    assert Goal(because="test", **goal).judge(walk_of(*branches)) is judged  # type: ignore[arg-type]


def test_leaving_for_an_outside_destination() -> None:
    """A packet that leaves the snapshot for one of the goal's own destinations is all that can be asked."""

    def left(dst: str, src: str = "10.0.0.9") -> Walk:
        steps = (step("10.0.0.9"), step(src, dst))
        return walk_of(path(Outcome.UNKNOWN, verdict=Verdict.LEFT_SNAPSHOT, steps=steps))

    goal = Goal(because="test", beyond=frozenset({"192.0.2.1"}))
    assert goal.judge(left("192.0.2.1")) is MET
    assert goal.judge(left("192.0.2.2")) is UNKNOWN
    rewritten = replace(goal, source="rewritten")
    assert rewritten.judge(left("192.0.2.1")) is NOT_MET
    assert rewritten.judge(left("192.0.2.1", "172.16.0.1")) is MET
    nowhere = Path(probability=1, legs=(), verdict=Verdict.LEFT_SNAPSHOT, outcome=Outcome.UNKNOWN)
    assert goal.judge(walk_of(nowhere)) is UNKNOWN
    assert original_source(nowhere) == ""


def test_packets_in_tunnels_are_looked_through() -> None:
    """What leaves is the packet inside all tunnels; an ICMP error is not a tunnel."""
    inner = Packet(src="10.1.0.1", dst="10.1.0.2", proto="tcp")
    outer = Packet(src="10.0.0.1", dst="10.0.0.2", proto="udp", inner=inner)
    error = Packet(src="10.0.0.1", dst="10.0.0.2", proto="icmp", icmp_type=3, inner=inner)
    assert innermost(outer) == inner
    assert innermost(error) == error
    hidden = Step(node="", netns="x", stage=Stage.ROUTE, verdict="ok")
    assert last_packet(Leg(kind="request", steps=(hidden,), verdict=Verdict.DELIVERED)) is None
    after = step("10.0.0.1", after=inner)
    assert last_packet(Leg(kind="request", steps=(after, hidden), verdict=Verdict.DELIVERED)) == inner


def test_words() -> None:
    """A goal says itself in words, with at most four of its endpoints."""
    ends = frozenset((f"10.0.0.{n}", 80) for n in range(1, 7))
    goal = Goal(because="Service a/b", endpoints=ends, source="kept")
    assert goal.describe() == (
        "connected to 10.0.0.1:80 or 10.0.0.2:80 or 10.0.0.3:80 or 10.0.0.4:80 or 2 more "
        "with its source address kept (Service a/b)"
    )
    assert (
        Goal(because="x", endpoints=frozenset({("10.0.0.1", None)})).describe() == "connected to 10.0.0.1 (x)"
    )
    assert Goal(because="x", beyond=frozenset({"1.1.1.1"})).describe() == "leaves for 1.1.1.1 (x)"
    assert Goal(because="nobody", owed=False).describe() == "nothing is owed to this flow (nobody)"
    assert Goal(because="policy", outcome=Outcome.TIMEOUT).describe() == "timeout (policy)"


def test_the_share_that_meets_it() -> None:
    """met_share adds the branches that meet the goal."""
    walked = walk_of(path(share=0.25), path(Outcome.TIMEOUT, share=0.75))
    assert Goal(because="x").met_share(walked) == 0.25
