"""A report to render: the broken NodePort, written by hand so that no other package decides its form."""

import pytest
from msgspec.structs import replace

from nettrace.model.change import RuleInsert
from nettrace.model.finding import Evidence, Finding, Repair, Safety, Severity
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.observation import Agreement, Attempt, Observed
from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.model.report import TraceReport
from nettrace.model.step import Stage, Step, Verdict, Why
from nettrace.model.walk import Endpoint, Leg, Outcome, Path, Walk
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Comment
from nettrace.model.xt_target import Jump

SYN = Packet(
    src="172.18.0.100",
    dst="172.18.0.12",
    proto="tcp",
    sport=EPHEMERAL,
    dport=PortRange(30080, 30080),
    tcp_flags=frozenset({"SYN"}),
)
OUTER = Packet(
    src="172.18.0.12", dst="172.18.0.11", proto="udp", sport=EPHEMERAL, dport=PortRange(8472, 8472), inner=SYN
)
POSTROUTING_JUMP = XtRule(matches=(Comment("kubernetes postrouting rules"),), target=Jump("KUBE-POSTROUTING"))
INSERT = RuleInsert(
    netns="node-b", backend="nft", table="nat", chain="POSTROUTING", position=1, rule=POSTROUTING_JUMP
)


def hook(
    packet: Packet, name: str, table: str, chain: str, rule: int, verdict: str, after: Packet | None = None
) -> Step:
    """Make the step of one rule on node-b."""
    return Step(
        node="node-b",
        netns="node-b",
        stage=Stage.HOOK,
        verdict=verdict,
        hook=name,
        backend="nft",
        table=table,
        chain=chain,
        rule=rule or None,
        before=packet,
        after=after,
        why=Why(f"node-b/xt/nft/{table}/{chain}/{rule}", verdict),
    )


def stage(node: str, kind: Stage, packet: Packet, device: str, **more: object) -> Step:
    """Make a step that is no rule."""
    word = {Stage.SEND: "send", Stage.RECEIVE: "receive", Stage.TRANSMIT: "send", Stage.ROUTE: "forward"}
    made = Step(
        node=node, netns=node, stage=kind, verdict=word.get(kind, "accept"), device=device, before=packet
    )
    return replace(made, **more)


def switched(packet: Packet, into: str, out: str) -> tuple[Step, ...]:
    """Make the steps of the wire, which only passes a frame on."""
    return (
        stage("wire", Stage.RECEIVE, packet, into),
        stage("wire", Stage.BRIDGE, packet, "br0", verdict="forward"),
        stage("wire", Stage.TRANSMIT, packet, out),
    )


def branch(address: str, name: str, node: str) -> Path:
    """Make the branch to one endpoint on another node: the reply misses node-b."""
    marked = replace(SYN, mark=0x4000)
    sent = replace(marked, dst=address, dport=PortRange(9376, 9376))
    pre = "prerouting"
    request = Leg(
        kind="request",
        verdict=Verdict.DELIVERED,
        steps=(
            stage("internet", Stage.SEND, SYN, ""),
            stage("internet", Stage.TRANSMIT, SYN, "eth0"),
            *switched(SYN, "internet", "node-b"),
            stage("node-b", Stage.RECEIVE, SYN, "eth0"),
            hook(SYN, pre, "nat", "PREROUTING", 1, "KUBE-SERVICES"),
            hook(SYN, pre, "nat", "KUBE-SERVICES", 7, "KUBE-NODEPORTS"),
            hook(SYN, pre, "nat", "KUBE-NODEPORTS", 1, "KUBE-EXT-YN5DABCDEFGHIJKL"),
            hook(SYN, pre, "nat", "KUBE-EXT-YN5DABCDEFGHIJKL", 1, "KUBE-MARK-MASQ"),
            hook(SYN, pre, "nat", "KUBE-MARK-MASQ", 1, "MARK", marked),
            hook(marked, pre, "nat", "KUBE-EXT-YN5DABCDEFGHIJKL", 2, "KUBE-SVC-YN5DABCDEFGHIJKL"),
            replace(
                hook(marked, pre, "nat", "KUBE-SVC-YN5DABCDEFGHIJKL", 2, "KUBE-SEP-DXD2ABCDEFGHIJKL"),
                why=Why(
                    "node-b/xt/nft/nat/KUBE-SVC-YN5DABCDEFGHIJKL/2",
                    "-A KUBE-SVC-YN5DABCDEFGHIJKL -m statistic --mode random --probability 0.3333333335 -j X",
                ),
            ),
            hook(marked, pre, "nat", "KUBE-SEP-DXD2ABCDEFGHIJKL", 2, "DNAT"),
            stage("node-b", Stage.CONNTRACK, marked, "eth0", hook=pre, verdict="dnat", after=sent),
            stage(
                "node-b",
                Stage.ROUTE,
                sent,
                "flannel.1",
                why=Why(
                    "node-b/routes/254/10.244.1.0/24", "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"
                ),
            ),
            stage("node-b", Stage.FORWARD, sent, "eth0", after=replace(sent, ttl=63)),
            hook(sent, "forward", "filter", "FORWARD", 1, "KUBE-PROXY-FIREWALL"),
            hook(sent, "forward", "filter", "FORWARD", 2, "KUBE-FORWARD"),
            hook(sent, "forward", "filter", "KUBE-FORWARD", 2, "ACCEPT"),
            hook(sent, "postrouting", "nat", "POSTROUTING", 0, "policy ACCEPT"),
            stage(
                *("node-b", Stage.TUNNEL, sent, "flannel.1"),
                verdict="encapsulate",
                note="VXLAN 1 to 172.18.0.11",
                after=OUTER,
            ),
            hook(OUTER, "output", "nat", "OUTPUT", 1, "KUBE-SERVICES"),
            hook(OUTER, "output", "nat", "OUTPUT", 0, "policy ACCEPT"),
            stage("node-b", Stage.TRANSMIT, OUTER, "eth0"),
            *switched(OUTER, "node-b", "node-a"),
            stage(node, Stage.RECEIVE, OUTER, "eth0"),
            stage(node, Stage.ROUTE, OUTER, "eth0", verdict="local"),
            stage(node, Stage.TUNNEL, OUTER, "flannel.1", verdict="decapsulate", after=sent),
            stage(node, Stage.RECEIVE, sent, "flannel.1"),
            stage(node, Stage.TRANSMIT, sent, "veth1"),
            stage(name, Stage.RECEIVE, sent, "eth0"),
            stage(name, Stage.ROUTE, sent, "eth0", verdict="local"),
            stage(
                name, Stage.DELIVER, sent, "eth0", verdict="deliver", why=Why(f"{name}/sockets", "python3")
            ),
        ),
    )
    answer = replace(sent, src=address, dst=SYN.src, sport=sent.dport, dport=sent.sport, mark=0)
    reply = Leg(
        kind="reply",
        verdict=Verdict.UNEXPECTED,
        reason=f"nobody waits for {address} (internet)",
        steps=(
            stage(name, Stage.SEND, answer, ""),
            stage(name, Stage.TRANSMIT, answer, "eth0"),
            stage(
                node,
                Stage.ROUTE,
                answer,
                "eth0",
                why=Why(f"{node}/routes/254/172.18.0.0/24", "172.18.0.0/24 dev eth0"),
            ),
            stage(
                *("internet", Stage.DELIVER, answer, "eth0"),
                verdict="drop",
                note=f"nobody waits for {address}",
                stops=True,
            ),
        ),
    )
    return Path(
        probability=1 / 3,
        draws=("1/3",),
        legs=(request, reply),
        verdict=Verdict.UNEXPECTED,
        outcome=Outcome.TIMEOUT,
        delay=2.0,
        endpoint=Endpoint(netns=name, address=address, port=9376, source=SYN.src),
        failed=1,
        reason=reply.reason,
    )


