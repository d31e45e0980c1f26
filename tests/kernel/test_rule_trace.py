"""Rules that real packets meet in a lab, held against the walk; nothing of the watching remains."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nettrace.app.context import open_context
from nettrace.app.remember import Question
from nettrace.app.trace import trace
from nettrace.collect.netns import in_netns
from nettrace.model.lab import LabRecord
from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.model.report import TraceReport
from nettrace.model.walk import Outcome
from nettrace.observe.arming import TABLE, arm
from nettrace.observe.legacy_log import LegacyLog
from nettrace.observe.tag import fresh_tags
from tests.kernel.bed import Bed, eventually
from tests.kernel.labs import a_lab, path_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabRecord]:
    """One cluster; every test leaves it as it was."""
    with a_lab("flannel-vxlan") as record:
        yield record


def inside(record: LabRecord, name: str, line: str) -> str:
    """Run a command line in a namespace of the lab."""
    return subprocess.run(
        ["nsenter", f"--net={path_of(record, name)}", "sh", "-c", line],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def tables_of_ours(record: LabRecord) -> list[str]:
    """Where a table of nettrace's is."""
    return [
        entry.name for entry in record.namespaces if TABLE in inside(record, entry.name, "nft list tables")
    ]


def probed(record: LabRecord, source: str, target: str, count: int = 1) -> TraceReport:
    """Walk, probe and compare."""
    with open_context(lab=record.name) as context:
        return trace(context, Question(source=source, target=target), with_probe=True, count=count)


def agreed(report: TraceReport, least: int) -> None:
    """All attempts were compared, at least so many steps each, and every step agrees."""
    assert report.observed is not None
    assert report.agreement is not None
    assert report.observed.notes == ()
    assert report.agreement.differences == ()
    assert report.agreement.agrees is True
    assert report.observed.captured
    assert len(report.agreement.comparisons) == len(report.observed.attempts)
    for comparison in report.agreement.comparisons:
        assert comparison.parted is None
        assert comparison.agreed == comparison.compared >= least


@pytest.mark.parametrize("node", ["node-a", "node-b"])
def test_a_node_port_agrees_in_every_step(cluster: LabRecord, node: str) -> None:
    """From outside by either node, to endpoints here and there: every rule, NAT and tunnel as walked."""
    report = probed(cluster, "internet", f"node/{node}:30080", count=12)
    agreed(report, 20)
    assert report.agreement is not None
    assert len({one.path for one in report.agreement.comparisons}) > 1
    assert report.observed is not None
    hits = [hit for leg in report.observed.attempts[0].legs for hit in leg.hits]
    assert any(hit.table == "nat" and hit.chain.startswith("KUBE-SVC-") for hit in hits)
    assert tables_of_ours(cluster) == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("client-a", "svc/default/hostnames:80"),
        ("node-a", "svc/default/hostnames:80"),
        ("client-a", "svc/kube-system/kube-dns:53/udp"),
        ("client-a", "pod/default/hostnames-1/icmp"),
        ("client-a", "ip/172.18.0.12/icmp"),
    ],
)
def test_other_flows_agree(cluster: LabRecord, source: str, target: str) -> None:
    """From pods and nodes, by TCP, UDP and echo."""
    agreed(probed(cluster, source, target, count=3), 10)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("pod/default/hostnames-1:9376", {"mark": 0x55, "ttl": 9, "df": False}),
        ("svc/kube-system/kube-dns:53/udp", {"mark": 0x55, "ttl": 9}),
        ("pod/default/hostnames-1:9376/udp", {"mark": 0x55, "ttl": 9, "size": 333, "df": False}),
        ("pod/default/hostnames-1/icmp", {"mark": 0x55, "ttl": 9, "size": 501}),
        ("pod/default/hostnames-1:9376/udp", {"size": 43}),
        ("pod/default/hostnames-1:99/udp", {"size": 32}),
        ("pod/default/hostnames-1/icmp", {"size": 37}),
        ("pod/default/hostnames-1:99/sctp", {"mark": 0x55, "ttl": 9}),
    ],
)
def test_the_probe_looks_like_the_packet_that_is_walked(
    cluster: LabRecord, target: str, options: dict[str, Any]
) -> None:
    """Mark, TTL, size and DF are those that were asked for."""
    with open_context(lab=cluster.name) as context:
        report = trace(context, Question(source="node-a", target=target, **options), with_probe=True)
    assert report.observed is not None
    first = report.observed.attempts[0].legs[0].hits[0].packet
    assert first is not None
    seen = {name: getattr(first, name) for name in options}
    assert seen == options
    assert report.agreement is not None
    assert report.agreement.differences == ()


