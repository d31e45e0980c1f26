"""One node's own view: what lies beyond is left for, and what is missing here is still found."""

import pytest

from nettrace.diagnose.safety import worse
from nettrace.model.change import RuleInsert
from nettrace.model.walk import Outcome
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import diagnosed, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import World, cluster, seen_from

CLIENT = "pod/client-near"
OUTSIDE = "ip/8.8.8.8:53/udp"
PEER = "pod/hostnames-1:9376"
SERVICE = "svc/hostnames"


def node_a(*faults: str) -> World:
    """What node-a sees of a cluster with these faults."""
    world = cluster()
    for fault in faults:
        world = world.edited(*FAULTS[fault].breaks(world))
    return seen_from(world, "node-a")


@pytest.mark.parametrize(
    ("target", "goal"),
    [
        (
            OUTSIDE,
            "leaves for 8.8.8.8 with its source address rewritten (8.8.8.8 is outside of what was read)",
        ),
        (PEER, "leaves for 10.244.2.11 with its source address kept (pod default/hostnames-1 is on node-b, "),
        (SERVICE, "connected to 10.244.1.11:9376 or 10.244.2.11:9376 or 10.244.2.12:9376 (Service "),
    ],
)
def test_a_healthy_node_says_that_it_does_not_see_the_end(target: str, goal: str) -> None:
    """What leaves for its goal is no problem, and is not called met either."""
    found = diagnosed(node_a(), CLIENT, target)
    assert (found.met, found.findings) == (None, ())
    assert found.goal.startswith(goal)
    assert found.notes == ("what lies beyond the snapshot was not read",)


@pytest.mark.parametrize(
    ("fault", "source", "target"),
    [
        ("ip-forward-off", CLIENT, OUTSIDE),
        ("forward-policy-drop", CLIENT, OUTSIDE),
        ("masquerade-missing, its rule", CLIENT, OUTSIDE),
        ("service-jump-missing", CLIENT, SERVICE),
        ("service-rules-absent", CLIENT, SERVICE),
        ("stale-endpoint-rule", CLIENT, SERVICE),
        ("bridge-nf-off", CLIENT, SERVICE),
        ("hairpin-off", "pod/hostnames-0", SERVICE),
        ("flannel-fdb-missing", CLIENT, PEER),
        ("pod-route-missing", CLIENT, PEER),
        ("pod-route-missing", CLIENT, SERVICE),
    ],
)
def test_what_is_missing_here_is_found_here(fault: str, source: str, target: str) -> None:
    """The node's own defects are found from its own state; how far the mended walk gets is said."""
    found = diagnosed(node_a(fault), source, target)
    assert [finding.cause for finding in found.findings] == [FAULTS[fault].cause]
    assert "on its way out of what was read in" in found.findings[0].repairs[0].effect
    assert found.met is not True


def test_breaking_what_leaves_is_worse() -> None:
    """A flow that left for its goal and is dropped afterwards is worse off."""
    world = node_a()
    rule = parse_rule("-d 8.8.8.8/32 -j DROP")
    drop = RuleInsert(netns="node-a", backend="nft", table="filter", chain="FORWARD", position=1, rule=rule)
    before, after = walked(world, CLIENT, OUTSIDE), walked(world.edited(drop), CLIENT, OUTSIDE)
    assert before.outcome is Outcome.UNKNOWN
    assert worse(world.snapshot, before, after) == "connected in 0% instead of 100%"
