"""Native nftables, IP sets and connections, read from the kernel."""

import pytest

from nettrace.collect.reader import Reader
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.observe.connect import connect
from tests.kernel.bed import Bed
from tests.kernel.rule_reading import KUBE, handle, known, read, snapshot


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