def test_a_datagram_with_no_room_for_a_tag(cluster: LabRecord) -> None:
    """It is sent all the same, and said not to be watched."""
    with open_context(lab=cluster.name) as context:
        asked = Question(source="node-a", target="pod/default/hostnames-1:99/udp", size=31)
        report = trace(context, asked, with_probe=True)
    assert report.observed is not None
    assert [one.outcome for one in report.observed.attempts] == [Outcome.REFUSED]
    assert report.observed.watched == ()
    assert "31 bytes have no room" in report.observed.notes[0]


def test_a_neighbour_of_a_nodes_own_that_is_dead_agrees(cluster: LabRecord) -> None:
    """The node's own ICMP error comes to it over lo, still traced from its way out."""
    report = probed(cluster, "node-a", "ip/172.18.0.77:80")
    agreed(report, 15)
    assert report.observed is not None
    error = next(leg for leg in report.observed.attempts[0].legs if leg.kind == "error")
    assert {hit.hook for hit in error.hits} == {"output", "postrouting", "prerouting", "input"}


def test_two_probes_at_once_are_told_apart(cluster: LabRecord) -> None:
    """Each through the same tunnel at the same time: none is credited with a rule of the other's packets."""
    targets = ["svc/default/hostnames:80", "pod/default/hostnames-1:9376"]
    with ThreadPoolExecutor(4) as pool:
        wanted = [pool.submit(probed, cluster, "client-a", target, 3) for target in 4 * targets]
    for report in wanted:
        agreed(report.result(), 10)


def test_a_closed_udp_port_agrees(cluster: LabRecord) -> None:
    """The ICMP error that answers is recognised by what it quotes."""
    report = probed(cluster, "client-a", "pod/default/hostnames-1:99/udp")
    agreed(report, 20)
    assert report.observed is not None
    assert "error" in {leg.kind for leg in report.observed.attempts[0].legs}


@pytest.mark.parametrize(
    ("rule", "outcome", "verdict"),
    [
        ("-j DROP", Outcome.TIMEOUT, "drop"),
        ("-p tcp -j REJECT --reject-with tcp-reset", Outcome.REFUSED, "drop"),
    ],
)
def test_a_rule_that_drops_is_seen_to(cluster: LabRecord, rule: str, outcome: Outcome, verdict: str) -> None:
    """The last hit of a request that a rule ends is that rule, and the walk agrees."""
    inside(cluster, "node-a", f"iptables -I FORWARD 1 {rule}")
    try:
        report = probed(cluster, "internet", "node/node-a:30080")
    finally:
        inside(cluster, "node-a", f"iptables -D FORWARD {rule}")
    agreed(report, 5)
    assert report.observed is not None
    [attempt] = report.observed.attempts
    assert attempt.outcome is outcome
    last = attempt.legs[0].hits[-1]
    assert (last.netns, last.table, last.chain, last.rule, last.verdict) == (
        "node-a",
        "filter",
        "FORWARD",
        1,
        verdict,
    )


LEGACY = """*filter
:OURS - [0:0]
-A FORWARD -s 1.2.3.4 -j DROP
-A FORWARD -p tcp -m comment --comment "not -j DROP" -j OURS
-A OURS -p udp -j DROP
-A OURS -p tcp -m tcp --dport 9376
{rule}
COMMIT
*mangle
-A PREROUTING -p tcp -j TTL --ttl-set 50
COMMIT
"""


@pytest.fixture
def legacy(cluster: LabRecord) -> Iterator[Callable[[str], None]]:
    """Load iptables-legacy's rules into node-b, from which all tests here go; gone afterwards."""

    def load(rule: str) -> None:
        inside(cluster, "node-b", f"printf '%s' '{LEGACY.format(rule=rule)}' | iptables-legacy-restore")

    yield load
    inside(cluster, "node-b", "iptables-legacy -F && iptables-legacy -X && iptables-legacy -t mangle -F")


def logger(record: LabRecord, name: str) -> str:
    """Who logs packets of IPv4 there."""
    return inside(record, name, "cat /proc/sys/net/netfilter/nf_log/2").strip()


