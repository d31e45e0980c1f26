"""One flow of the guided checks: what walk, diagnosis and real connections come to together."""

import pytest
from msgspec.structs import replace

from nettrace.diagnose import Diagnosis
from nettrace.diagnose.guide import CHECKS, Connect, Diagnose, checks_for
from nettrace.diagnose.guide.case import Heading, names
from nettrace.diagnose.guide.flow import Tried, evidence_of, failed, tried, worst
from nettrace.model.change import RuleInsert
from nettrace.model.guide import Axis, CheckState
from nettrace.model.observation import Attempt, Observed
from nettrace.model.walk import Outcome, Walk
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import walked
from tests.diagnose.guided import case, check
from tests.diagnose.test_policies import only_from, world_with
from tests.diagnose.worlds import cluster

TITLE = Heading("path", Axis.RULES, "Is it reached?")
CONNECTED, TIMEOUT = Outcome.CONNECTED, Outcome.TIMEOUT


def came_to(outcome: Outcome, *seen: Outcome, met: bool | None = None, notes: tuple[str, ...] = ()) -> Tried:
    """What a flow whose walk ends so comes to, with these real connections."""
    walk: Walk = replace(walked(cluster(), "pod/client-near", "pod/hostnames-0"), outcome=outcome)
    diagnosis = Diagnosis(findings=(), goal="connected", met=met, notes=notes)
    making = tried("a", "b", max(1, len(seen)))
    request = next(making)
    answer: object = None
    while True:
        if isinstance(request, Diagnose):
            answer = (walk, diagnosis)
        else:
            assert isinstance(request, Connect)
            attempts = tuple(Attempt(outcome=one, delay=0.0) for one in seen)
            answer = Observed(attempts=attempts) if seen else None
        try:
            request = making.send(answer)
        except StopIteration as end:
            found: Tried = end.value
            return found


@pytest.mark.parametrize(
    ("outcome", "met", "seen", "state", "parts"),
    [
        (CONNECTED, True, (), "passed", False),
        (CONNECTED, True, (CONNECTED,), "passed", False),
        (CONNECTED, True, (TIMEOUT,), "unknown", True),
        (CONNECTED, True, (CONNECTED, TIMEOUT), "unknown", True),
        (CONNECTED, None, (), "passed", False),
        (CONNECTED, False, (CONNECTED,), "problem", False),
        (TIMEOUT, False, (TIMEOUT,), "problem", False),
        (TIMEOUT, None, (), "problem", False),
        (TIMEOUT, False, (Outcome.REFUSED,), "problem", True),
        (TIMEOUT, False, (CONNECTED,), "unknown", True),
        (TIMEOUT, False, (CONNECTED, TIMEOUT), "problem", True),
        (Outcome.STALLS, False, (CONNECTED,), "problem", False),
        (Outcome.STALLS, False, (Outcome.RESET,), "problem", False),
        (Outcome.WRONG_ENDPOINT, False, (CONNECTED,), "problem", False),
        (Outcome.WRONG_ENDPOINT, False, (TIMEOUT,), "problem", True),
        (Outcome.UNKNOWN, None, (), "unknown", False),
        (Outcome.UNKNOWN, None, (CONNECTED,), "passed", False),
        (Outcome.UNKNOWN, None, (CONNECTED, TIMEOUT), "unknown", False),
        (Outcome.MIXED, None, (), "unknown", False),
        (Outcome.MIXED, False, (CONNECTED, TIMEOUT), "problem", False),
        (Outcome.MIXED, None, (CONNECTED,), "passed", False),
    ],
)
def test_what_a_flow_comes_to(
    outcome: Outcome, met: bool | None, seen: tuple[Outcome, ...], state: str, parts: bool
) -> None:
    """A flow passes only if nothing speaks against it; where walk and kernel part, neither is believed."""
    found = came_to(outcome, *seen, met=met)
    assert (found.state.value, found.parts) == (state, parts)


def test_what_real_connections_brought_is_said() -> None:
    """The words of a flow give what was seen for real, the most frequent first, beside the walk."""
    assert came_to(CONNECTED, met=True).result == "connected walked"
    assert came_to(CONNECTED, CONNECTED, met=True).result == "connected for real, connected walked"
    found = came_to(Outcome.MIXED, TIMEOUT, CONNECTED, CONNECTED, met=False)
    assert found.words == "a to b: connected 2 of 3, timeout 1 of 3 for real, mixed walked"


def test_the_notes_of_a_failure_are_evidence() -> None:
    """What fails shows its first two notes, what passes none; that both part is said."""
    notes = ("one", "two", "three")
    assert [e.text for e in evidence_of(came_to(CONNECTED, met=True, notes=notes))] == [
        "a to b: connected walked"
    ]
    seen = [e.text for e in evidence_of(came_to(CONNECTED, TIMEOUT, met=True, notes=notes))]
    assert seen[1:] == ["one", "two", "the walk and the kernel do not agree here"]


def test_a_failure_without_a_cause_is_said_to_be_one() -> None:
    """A check that ends at a flow nobody can explain is a problem without a finding."""
    one = came_to(TIMEOUT, met=False)
    found = failed(TITLE, one, [one])
    assert found.state is CheckState.PROBLEM
    assert found.findings == ()
    assert found.conclusion == "a to b: timeout walked, and no known cause fits"
    assert found.flow == ("a", "b")


def test_the_worst_state_counts() -> None:
    """A problem is worse than what is unknown, that than what passed; nothing at all is skipped."""
    states = [CheckState.PASSED, CheckState.UNKNOWN, CheckState.PROBLEM]
    assert worst(states) is CheckState.PROBLEM
    assert worst(states[:2]) is CheckState.UNKNOWN
    assert worst(states[:1]) is CheckState.PASSED
    assert worst([]) is CheckState.SKIPPED


def test_long_lists_are_cut_and_say_so() -> None:
    """Names are listed up to the limit, the rest as a number."""
    assert names([]) == "none"
    assert names(["a", "b"], 2) == "a, b"
    assert names(("a", "b", "c"), 2) == "a, b and 1 more"


def test_from_outside_the_entrances_come_before_the_hairpin() -> None:
    """The order is the page's; a caller from outside is led to the entrances first."""
    assert checks_for(case()) == CHECKS
    ids = [one.id for one in checks_for(case(external=True))]
    assert ids[-3:] == ["outside", "hairpin", "source"]
    assert sorted(ids) == sorted(one.id for one in CHECKS)


def test_what_policies_deny_is_a_problem_of_who_calls() -> None:
    """A refusal that policies ask for is a problem where the client is asked about, and none elsewhere."""
    drop = parse_rule("-d 10.244.1.11/32 -i cni0 -p tcp -j DROP")
    world = world_with(only_from(cluster())).edited(
        RuleInsert(netns="node-a", backend="nft", table="filter", chain="FORWARD", position=1, rule=drop)
    )
    found = check("path", world)
    assert found.state is CheckState.PROBLEM, found
    assert found.cause in ("netpol-default-deny", "firewall-rule-drop")
