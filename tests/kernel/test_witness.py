"""
A drop of each kind in a cluster: the step, the kernel's reason and what the client sees are those of the walk.

Every case breaks the lab by a command, traces with a probe, and takes the command back.
"""

import os
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from nettrace.app.context import open_context
from nettrace.app.remember import Question
from nettrace.app.trace import trace
from nettrace.model.lab import LabRecord
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.kernel.labs import a_lab, path_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

POD_B = "pod/default/hostnames-1:9376"  # on node-b
POD_A = "pod/default/hostnames-0:9376"  # on node-a, as client-a


class Case(NamedTuple):
    """One way to lose a packet, by commands on node-a, and what has to be said of it."""

    inject: str
    undo: str
    target: str
    verdict: Verdict
    stage: Stage
    outcome: Outcome
    errno: str | None = None
    reason: str = ""  # the kernel's, "" where nothing is dropped
    where: str = "node-a"
    source: str = "client-a"
    before: str = "true"  # in the source's namespace
    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)


CASES = {
    "nftables": Case(
        "nft 'add table inet w; add chain inet w f { type filter hook forward priority -5; };"
        " add rule inet w f meta l4proto tcp counter drop'",
        "nft delete table inet w",
        POD_B,
        Verdict.DROPPED_BY_RULE,
        Stage.HOOK,
        Outcome.TIMEOUT,
        reason="NETFILTER_DROP",
    ),
    "iptables-nft": Case(
        "iptables-nft -I FORWARD 1 -p tcp -j DROP",
        "iptables-nft -D FORWARD 1",
        POD_B,
        Verdict.DROPPED_BY_RULE,
        Stage.HOOK,
        Outcome.TIMEOUT,
        reason="NETFILTER_DROP",
    ),
    "iptables-legacy": Case(
        "iptables-legacy -t raw -A PREROUTING -p tcp --dport 9376 -j DROP",
        "iptables-legacy -t raw -F",
        POD_B,
        Verdict.DROPPED_BY_RULE,
        Stage.HOOK,
        Outcome.TIMEOUT,
        reason="NETFILTER_DROP",
    ),
    "bridge-family-nft": Case(
        "nft 'add table bridge w; add chain bridge w f { type filter hook forward priority -200; };"
        " add rule bridge w f ip protocol tcp drop'",
        "nft delete table bridge w",
        POD_A,
        Verdict.DROPPED_BY_RULE,
        Stage.HOOK,
        Outcome.TIMEOUT,
        reason="NETFILTER_DROP",
    ),
    "rp-filter": Case(
        "sysctl -qw net.ipv4.conf.cni0.rp_filter=1; ip rule add pref 6 to $CLIENT lookup 77;"
        " ip route add $CLIENT dev eth0 table 77",
        "sysctl -qw net.ipv4.conf.cni0.rp_filter=0; ip rule del pref 6; ip route flush table 77",
        POD_B,
        Verdict.REVERSE_PATH_FILTERED,
        Stage.ROUTE,
        Outcome.TIMEOUT,
        reason="IP_RPFILTER",
    ),
    "no-route": Case(
        "ip route del $ROUTE_B; ip route del $DEFAULT",
        "ip route add $ROUTE_B; ip route add $DEFAULT",
        POD_B,
        Verdict.NO_ROUTE,
        Stage.ROUTE,
        Outcome.UNREACHABLE,
        "ENETUNREACH",
        "IP_INNOROUTES",
    ),
    "forwarding-off": Case(
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        POD_B,
        Verdict.NOT_FORWARDED,
        Stage.ROUTE,
        Outcome.TIMEOUT,
        reason="IP_INADDRERRORS",
    ),
    "ttl": Case(
        "true",
        "true",
        POD_B,
        Verdict.TTL_EXCEEDED,
        Stage.FORWARD,
        Outcome.UNREACHABLE,
        "EHOSTUNREACH",
        "IP_INHDR",
        options={"ttl": 1},
    ),
    "df-and-mtu": Case(
        "ip route replace $ROUTE_B mtu 900",
        "ip route replace $ROUTE_B",
        POD_B + "/udp",
        Verdict.TOO_BIG,
        Stage.FORWARD,
        Outcome.UNREACHABLE,
        "EMSGSIZE",
        "PKT_TOO_BIG",
        options={"size": 1200},
    ),
    "failed-neighbour": Case(
        "true",
        "true",
        "ip/10.244.1.200:80",
        Verdict.NEIGHBOUR_FAILED,
        Stage.NEIGHBOUR,
        Outcome.UNREACHABLE,
        "EHOSTUNREACH",
        "NEIGH_FAILED",
        source="node-a",
    ),
    "missing-fdb": Case(
        "bridge fdb del $MAC_B dev flannel.1 dst 172.18.0.12",
        "bridge fdb add $MAC_B dev flannel.1 dst 172.18.0.12",
        POD_B,
        Verdict.NO_TUNNEL_DESTINATION,
        Stage.TUNNEL,
        Outcome.TIMEOUT,
        reason="NO_TX_TARGET",
    ),
    "no-listener": Case(
        "true",
        "true",
        "pod/default/hostnames-1:9999",
        Verdict.NOT_LISTENING,
        Stage.DELIVER,
        Outcome.REFUSED,
        "ECONNREFUSED",
        "NO_SOCKET",
        where="hostnames-1",
    ),
    "isolated-port": Case(
        "for port in $PORTS; do bridge link set dev $port isolated on; done",
        "for port in $PORTS; do bridge link set dev $port isolated off; done",
        POD_A,
        Verdict.BRIDGE_DROPPED,
        Stage.BRIDGE,
        Outcome.TIMEOUT,
        reason="NOT_SPECIFIED",
        before="bash -c 'exec 3<>/dev/tcp/$POD_A/9376'",  # neighbour and bridge know both
    ),
    "isolated-port-neighbour-unknown": Case(
        "for port in $PORTS; do bridge link set dev $port isolated on; done",
        "for port in $PORTS; do bridge link set dev $port isolated off; done",
        POD_A,
        Verdict.NEIGHBOUR_FAILED,
        Stage.NEIGHBOUR,
        Outcome.UNREACHABLE,
        "EHOSTUNREACH",
        "NEIGH_FAILED",
        where="client-a",
        before="ip neigh flush dev eth0",
    ),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabRecord]:
    """One cluster; every case leaves it as it was."""
    with a_lab("flannel-vxlan") as record:
        yield record


