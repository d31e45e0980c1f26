"""The small questions: what a rule is for, what a step saw, where a thing is."""

import pytest

from nettrace.diagnose.look import holder_of, listeners, step_text, subject_of, where
from nettrace.diagnose.rules import addressed_to
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Step, Why
from nettrace.parse.iptables import parse_rule
from tests.diagnose.worlds import cluster


@pytest.mark.parametrize(
    ("text", "is_for"),
    [
        ("-d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j ACCEPT", True),
        ("-d 10.96.0.1/32 -j ACCEPT", True),
        ("-p tcp -m tcp --dport 80 -j ACCEPT", True),
        ("-p tcp -m multiport --dports 22,80:81 -j ACCEPT", True),
        ("-p tcp -m multiport --dports 22 -j ACCEPT", False),
        ("-p tcp -m multiport --sports 80 -j ACCEPT", False),
        ("-p udp -m udp --dport 80 -j ACCEPT", False),
        ("! -p udp -j ACCEPT", False),
        ("-d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT", False),
        ("! -d 10.96.0.1/32 -j ACCEPT", False),
        ("! -d 10.96.0.2/32 -j ACCEPT", False),
        ("-p tcp -m tcp ! --dport 81 -j ACCEPT", False),
        ("-j ACCEPT", False),
    ],
)
def test_whom_a_rule_names(text: str, is_for: bool) -> None:
    """A rule is for a packet if it names its address, its port, or both, and nothing that excludes it."""
    packet = Packet(src="", dst="10.96.0.1", proto="tcp", dport=PortRange(80, 80))
    assert addressed_to(parse_rule(text), packet) is is_for


def test_what_a_step_saw() -> None:
    """The state that decided comes first, then the note, then the verdict."""
    step = Step(node="n", netns="n", stage=Stage.ROUTE, verdict="drop")
    assert step_text(step) == "drop"
    noted = Step(node="n", netns="n", stage=Stage.ROUTE, verdict="drop", note="no way", why=Why("ref"))
    assert step_text(noted) == "no way"
    told = Step(node="n", netns="n", stage=Stage.ROUTE, verdict="drop", note="x", why=Why("ref", "blackhole"))
    assert step_text(told) == "blackhole"


def test_where_things_are() -> None:
    """A node's own namespace is called by the node, an address found by who has it, sockets by protocol."""
    snapshot = cluster().snapshot
    assert (where(snapshot, "node-a"), subject_of(snapshot, "node-a")) == ("node-a", "node/node-a")
    assert subject_of(snapshot, "internet") == "netns/internet"
    assert holder_of(snapshot, "10.244.1.10") == "client-near"
    assert holder_of(snapshot, "192.0.2.1") is None
    assert [s.port for s in listeners(snapshot, "kube-dns-0", "udp") or ()] == [53]
    assert listeners(snapshot, "nowhere", "tcp") is None
