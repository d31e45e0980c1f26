"""The guided check of kube-proxy: does it run, and which modes has the kernel?"""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.guide import CheckState
from nettrace.model.links import Link
from nettrace.model.nft import NftRuleset, NftTable
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind
from nettrace.model.snapshot import Process
from nettrace.model.sockets import Socket
from nettrace.model.walk import Outcome
from nettrace.model.xt import XtRuleset
from tests.diagnose.guided import (
    DENIED,
    Driver,
    case,
    check,
    connects,
    texts,
    with_kube,
    with_section,
    with_service,
)
from tests.diagnose.worlds import World, cluster

PASSED, PROBLEM, UNKNOWN, SKIPPED = (
    CheckState.PASSED,
    CheckState.PROBLEM,
    CheckState.UNKNOWN,
    CheckState.SKIPPED,
)
ALIVE = Known((Process(pid=42, name="flanneld"), Process(pid=77, name="kube-proxy")))
HEALTHZ = Known((Socket(proto="tcp", address="0.0.0.0", port=10256, state="listen"),))


def with_processes(world: World, section: Any, node: str = "node-a") -> World:
    """The world with these processes on a node."""
    return with_section(world, f"node:{node}", "processes", section)


def flushed(world: World | None = None) -> World:
    """The world without any rule of iptables on node-a."""
    return with_section(world or cluster(), "node-a", "xt/nft", Known(XtRuleset({})))


def test_its_process_and_mode() -> None:
    """The process is named, and the mode is what the kernel has."""
    found = check("kube-proxy", with_processes(cluster(), ALIVE))
    assert (found.state, found.conclusion) == (PASSED, "it runs; mode iptables (nft)")
    assert "kube-proxy, process 77" in texts(found)


def test_its_health_port_will_do() -> None:
    """A kube-proxy inside another program is known by who listens on its health port."""
    for processes in (Known(()), DENIED):
        world = with_section(with_processes(cluster(), processes), "node-a", "sockets", HEALTHZ)
        found = check("kube-proxy", world)
        assert (found.state, found.conclusion) == (PASSED, "it runs; mode iptables (nft)")


def test_no_process_and_its_rules() -> None:
    """Rules without a process are said to be so."""
    found = check("kube-proxy")
    assert found.conclusion == "no such process is seen, its rules are there; mode iptables (nft)"


@pytest.mark.parametrize("sockets", [Known(()), DENIED])
def test_whether_it_runs_is_not_guessed(sockets: Any) -> None:
    """Processes that were not read and a silent health port do not tell."""
    world = with_section(with_processes(cluster(), DENIED), "node-a", "sockets", sockets)
    found = check("kube-proxy", world)
    assert found.state is UNKNOWN
    assert "whether it runs is not known" in found.conclusion


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("xt/legacy", "iptables-legacy: needs root"),
        ("nft", "nftables: needs root"),
        ("links", "devices: needs root"),
    ],
)
def test_modes_that_were_not_read_are_not_ruled_out(name: str, words: str) -> None:
    """One mode is there; that it is the only one is not known where the others were not read."""
    found = check("kube-proxy", with_section(cluster(), "node-a", name, DENIED))
    assert found.state is UNKNOWN
    assert f"other modes are not ruled out: {words}" in found.conclusion
    assert not found.findings


def test_an_unread_table_is_not_an_empty_one() -> None:
    """A table nat that nobody could read is no sign of a dead kube-proxy."""
    for section in (DENIED, NOT_READ, Missing(MissingKind.UNSUPPORTED)):
        driver = Driver(
            with_section(cluster(), "node-a", "xt/nft", Known(XtRuleset({"nat": section}))),
            lambda lookup: None,
            lambda made, count: None,
        )
        found = driver.run("kube-proxy", case())
        assert found.state is UNKNOWN
        assert "its mode is not known: iptables-nft, table nat: " in found.conclusion
    assert check("kube-proxy", with_section(cluster(), "node-a", "xt/nft", DENIED)).state is UNKNOWN


