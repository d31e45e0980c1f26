"""Reading rule sets, sets and connections: against iptables-save and nft, and without leaving anything."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.nft import NftRuleset
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.observe.connect import connect
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed, Space

KUBE = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-EMPTY - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SVC-A -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.7:80
-A KUBE-SVC-A -p tcp -j DNAT --to-destination 10.1.0.8:80
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


def handle(space: Space) -> Handle:
    """A handle to a space under its own name."""
    return Handle(name=space.name, path=space.path, inode=space.inode, netns=space.name)


def snapshot(space: Space, *names: str) -> Snapshot:
    """A snapshot of one namespace with these sections read."""
    with Reader([handle(space)]) as reader:
        return reader.read([SectionKey(space.name, name) for name in names], reader.skeleton())


def read(space: Space, *names: str) -> Netns:
    """One namespace with these sections read."""
    return snapshot(space, *names).namespaces[space.name]


def known(section: Any) -> Any:
    """The value of a section that has to be known."""
    assert isinstance(section, Known), section
    return section.value


def rules(ruleset: XtRuleset) -> dict[tuple[str, str], tuple[Any, ...]]:
    """(table, chain) -> policy and rules, without counters."""
    return {
        (table, chain): (known(section).policy, known(section).rules)
        for table, holder in ruleset.tables.items()
        for chain, section in known(holder).chains.items()
    }


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


def test_native_rules_in_a_table_of_iptables(netns: Bed) -> None:
    """A rule that iptables cannot print makes its chain unsupported, with the command that can."""
    a = netns.new("a")
    a.run("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
    a.run("nft", "add rule ip filter FORWARD numgen random mod 2 0 drop")
    with pytest.raises(AssertionError, match="incompatible"):
        a.run("iptables-nft", "-S", "FORWARD")
    section = snapshot(a, "xt/nft/filter/FORWARD").section(SectionKey(a.name, "xt/nft/filter/FORWARD"))
    assert isinstance(section, Missing)
    assert section.kind is MissingKind.UNSUPPORTED
    assert "nft list table ip filter" in section.reason
    with Reader([handle(a)]) as reader:
        found = reader.read_all(reader.skeleton())
    assert found.section(SectionKey(a.name, "xt/nft/filter/FORWARD")) == section


def test_native_base_chains(netns: Bed) -> None:
    """Native tables show where they hook and whether they are empty; iptables' own do not."""
    a, b = netns.new("a"), netns.new("b")
    netns.veth(a, "v0", b, "eth0")
    a.run("iptables-nft-restore", stdin=KUBE)
    a.run("ip6tables-nft", "-A", "FORWARD", "-j", "DROP")
    a.run(
        "nft",
        "-f",
        "-",
        stdin="""
        table inet mine {
          chain pre { type filter hook prerouting priority -350; policy accept; }
          chain last { type filter hook forward priority 5; policy drop; }
          chain helper { tcp dport 80 accept; }
        }
        table ip nat2 {
          chain post { type nat hook postrouting priority 100; masquerade; }
        }
        table netdev edge {
          chain in { type filter hook ingress device "v0" priority 0; drop; }
        }
        table bridge br {
          chain out { type filter hook output priority 0; }
        }
        table ip off {
          flags dormant;
          chain in { type filter hook input priority 0; drop; }
        }
        table inet nettrace_probe {
          chain pre { type filter hook prerouting priority -350; accept; }
        }
        """,
    )
    tables = known(read(a, "nft").nft).tables
    found = {
        (*key.split(), name): chain
        for key, table in tables.items()
        if not table.dormant
        for name, chain in table.chains.items()
        if chain.base is not None
    }
    assert set(found) == {
        ("inet", "mine", "pre"),
        ("inet", "mine", "last"),
        ("ip", "nat2", "post"),
        ("netdev", "edge", "in"),
        ("bridge", "br", "out"),
    }
    assert set(tables) == {"inet mine", "ip nat2", "netdev edge", "bridge br", "ip off"}
    assert tables["inet mine"].chains["helper"].base is None
    assert {key for key, chain in found.items() if chain.rules == Known(())} == {
        ("inet", "mine", "pre"),
        ("inet", "mine", "last"),
        ("bridge", "br", "out"),
    }
    assert all(chain.rules in (Known(()), NOT_READ) for chain in found.values())
    forward = found["inet", "mine", "last"].base
    assert (forward.type, forward.hook, forward.priority, forward.policy) == ("filter", "forward", 5, "drop")
    assert found["inet", "mine", "pre"].base.priority == -350
    assert found["ip", "nat2", "post"].base.type == "nat"
    assert (found["netdev", "edge", "in"].base.devices, found["netdev", "edge", "in"].base.hook) == (
        ("v0",),
        "ingress",
    )
    assert set(known(read(a, "xt/nft").xt_nft).tables) == {"nat", "filter"}


