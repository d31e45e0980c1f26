"""Reading rule sets, sets and connections: against iptables-save and nft, and without leaving anything."""

import os
import stat
import sys
from pathlib import Path

import pytest

from nettrace.collect.reader import Reader
from nettrace.model.nft import NftRuleset
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.observe.connect import connect
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed
from tests.kernel.rule_reading import KUBE, handle, known, read, rules, snapshot


def test_listing_creates_nothing(netns: Bed) -> None:
    """Every section of an empty namespace is read without making a table, in either back end."""
    a = netns.new("a")
    with Reader([handle(a)]) as reader:
        found = reader.read_all(reader.skeleton()).namespaces[a.name]
    assert found.xt_nft == Known(XtRuleset({}))
    assert found.xt_legacy == Known(XtRuleset({}))
    assert (found.nft, found.ipsets, found.conntrack) == (Known(NftRuleset()), Known(()), Known(()))
    assert a.run("nft", "list", "tables") == ""
    assert a.run("cat", "/proc/net/ip_tables_names") == ""
    assert a.run("ipset", "list", "-n") == ""


def test_an_empty_namespace_needs_no_tools(netns: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rules there is nothing to say about a missing iptables."""
    a = netns.new("a")
    monkeypatch.setenv("PATH", "/nonexistent")
    found = read(a, "xt/nft", "xt/nft/nat/PREROUTING", "xt/legacy", "ipsets")
    assert found.xt_nft == Known(XtRuleset({}))
    assert found.ipsets == Known(())


def test_the_listing_names_chains_without_reading_them(netns: Bed) -> None:
    """Tables, chains and policies come from the kernel; chains with rules wait until they are asked for."""
    a = netns.new("a")
    a.run("iptables-nft-restore", stdin=KUBE)
    ruleset = known(read(a, "xt/nft").xt_nft)
    assert set(ruleset.tables) == {"nat", "filter"}
    nat = known(ruleset.tables["nat"]).chains
    assert set(nat) == {
        *("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        *("KUBE-SERVICES", "KUBE-SVC-A", "KUBE-EMPTY"),
    }
    assert nat["KUBE-SERVICES"] == NOT_READ
    assert known(nat["INPUT"]).rules == ()
    assert known(nat["INPUT"]).policy == "ACCEPT"
    assert known(nat["KUBE-EMPTY"]) == XtChain(counters=())
    assert known(ruleset.tables["filter"]).chains["FORWARD"] == NOT_READ


def test_chains_on_demand_equal_iptables_save(netns: Bed) -> None:
    """A chain that is asked for comes as iptables-save prints it, and no other is read with it."""
    a = netns.new("a")
    a.run("iptables-nft-restore", stdin=KUBE)
    expected = rules(parse_save(a.run("iptables-nft-save")))
    found = snapshot(a, "xt/nft/nat/KUBE-SVC-A", "xt/nft/filter/FORWARD")
    for table, chain in (("nat", "KUBE-SVC-A"), ("filter", "FORWARD")):
        section = known(found.section(SectionKey(a.name, f"xt/nft/{table}/{chain}")))
        assert (section.policy, section.rules) == expected[table, chain]
        assert section.counters is not None
    assert found.section(SectionKey(a.name, "xt/nft/nat/KUBE-SERVICES")) == NOT_READ
    assert found.section(SectionKey(a.name, "xt/nft/nat/NO-SUCH")) == Known(None)
    assert found.section(SectionKey(a.name, "xt/nft/mangle/PREROUTING")) == Known(None)


def test_everything_equals_iptables_save(netns: Bed) -> None:
    """All chains of all tables of both back ends are those that the save tools print."""
    a = netns.new("a")
    a.run("iptables-nft-restore", stdin=KUBE)
    a.run("iptables-legacy", "-A", "INPUT", "-s", "10.9.0.0/16", "-j", "DROP")
    with Reader([handle(a)]) as reader:
        found = reader.read_all(reader.skeleton()).namespaces[a.name]
    shown = rules(parse_save(a.run("iptables-nft-save")))
    # the two that do not exist, and that iptables-nft-save prints all the same
    assert shown.pop(("filter", "INPUT")) == shown.pop(("filter", "OUTPUT")) == ("ACCEPT", ())
    assert rules(known(found.xt_nft)) == shown
    assert rules(known(found.xt_legacy)) == rules(parse_save(a.run("iptables-legacy-save")))
    assert set(known(found.xt_legacy).tables) == {"filter"}
    assert a.run("cat", "/proc/net/ip_tables_names").split() == ["filter"]


def test_counters_are_read(netns: Bed) -> None:
    """Packets that hit a rule show in the chain's counters."""
    a = netns.new("a")
    a.run("iptables-nft", "-A", "OUTPUT", "-d", "127.0.0.9", "-j", "ACCEPT")
    connect(a.path, None, "127.0.0.9", None, "icmp", count=2)
    chain = known(known(known(read(a, "xt/nft/filter/OUTPUT").xt_nft).tables["filter"]).chains["OUTPUT"])
    assert chain.counters[0].packets == 2
    assert chain.policy_counters is not None


def test_a_chain_that_went_away_is_gone(netns: Bed) -> None:
    """A chain that was listed and deleted before it was read is not there, and not an error."""
    a = netns.new("a")
    a.run("iptables-nft-restore", stdin=KUBE)
    with Reader([handle(a)]) as reader:
        found = reader.read([SectionKey(a.name, "xt/nft")], reader.skeleton())
        a.run("iptables-nft", "-t", "nat", "-F")
        a.run("iptables-nft", "-t", "nat", "-X", "KUBE-SVC-A")
        key = SectionKey(a.name, "xt/nft/nat/KUBE-SVC-A")
        assert reader.read([key], found).section(key) == Known(None)


def test_no_iptables_binary(netns: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are rules and no tool to print them, they are unsupported, not absent."""
    a = netns.new("a")
    a.run("iptables-nft-restore", stdin=KUBE)
    monkeypatch.setenv("PATH", "/nonexistent")
    found = snapshot(a, "xt/nft/nat/KUBE-SVC-A", "links")
    section = found.section(SectionKey(a.name, "xt/nft/nat/KUBE-SVC-A"))
    assert isinstance(section, Missing)
    assert section.kind is MissingKind.UNSUPPORTED
    assert "iptables is not installed" in section.reason
    assert known(found.namespaces[a.name].links)


def test_a_tool_that_breaks_off_is_a_reason(
    netns: Bed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What iptables says when it fails stands in the section."""
    a = netns.new("a")
    a.run("iptables-nft-restore", stdin=KUBE)
    fake = tmp_path / "iptables-nft"
    fake.write_text("#!/bin/sh\necho 'iptables: the moon is full' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    section = snapshot(a, "xt/nft/nat/KUBE-SVC-A").section(SectionKey(a.name, "xt/nft/nat/KUBE-SVC-A"))
    assert section == Missing(MissingKind.FAILED, "iptables: the moon is full")


def test_no_privilege(netns: Bed) -> None:
    """Without privilege every section of another namespace is DENIED, and nothing is a traceback."""
    a = netns.new("a")
    code = f"""
import os
from nettrace.collect.discover import Handle, discover
from nettrace.collect.reader import Reader
os.setresgid(65534, 65534, 65534); os.setgroups([]); os.setresuid(65534, 65534, 65534)
from nettrace.collect.batch import EVERYTHING
from nettrace.model.section import SectionKey
handle = next(one for one in discover() if one.name == {a.name!r})
with Reader([handle]) as reader:
    found = reader.read_all(reader.skeleton()).namespaces[handle.name]
for name in (one for one in EVERYTHING if not one.endswith("*")):
    section = getattr(found, name.replace("/", "_"))
    assert section.kind == "denied", (name, section)
    assert "CAP_SYS_ADMIN" in section.reason, section
print("all denied")
"""
    netns_free = netns.new("host")  # the child sees an empty machine, not this one
    assert "all denied" in netns_free.run(sys.executable, "-c", code)


def test_no_privilege_at_home(netns: Bed) -> None:
    """Without privilege the process's own namespace shows devices and routes, and denies rules."""
    a = netns.new("a")
    netns.stub(a, "v0", "10.1.0.1/24")
    a.run("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
    code = """
import os
import pyroute2  # while this user may still read the environment
from nettrace.collect.discover import discover
from nettrace.collect.reader import Reader
os.setresgid(65534, 65534, 65534); os.setgroups([]); os.setresuid(65534, 65534, 65534)
own = discover()[0]
with Reader([own]) as reader:
    found = reader.read_all(reader.skeleton()).namespaces[own.name]
assert [link.name for link in found.links.value][0] == "lo"
assert any(route.dst == "10.1.0.0/24" for route in found.routes.value)
assert found.sysctls.value["net.ipv4.ip_forward"] == "0"
assert found.sockets.value == ()
for name in ("xt_nft", "xt_legacy", "nft", "ipsets"):
    section = getattr(found, name)
    assert section.kind == "denied", (name, section)
print("own read")
"""
    assert "own read" in a.run(sys.executable, "-c", code)
