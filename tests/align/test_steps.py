"""Predicted rules beside those that were met."""

from msgspec.structs import replace

from nettrace.align.outcome import compare
from nettrace.align.steps import compare_steps
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.observation import Attempt, Hit, LegSeen, Observed
from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Endpoint, Leg, Outcome, Path, Walk

SENT = Packet(src="10.0.0.1", dst="10.0.0.2", proto="tcp", sport=EPHEMERAL, dport=PortRange(80, 80))
SEEN = replace(SENT, sport=PortRange(40000, 40000))


def rule(chain: str, number: int, verdict: str, *, table: str = "filter", stops: bool = False) -> Step:
    """A predicted rule of node n."""
    return Step(
        node="n",
        netns="n",
        stage=Stage.HOOK,
        verdict=verdict,
        hook="forward",
        backend="nft",
        table=table,
        chain=chain,
        rule=number,
        before=SENT,
        stops=stops,
    )


def hit(chain: str, number: int, verdict: str, *, table: str = "filter", tunnelled: bool = False) -> Hit:
    """A rule that was met in node n."""
    return Hit(
        netns="n",
        hook="forward",
        family="ip",
        table=table,
        chain=chain,
        rule=number,
        verdict=verdict,
        tunnelled=tunnelled,
    )


def passed(netns: str, hook: str, iif: str | None = None) -> Hit:
    """A hook that was passed."""
    return Hit(netns=netns, hook=hook, family="", table="", chain="", verdict="seen", packet=SEEN, iif=iif)


def path(*steps: Step, verdict: Verdict = Verdict.DELIVERED, endpoint: str = "10.0.0.2") -> Path:
    """One branch with these steps in the request."""
    return Path(
        probability=1.0,
        legs=(Leg(kind="request", steps=steps, verdict=verdict),),
        verdict=verdict,
        outcome=Outcome.CONNECTED if verdict is Verdict.DELIVERED else Outcome.TIMEOUT,
        endpoint=Endpoint(netns="server", address=endpoint, port=80),
    )


def walk(*paths: Path) -> Walk:
    """A walk of these branches."""
    flow = Flow(
        origin=Origin(netns="client"),
        packet=SENT,
        source=ObjectRef(kind="netns", name="client"),
        target=ObjectRef(kind="ip", name="10.0.0.2"),
    )
    return Walk(flow=flow, paths=paths, verdict=paths[0].verdict, outcome=paths[0].outcome)


def seen(*hits: Hit, outcome: Outcome = Outcome.CONNECTED) -> Observed:
    """One attempt whose request met these."""
    leg = LegSeen(kind="request", hits=hits)
    return Observed(attempts=(Attempt(outcome=outcome, delay=0.0, legs=(leg,)),), watched=("n", "client"))


JUMP, DROP = rule("FORWARD", 1, "KUBE-FORWARD"), rule("KUBE-FORWARD", 2, "DROP", stops=True)
JUMPED = hit("FORWARD", 1, "jump KUBE-FORWARD")


def test_the_same_rules_agree() -> None:
    """Rules met in the order of the walk agree, each counted."""
    walked = walk(path(JUMP, DROP, verdict=Verdict.DROPPED_BY_RULE))
    agreement = compare(walked, seen(JUMPED, hit("KUBE-FORWARD", 2, "drop"), outcome=Outcome.TIMEOUT))
    assert agreement.agrees is True
    [found] = agreement.comparisons
    assert (found.agreed, found.compared, found.parted) == (2, 2, None)
    assert found.checked == {"request": (True, True)}


def test_another_rule_is_where_they_part() -> None:
    """The first step that differs is named, and nothing behind it is compared."""
    walked = walk(path(JUMP, rule("KUBE-FORWARD", 2, "MARK"), rule("KUBE-FORWARD", 3, "ACCEPT")))
    agreement = compare(walked, seen(JUMPED, hit("KUBE-FORWARD", 1, "accept")))
    assert agreement.agrees is False
    [found] = agreement.comparisons
    assert found.checked == {"request": (True, False, None)}
    assert found.parted is not None
    assert (found.parted.step, found.parted.predicted) == (1, "filter KUBE-FORWARD 2 MARK")
    assert agreement.differences == (
        "request, in n: the walk says filter KUBE-FORWARD 2 MARK, the kernel filter KUBE-FORWARD 1 accept",
    )