def connected() -> Path:
    """Make the branch to the endpoint on node-b itself, which works."""
    sent = replace(SYN, dst="10.244.2.10", dport=PortRange(9376, 9376))
    answer = replace(sent, src=sent.dst, dst=SYN.src, sport=sent.dport, dport=sent.sport)
    legs = (
        Leg(kind="request", verdict=Verdict.DELIVERED, steps=(stage("internet", Stage.SEND, SYN, "eth0"),)),
        Leg(kind="reply", verdict=Verdict.DELIVERED, steps=(stage("node-b", Stage.SEND, answer, "eth0"),)),
    )
    return Path(
        probability=1 / 3,
        legs=legs,
        verdict=Verdict.DELIVERED,
        outcome=Outcome.CONNECTED,
        endpoint=Endpoint(netns="hostnames-0", address=sent.dst, port=9376),
    )


@pytest.fixture
def finding() -> Finding:
    """kube-postrouting-missing, with its repair."""
    return Finding(
        cause="kube-postrouting-missing",
        severity=Severity.ERROR,
        message="packets marked for masquerade leave without it",
        subject="svc/default/hostnames",
        where="node-b nat POSTROUTING",
        evidence=(
            Evidence(
                ref="node-b/xt/nft/nat/KUBE-MARK-MASQ/1",
                text="-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
                note="marked here",
            ),
            Evidence(ref="", text="POSTROUTING has no jump to KUBE-POSTROUTING", note="kube-proxy owes it"),
        ),
        repairs=(
            Repair(
                id="kube-postrouting-missing/1",
                changes=(INSERT,),
                safety=Safety.KICK,
                owner="kube-proxy",
                overwritten="writes it again at its next full sync",
                effect="connected in 3 of 3",
            ),
        ),
    )


@pytest.fixture
def report(finding: Finding) -> TraceReport:
    """The NodePort that fails in two of three branches, and a probe that saw it."""
    flow = Flow(
        origin=Origin(netns="internet"),
        packet=SYN,
        source=ObjectRef(kind="netns", name="internet"),
        target=ObjectRef(kind="node", name="node-b"),
    )
    paths = (
        branch("10.244.1.10", "hostnames-1", "node-a"),
        branch("10.244.1.11", "hostnames-2", "node-a"),
        connected(),
    )
    walk = Walk(flow=flow, paths=paths, verdict=Verdict.UNEXPECTED, outcome=Outcome.MIXED)
    attempts = (
        Attempt(outcome=Outcome.TIMEOUT, errno="ETIMEDOUT", delay=2.0),
        Attempt(outcome=Outcome.CONNECTED, delay=0.004, answer="hostnames-0", answered_by="hostnames-0"),
    )
    return TraceReport(
        walk=walk,
        findings=(finding,),
        goal="every endpoint of svc/default/hostnames answers",
        goal_met=False,
        observed=Observed(attempts=attempts),
        agreement=Agreement(agrees=True, predicted=Outcome.MIXED),
        context="lab shop",
    )
