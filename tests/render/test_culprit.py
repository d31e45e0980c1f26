"""The step that a finding is about."""

import pytest
from msgspec.structs import replace

from nettrace.model.change import (
    Change,
    ConntrackDelete,
    FdbAdd,
    LinkSet,
    NeighbourAdd,
    PolicySet,
    RouteAdd,
    RuleDelete,
    RuleInsert,
    SysctlSet,
)
from nettrace.model.finding import Evidence, Finding, Repair, Safety
from nettrace.model.links import FdbEntry, Neighbour
from nettrace.model.packet import Packet
from nettrace.model.report import TraceReport
from nettrace.model.routes import NextHop, Route
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage, Step, Verdict, Why
from nettrace.model.walk import Leg
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Drop
from nettrace.render.culprit import culprit
from nettrace.render.document import walk_document

PACKET = Packet(src="10.0.0.1", dst="10.0.1.2", proto="tcp")
HERE = Step(node="n", netns="n", stage=Stage.RECEIVE, verdict="accept", device="eth0", before=PACKET)
RULE = XtRule(target=Drop())
CONNTRACK = ConntrackEntry(
    proto="udp", original=Tuple(src="10.0.0.1", dst="10.0.1.2"), reply=Tuple(src="10.0.1.2", dst="10.0.0.1")
)

STEPS = (
    replace(HERE, netns="other", stage=Stage.ROUTE),
    HERE,
    replace(HERE, stage=Stage.BRIDGE, device="br0", verdict="up"),
    replace(HERE, stage=Stage.CONNTRACK),
    replace(HERE, stage=Stage.HOOK, hook="forward", backend="nft", table="filter", chain="FORWARD", rule=3),
    replace(HERE, stage=Stage.HOOK, hook="forward", backend="nft", table="filter", chain="FORWARD"),
    replace(HERE, stage=Stage.ROUTE, why=Why("n/routes/254/10.0.1.0/24")),
    replace(HERE, stage=Stage.FORWARD, why=Why("n/sysctls/net.ipv4.conf.eth0.forwarding")),
    replace(HERE, stage=Stage.TUNNEL, device="vxlan0"),
    replace(HERE, stage=Stage.NEIGHBOUR, device="vxlan0"),
    replace(HERE, stage=Stage.BRIDGE, device="br1", verdict="forward"),
    replace(HERE, stage=Stage.ROUTE, why=Why("n/sysctls/net.ipv4.conf.all.rp_filter"), stops=True),
)

CHAIN = {"netns": "n", "backend": "nft", "table": "filter", "chain": "FORWARD"}


@pytest.mark.parametrize(
    ("change", "index"),
    [
        (RuleInsert(**CHAIN, position=1, rule=RULE), 4),
        (RuleInsert(**CHAIN, position=4, rule=RULE), 5),
        (RuleDelete(**CHAIN, position=3, rule=RULE), 4),
        (PolicySet(**CHAIN, policy="ACCEPT"), 5),
        (SysctlSet(netns="n", name="net.ipv4.conf.eth0.forwarding", value="1"), 7),
        (SysctlSet(netns="n", name="net.ipv4.ip_forward", value="1"), 7),
        (SysctlSet(netns="n", name="net.ipv4.conf.vxlan0.rp_filter", value="2"), 11),
        (SysctlSet(netns="n", name="net.bridge.bridge-nf-call-iptables", value="1"), 10),
        (RouteAdd(netns="n", route=Route(dst="10.0.0.0/16", nexthops=(NextHop(device="eth0"),))), 6),
        (RouteAdd(netns="n", route=Route(dst="192.168.0.0/16")), None),
        (LinkSet(netns="n", device="br0", attribute="hairpin", value="on"), 2),
        (FdbAdd(netns="n", entry=FdbEntry(device="vxlan0", mac="02:00:00:00:00:01", dst="10.9.9.9")), 8),
        (
            NeighbourAdd(
                netns="n", entry=Neighbour(device="vxlan0", address="10.0.1.0", mac=None, state="permanent")
            ),
            9,
        ),
        (ConntrackDelete(netns="n", entry=CONNTRACK), 3),
        (SysctlSet(netns="nowhere", name="net.ipv4.ip_forward", value="1"), None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_a_change_points_at_the_step_that_would_be_another(
    report: TraceReport, finding: Finding, change: Change, index: int | None
) -> None:
    """Each kind of change is found at the step which reads the state that it edits."""
    leg = Leg(kind="request", verdict=Verdict.DELIVERED, steps=STEPS)
    path = replace(report.walk.paths[0], legs=(leg,), failed=None)
    repair = Repair(id="r", changes=(change,), safety=Safety.AUTO)
    found = replace(finding, repairs=(repair,), evidence=())
    document = walk_document(replace(report, walk=replace(report.walk, paths=(path,)), findings=(found,)))
    steps = document.paths[0].request.steps
    marked = culprit(document.paths[0], document.findings)
    assert (marked is None) if index is None else (marked is steps[index])


def test_advice_points_by_its_evidence(report: TraceReport, finding: Finding) -> None:
    """A finding without a repair marks the step whose state is its evidence."""
    leg = Leg(kind="request", verdict=Verdict.DELIVERED, steps=STEPS)
    path = replace(report.walk.paths[0], legs=(leg,), failed=None)
    evidence = (Evidence(ref="", text="absent"), Evidence(ref="n/routes/254/10.0.1.0/24", text="a route"))
    found = replace(finding, repairs=(), evidence=evidence)
    document = walk_document(replace(report, walk=replace(report.walk, paths=(path,)), findings=(found,)))
    assert culprit(document.paths[0], document.findings) is document.paths[0].request.steps[6]
    assert culprit(document.paths[0], ()) is None