def test_two_modes_are_one_too_many() -> None:
    """Rules of two modes are a leftover, those of both backends of iptables a cause of their own."""
    world = cluster()
    own = world.snapshot.namespaces["node-a"]
    twice = with_section(world, "node-a", "xt/legacy", own.xt_nft)
    found = check("kube-proxy", twice)
    assert (found.state, found.cause) == (PROBLEM, "iptables-legacy-nft-mix")
    assert "iptables (nft) and iptables (legacy)" in found.conclusion
    native = Known(NftRuleset(tables={"ip kube-proxy": NftTable(family="ip", name="kube-proxy")}))
    found = check("kube-proxy", with_section(world, "node-a", "nft", native))
    assert (found.state, found.cause) == (PROBLEM, "proxy-mode-switch-leftover")
    assert found.conclusion == "node-a has the rules of kube-proxy twice: iptables (nft) and nftables"
    assert isinstance(own.links, Known)
    dummy = Link(index=99, name="kube-ipvs0", kind="dummy", mac="02:00:00:00:00:99")
    found = check("kube-proxy", with_section(world, "node-a", "links", Known((*own.links.value, dummy))))
    assert "iptables (nft) and ipvs" in found.conclusion


def test_no_rules_and_no_process() -> None:
    """Nothing in any mode while Services need it: it does not run, and what is owed is the stop-gap."""
    found = check("kube-proxy", flushed())
    assert (found.state, found.cause) == (PROBLEM, "kubeproxy-not-running")
    assert found.conclusion.endswith("in any mode, and no kube-proxy runs on it")
    assert found.findings[0].alternatives
    assert found.findings[0].repairs[0].changes
    assert found.flow == ("pod/default/client-near", "svc/default/hostnames")


def test_no_rules_while_it_runs() -> None:
    """A kube-proxy that runs is not said to be dead: its rules were flushed."""
    found = check("kube-proxy", with_processes(flushed(), ALIVE))
    assert found.state is PROBLEM
    assert found.cause != "kubeproxy-not-running"


@pytest.mark.parametrize("processes", [Known(()), DENIED])
def test_a_table_of_nftables_that_is_gone(processes: Any) -> None:
    """Where kube-proxy is configured for nftables, it is its table that is missing."""
    proxy = cluster().snapshot.kube.proxy
    assert isinstance(proxy, Known)
    world = with_kube(flushed(), proxy=Known(replace(proxy.value, mode="nftables")))
    found = check("kube-proxy", with_processes(world, processes))
    assert (found.state, found.cause) == (PROBLEM, "nft-table-gone")
    assert "table ip kube-proxy" in found.conclusion


def test_half_of_the_tables_of_nftables() -> None:
    """A family that the Service has needs its table: the other one's is not enough."""
    native = Known(NftRuleset(tables={"ip6 kube-proxy": NftTable(family="ip6", name="kube-proxy")}))
    found = check("kube-proxy", with_section(flushed(), "node-a", "nft", native))
    assert (found.state, found.cause) == (PROBLEM, "nft-table-gone")


def test_no_rules_and_unknown_processes() -> None:
    """That it does not run is not said where nobody looked."""
    found = check("kube-proxy", with_processes(flushed(), DENIED))
    assert found.cause == "kubeproxy-not-running"
    assert "runs on it" not in found.conclusion


def test_somebody_else_translates() -> None:
    """A Service that works without kube-proxy's rules needs none: nobody is called dead."""
    found = check("kube-proxy", flushed(), connections=connects(Outcome.CONNECTED))
    assert found.state is UNKNOWN
    assert not found.findings


@pytest.mark.parametrize("fields", [{"headless": True, "cluster_ips": ()}, {"ports": ()}])
def test_a_service_that_needs_no_rules(fields: dict[str, Any]) -> None:
    """A Service for which nothing is owed proves nothing of kube-proxy."""
    found = check("kube-proxy", with_service(flushed(), **fields))
    assert (found.state, found.findings) == (UNKNOWN, ())
    assert "node-a has no rules of kube-proxy in any mode" in found.conclusion


def test_a_client_of_no_node() -> None:
    """There is no node to look at then; from outside every node is looked at."""
    given = case(client="internet", netns="internet", client_pod=None)
    assert check("kube-proxy", given=given).state is SKIPPED
    found = check("kube-proxy", given=replace(given, external=True))
    assert found.state is PASSED
    broken = check("kube-proxy", flushed(), replace(given, external=True))
    assert broken.cause == "kubeproxy-not-running"
    assert broken.flow == ("node/node-a", "svc/default/hostnames")