@pytest.mark.parametrize(
    ("rule", "outcome", "last"),
    [
        ("-A OURS -p tcp -j DROP", Outcome.TIMEOUT, ("OURS", 3, "drop")),
        ("-A OURS -j RETURN", Outcome.CONNECTED, ("FORWARD", 0, "policy accept")),
        ("-A FORWARD -j DROP", Outcome.TIMEOUT, ("FORWARD", 3, "drop")),
    ],
)
def test_rules_of_iptables_legacy_are_seen(
    cluster: LabRecord, legacy: Callable[[str], None], rule: str, outcome: Outcome, last: tuple[str, int, str]
) -> None:
    """In order, beside those of iptables-nft; and the sysctl that they are told by is as before."""
    legacy(rule)
    before = logger(cluster, "node-b")
    report = probed(cluster, "client-b", "pod/default/hostnames-1:9376")
    assert report.observed is not None
    assert report.observed.notes == ()
    assert report.observed.attempts[0].outcome is outcome
    hits = [hit for hit in report.observed.attempts[0].legs[0].hits if hit.backend == "legacy"]
    met = [(hit.table, hit.chain, hit.rule, hit.verdict) for hit in hits if hit.netns == "node-b"]
    assert met[0] == ("mangle", "PREROUTING", 1, "met")
    assert ("filter", "FORWARD", 2, "jump OURS") in met
    assert ("filter", "OURS", 2, "continue") in met
    assert ("filter", *last) in met
    assert logger(cluster, "node-b") == before


def test_another_binder_of_the_group_is_noticed(cluster: LabRecord, legacy: Callable[[str], None]) -> None:
    """Whoever has NFLOG group 0 keeps it; nothing is armed there, and a note says why."""
    legacy("-A OURS -j RETURN")
    journal = Path("/run/nettrace/journal")
    path = path_of(cluster, "node-b")
    held = in_netns(path, lambda: LegacyLog.open(4, path, journal))
    try:
        report = probed(cluster, "client-b", "pod/default/hostnames-1:9376")
    finally:
        in_netns(path, held.close)
    assert report.observed is not None
    assert "node-b" not in report.observed.watched
    assert any("node-b" in note and "NFLOG group 0" in note for note in report.observed.notes)
    assert report.observed.attempts[0].outcome is Outcome.CONNECTED


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("proto", "room"), [("tcp", 16), ("udp", 16), ("udp", 4), ("icmp", 8), ("sctp", 0)])
def test_nft_can_list_what_is_armed(netns: Bed, proto: str, room: int, version: int) -> None:
    """Whoever lists the rules during a probe sees them: nft 1.0.6 aborts at some that the kernel takes."""
    space = netns.new()
    ends = ("10.0.0.2", "10.0.0.1") if version == 4 else ("fd00::2", "fd00::1")
    port = PortRange(53, 53)
    reply = Packet(src=ends[0], dst=ends[1], proto="udp", sport=port, dport=EPHEMERAL)
    tags = fresh_tags(proto, 80, 2, room)
    path = f"/run/netns/{space.name}"
    with in_netns(path, lambda: arm(proto, version, tags, replies=[reply])):
        listed = space.run("nft", "list", "ruleset")
    assert listed.count("vmap @offending") == 8
    eventually(lambda: space.run("nft", "list", "ruleset") == "")


KILLED = """
import sys, time
from nettrace.observe.arming import arm
from nettrace.observe.listener import Listener
from nettrace.observe.legacy_log import LegacyLog
from nettrace.observe.tag import fresh_tags

tags = fresh_tags("tcp", 80, 3)
with Listener(dict(pair.split("=") for pair in sys.argv[1:]), lambda: arm("tcp", 4, tags)) as listener:
    print(*listener.watched, flush=True)
    time.sleep(60)
"""


def test_nothing_remains_of_a_watch_that_is_killed(cluster: LabRecord) -> None:
    """SIGKILL while all namespaces are armed: the kernel removes the tables."""
    names = ["internet", "node-a", "node-b"]
    arguments = [f"{name}={path_of(cluster, name)}" for name in names]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        watched = process.stdout.readline().decode().split()
        there = tables_of_ours(cluster)
        process.send_signal(signal.SIGKILL)
    assert set(there) == set(watched)
    assert "internet" in watched
    # The kernel closes a dead process's sockets after its parent is told.
    eventually(lambda: tables_of_ours(cluster) == [])


def test_a_watch_may_be_killed_at_any_time(cluster: LabRecord) -> None:
    """SIGKILL between the first socket and the last: nothing remains either."""
    names = ["internet", "node-b", "client-a"]
    arguments = [f"{name}={path_of(cluster, name)}" for name in names]
    seeded = random.Random(3)
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE) as process:
            time.sleep(seeded.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
        eventually(lambda: tables_of_ours(cluster) == [])
