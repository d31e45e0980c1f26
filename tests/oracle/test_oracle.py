"""The oracle in short: random states and packets without a disagreement, and planted bugs that are found."""

import os

import pytest

from tests.oracle.bugs import MOST, hunted
from tests.oracle.case import Case, Probe, State
from tests.oracle.planted import PLANTED
from tests.oracle.planting import Bug, holder, planted
from tests.oracle.run import bench
from tests.oracle.search import run_chunk
from tests.oracle.shrink import as_test, shrink

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: One seed for each network; `make oracle` runs as many as are asked for.
SEED = 103
#: Of the planted bugs these run in each test run; all of them by `make oracle-bugs`.
SHORT = ("policies are ignored", "answers are not translated back", "br_netfilter is ignored")


@needs_root
@pytest.mark.parametrize("topology", ["router", "two-ways", "pods", "vxlan", "router-6"])
def test_the_walk_agrees_with_the_kernel(topology: str) -> None:
    """On random states the kernel does with random packets what the walk says."""
    report = run_chunk(SEED, topology, 60)
    assert report.pairs == 60
    assert not report.found, "\n".join(as_test(Case.of(small or whole)) for whole, small, _ in report.found)
    assert report.agreed > 40


@needs_root
def test_what_differs_for_one_draw_is_not_tried_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair that differs is tried again until the kernel draws the same: the other draw agrees."""
    drawn = "numgen random mod 2 map { 0 : 10.244.1.1, 1 : 10.244.1.2 }"
    chain = "{ type nat hook output priority -100; }"
    lines = (
        "add table ip t",
        f"add chain ip t c {chain}",
        f"add rule ip t c ip protocol tcp dnat to {drawn}",
    )
    state = State(
        topology="pods",
        rules=(("node", "nft -f -", "\n".join(lines)),),
        commands=(("node", "ip link set veth2 mtu 640", "ip link set veth2 mtu 1500"),),
    )
    probe = Probe(source="node", dst="192.168.50.11", proto="tcp", dport=9376, sport=18111, talk=True)
    monkeypatch.setattr("nettrace.walk.send._forgets_mtu", lambda *_: False)  # wrong for 10.244.1.2 alone
    with bench("pods") as one:
        one.enter(state)
        try:
            assert any(one.pair(probe).judgement.agrees is False for _ in range(12))
        finally:
            one.leave()


@needs_root
@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug.name in SHORT], ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    """A walk that makes a mistake disagrees with the kernel within 2,000 pairs."""
    pairs, found = hunted(bug)
    assert found
    assert pairs <= MOST


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_bug_is_planted_and_taken_out(bug: Bug) -> None:
    """What a bug patches is there, is another while it is planted, and is the same again afterwards."""
    before = [getattr(*holder(path)) for path in bug.patched]
    with planted(bug):
        assert all(getattr(*holder(path)) is not old for path, old in zip(bug.patched, before, strict=True))
    assert [getattr(*holder(path)) for path in bug.patched] == before


def test_a_case_is_written_and_read() -> None:
    """A case as text is the same case again, and as a test it names what it is about."""
    state = State(
        topology="router", rules=(("r", "iptables-restore", "*filter\n-A INPUT -j DROP\nCOMMIT\n"),)
    )
    case = Case(state=state, probe=Probe(source="client", dst="10.2.0.2", proto="udp", dport=7, sport=1500))
    assert Case.of(case.text()) == case
    assert "-A INPUT -j DROP" in as_test(case)


def test_shrinking_keeps_what_matters() -> None:
    """What does not matter for the difference is left out."""
    rules = "*filter\n-A INPUT -j ACCEPT\n-A INPUT -p udp -m mark --mark 1 -j DROP\n-A INPUT\nCOMMIT\n"
    state = State(
        topology="router",
        rules=(("r", "iptables-restore", rules), ("server", "iptables-restore", "*filter\nCOMMIT\n")),
        sysctls=(("r", "net.ipv4.ip_forward", "0"),),
        commands=(("r", "true", "true"),),
    )
    case = Case(
        state=state, probe=Probe(source="client", dst="10.2.0.2", proto="udp", dport=7, tos=16, mark=2)
    )
    small = shrink(case, lambda one: any("-j DROP" in text for _, _, text in one.state.rules))
    assert small.state.rules == (("r", "iptables-restore", "*filter\n-A INPUT -p udp -j DROP\nCOMMIT\n"),)
    assert (small.state.sysctls, small.state.commands) == ((), ())
    assert (small.probe.tos, small.probe.mark) == (0, 0)