def inside(record: LabRecord, name: str, line: str) -> str:
    """Run a command line in a namespace of the lab."""
    done = subprocess.run(
        ["nsenter", f"--net={path_of(record, name)}", "sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def names(cluster: LabRecord) -> dict[str, str]:
    """What the commands call things by."""
    route = inside(cluster, "node-a", "ip route show 10.244.2.0/24").strip()
    ports = inside(cluster, "node-a", "ip -br link show master cni0").splitlines()
    client = inside(cluster, "client-a", "ip -br -4 addr show eth0").split()[2].split("/")[0]
    pod = inside(cluster, "hostnames-0", "ip -br -4 addr show eth0").split()[2].split("/")[0]
    return {
        "$ROUTE_B": route,
        "$DEFAULT": inside(cluster, "node-a", "ip route show default").strip(),
        "$CLIENT": client,
        "$POD_A": pod,
        "$PORTS": " ".join(line.split("@")[0] for line in ports),
        "$MAC_B": inside(cluster, "node-b", "ip -br link show flannel.1").split()[2],
    }


@pytest.mark.parametrize("name", CASES)
def test_a_drop_is_the_kernels(cluster: LabRecord, names: dict[str, str], name: str) -> None:
    """Where, why, and what the client is told: walk and kernel say the same."""
    case = CASES[name]

    def filled(line: str) -> str:
        for word, value in names.items():
            line = line.replace(word, value)
        return line

    inside(cluster, case.source, filled(case.before))
    inside(cluster, "node-a", filled(case.inject))
    try:
        with open_context(lab=cluster.name) as context:
            question = Question(source=case.source, target=case.target, **case.options)
            report = trace(context, question, with_probe=True)
    finally:
        inside(cluster, "node-a", filled(case.undo))
    walk, observed, agreement = report.walk, report.observed, report.agreement
    assert walk.verdict is case.verdict, [path.reason for path in walk.paths]
    for path in walk.paths:
        assert (path.outcome, path.errno) == (case.outcome, case.errno)
        step = path.request.last
        assert step is not None
        assert (step.netns, step.stage, step.stops) == (case.where, case.stage, True)
    assert observed is not None
    assert agreement is not None
    [attempt] = observed.attempts
    assert (attempt.outcome, attempt.errno) == (case.outcome, case.errno)
    assert observed.notes == ()
    assert agreement.differences == ()
    assert agreement.agrees is True
    dropped = [(drop.netns, drop.reason) for drop in attempt.drops if drop.leg == "request"]
    assert (case.where, case.reason) in dropped
    [comparison] = agreement.comparisons
    assert comparison.agreed == comparison.compared > 3
    if case.stage is Stage.HOOK:
        failing = walk.paths[0].request.last
        assert failing is not None
        hits = next(leg for leg in attempt.legs if leg.kind == "request").hits
        backend = "legacy" if failing.backend == "legacy" else "nft"
        last = [hit for hit in hits if hit.backend == backend][-1]
        assert (last.netns, last.table, last.chain, last.rule, last.verdict) == (
            case.where,
            (failing.table or "").split()[-1],
            failing.chain,
            failing.rule,
            "drop",
        )