def test_a_native_table_with_a_name_of_iptables(netns: Bed) -> None:
    """A table called nat whose base chain iptables would not have made is native, and not iptables'."""
    a = netns.new("a")
    a.run("nft", "add table ip nat")
    a.run("nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }")
    found = read(a, "nft", "xt/nft")
    assert list(known(found.nft).tables["ip nat"].chains) == ["post"]
    assert known(found.xt_nft).tables == {}


def test_an_owned_table_names_its_owner(netns: Bed) -> None:
    """A table that a process owns says so."""
    a = netns.new("a")
    code = (
        "import ctypes,time; nft=ctypes.CDLL('libnftables.so.1'); nft.nft_ctx_new.restype=ctypes.c_void_p;"
        "c=ctypes.c_void_p(nft.nft_ctx_new(0));"
        "print(nft.nft_run_cmd_from_buffer(c, b'table ip held { flags owner; chain x "
        "{ type filter hook input priority 0; }\\n}'), flush=True); time.sleep(60)"
    )
    a.python(code)
    assert known(read(a, "nft").nft).tables["ip held"].owner


def test_ipsets(netns: Bed) -> None:
    """Sets come with type, family and members."""
    a = netns.new("a")
    a.run("ipset", "create", "nets", "hash:net")
    a.run("ipset", "add", "nets", "10.1.0.0/16")
    a.run("ipset", "create", "six", "hash:ip", "family", "inet6")
    sets = {one.name: one for one in known(read(a, "ipsets").ipsets)}
    assert (sets["nets"].type, sets["nets"].family, sets["nets"].members) == ("hash:net", 4, ("10.1.0.0/16",))
    assert (sets["six"].family, sets["six"].members) == (6, ())


def test_sets_without_the_tool(netns: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sets exist and ipset is missing, they are unsupported, not absent."""
    a = netns.new("a")
    a.run("ipset", "create", "nets", "hash:net")
    monkeypatch.setenv("PATH", "/nonexistent")
    section = read(a, "ipsets").ipsets
    assert isinstance(section, Missing)
    assert section.kind is MissingKind.UNSUPPORTED


ECHO = """
import socket, threading
tcp = socket.create_server(("0.0.0.0", 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("0.0.0.0", 53))
print("ready", flush=True)
def serve():
    while True:
        _, peer = udp.recvfrom(99); udp.sendto(b"x", peer)
threading.Thread(target=serve, daemon=True).start()
kept = [tcp.accept()]
threading.Event().wait()
"""

TALK = """
import socket, threading
tcp = socket.create_connection(("10.1.0.9", 8080))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.sendto(b"x", ("10.1.0.2", 53)); udp.recv(9)
print("ready", flush=True)
threading.Event().wait()
"""


def test_conntrack(netns: Bed) -> None:
    """Entries show both directions with the NAT between them, state, status and mark."""
    a, b = netns.new("a"), netns.new("b")
    netns.veth(a, "v0", b, "eth0")
    a.address("v0", "10.1.0.1/24")
    b.address("eth0", "10.1.0.2/24")
    a.run(
        "iptables-nft",
        "-t",
        "nat",
        "-A",
        "OUTPUT",
        "-d",
        "10.1.0.9",
        "-p",
        "tcp",
        "-j",
        "DNAT",
        "--to",
        "10.1.0.2:80",
    )
    a.run("iptables-nft", "-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "-j", "CONNMARK", "--set-mark", "7")
    b.python(ECHO)
    a.python(TALK)
    connect(a.path, None, "10.1.0.2", None, "icmp")
    entries = {entry.proto: entry for entry in known(read(a, "conntrack").conntrack)}
    tcp = entries["tcp"]
    assert (tcp.original.dst, tcp.original.dport) == ("10.1.0.9", 8080)
    assert (tcp.reply.src, tcp.reply.sport, tcp.reply.dst) == ("10.1.0.2", 80, "10.1.0.1")
    assert tcp.reply.dport == tcp.original.sport
    assert tcp.state == "established"
    assert {"seen_reply", "assured", "confirmed", "dst_nat"} <= tcp.status
    assert tcp.mark == 7
    assert entries["udp"].original.dport == 53
    assert entries["udp"].timeout is not None
    assert entries["icmp"].original.icmp_type == 8
    assert entries["icmp"].reply.icmp_type == 0
    assert entries["icmp"].original.icmp_id == entries["icmp"].reply.icmp_id
    assert len(known(read(a, "conntrack").conntrack)) == len(a.run("conntrack", "-L").splitlines())


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