def test_another_verdict_of_the_same_rule_is_a_difference() -> None:
    """A rule that was met as predicted and did something else does not agree."""
    [found] = compare_steps(walk(path(rule("FORWARD", 1, "ACCEPT"))), seen(hit("FORWARD", 1, "drop")))
    assert found.parted is not None
    assert found.parted.observed == "filter FORWARD 1 drop"


def test_rules_behind_the_end_are_a_difference() -> None:
    """What the kernel met after the walk had the packet dropped is told."""
    walked = walk(path(rule("FORWARD", 1, "DROP", stops=True), verdict=Verdict.DROPPED_BY_RULE))
    observed = seen(hit("FORWARD", 1, "drop"), hit("FORWARD", 2, "accept"))
    [found] = compare_steps(walked, observed)
    assert found.parted is not None
    assert (found.parted.predicted, found.parted.observed) == ("DROPPED_BY_RULE", "filter FORWARD 2 accept")


def test_a_place_off_the_way_is_a_difference() -> None:
    """A packet that was seen where no step of the walk lies went another way."""
    [found] = compare_steps(
        walk(path(JUMP)),
        seen(JUMPED, passed("client", "prerouting")),
    )
    assert found.parted is not None
    assert found.parted.observed == "went on to client"


def test_policies_of_empty_chains_are_passed_over() -> None:
    """The walk leaves out chains without rules; a policy that drops is never passed over."""
    walked = walk(path(JUMP))
    met = (hit("FORWARD", 0, "policy accept", table="mangle"), JUMPED)
    assert compare_steps(walked, seen(*met))[0].parted is None
    met = (hit("FORWARD", 0, "policy drop", table="mangle"), JUMPED)
    assert compare_steps(walked, seen(*met))[0].parted is not None


def test_nat_of_a_tunnels_own_packets_may_be_passed_over() -> None:
    """Whether a tunnel's own connection is new cannot be known, so its nat rules prove nothing."""
    met = (hit("OUTPUT", 1, "jump KUBE-SERVICES", table="nat", tunnelled=True), JUMPED)
    assert compare_steps(walk(path(JUMP)), seen(*met))[0].parted is None
    outer = replace(SENT, proto="udp", inner=SENT)
    step = replace(rule("OUTPUT", 1, "KUBE-SERVICES", table="nat"), before=outer)
    [found] = compare_steps(walk(path(step, JUMP)), seen(JUMPED))
    assert found.checked == {"request": (None, True)}


def test_the_branch_that_was_taken_is_compared() -> None:
    """Of several branches the one that fits the connection best is held against it."""
    one, other = rule("KUBE-SVC", 1, "KUBE-SEP-A"), rule("KUBE-SVC", 2, "KUBE-SEP-B")
    [found] = compare_steps(walk(path(one), path(other)), seen(hit("KUBE-SVC", 2, "jump KUBE-SEP-B")))
    assert (found.path, found.parted) == (1, None)


def test_devices_and_destinations_are_compared() -> None:
    """A packet that arrived at another device than predicted is a difference."""
    arrives = Step(node="n", netns="n", stage=Stage.RECEIVE, verdict="receive", device="eth0", before=SENT)
    walked = walk(path(arrives, JUMP))
    assert compare_steps(walked, seen(passed("n", "prerouting", iif="eth0"), JUMPED))[0].agreed == 2
    [found] = compare_steps(walked, seen(passed("n", "prerouting", iif="eth1"), JUMPED))
    assert found.parted is not None
    assert found.parted.observed == "saw it arrive at eth1"


def test_nothing_is_compared_where_nobody_watched() -> None:
    """Steps in namespaces that were not watched are neither right nor wrong."""
    observed = replace(seen(passed("client", "output")), watched=("client",))
    observed = replace(observed, attempts=(replace(observed.attempts[0], outcome=Outcome.TIMEOUT),))
    sent = Step(node="c", netns="client", stage=Stage.SEND, verdict="send")
    [found] = compare_steps(walk(path(sent, DROP, verdict=Verdict.DROPPED_BY_RULE)), observed)
    assert (found.compared, found.parted) == (0, None)
