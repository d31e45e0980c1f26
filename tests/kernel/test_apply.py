"""Each change in a real namespace: the model says what the kernel does, the undo restores, sh agrees."""

import json
import socket
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.apply.kernel import apply_change
from nettrace.apply.tool import Refused
from nettrace.collect.netns import in_netns
from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    Exact,
    FdbAdd,
    FdbDelete,
    IpsetCreate,
    IpsetDestroy,
    IpsetEntryAdd,
    IpsetEntryDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    NoUndo,
    PolicySet,
    Rebuilds,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.ipset import IpSet
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known
from nettrace.model.undo import undo_of
from nettrace.parse.iptables import parse_rule
from nettrace.render.command import Argv, command
from tests.kernel.bed import Bed
from tests.kernel.changing import DNAT, DROP, JUMP, MASQ, Node


def xt(kind: type, backend: str, table: str, chain: str, **fields: Any) -> Any:
    """A change of a rule set, of a namespace still to be named."""
    return kind(netns="", backend=backend, table=table, chain=chain, **fields)


XT = [
    xt(RuleInsert, "nft", "filter", "FORWARD", position=3, rule=DROP),
    xt(RuleInsert, "nft", "filter", "FORWARD", position=5, rule=JUMP),
    xt(RuleInsert, "legacy", "filter", "INPUT", position=1, rule=DROP),
    xt(RuleInsert, "nft", "nat", "POSTROUTING", position=1, rule=MASQ),
    xt(RuleInsert, "legacy", "nat", "PREROUTING", position=1, rule=DNAT),
    xt(RuleDelete, "nft", "filter", "FORWARD", position=4, rule=DROP),
    xt(RuleDelete, "legacy", "filter", "FORWARD", position=2, rule=DROP),
    xt(RuleReplace, "nft", "filter", "FORWARD", position=2, old=DROP, rule=JUMP),
    xt(RuleReplace, "legacy", "filter", "FORWARD", position=2, old=DROP, rule=JUMP),
    xt(PolicySet, "nft", "filter", "FORWARD", policy="DROP"),
    xt(PolicySet, "legacy", "filter", "INPUT", policy="DROP"),
    xt(ChainSet, "nft", "filter", "SPARE", rules=(DROP, DROP)),
    xt(ChainSet, "legacy", "filter", "NEW", rules=(DROP, parse_rule('-m comment --comment "a b"'))),
    xt(ChainSet, "nft", "nat", "KUBE-SVC-X", rules=(DNAT, MASQ)),
    xt(ChainDelete, "nft", "filter", "SPARE"),
    xt(ChainDelete, "legacy", "filter", "SPARE"),
]


def sysctl(name: str, value: str) -> SysctlSet:
    """A write, in a namespace still to be named."""
    return SysctlSet(netns="", name=name, value=value)


def link(device: str, attribute: str, value: str) -> LinkSet:
    """A change of a device, in a namespace still to be named."""
    return LinkSet(netns="", device=device, attribute=attribute, value=value)


STATIC = Route(dst="10.50.0.0/16", nexthops=(NextHop(device="br0", via="10.1.0.2"),), protocol="static")
METRICS = Route(
    dst="10.51.0.0/16",
    nexthops=(NextHop(device="br0"),),
    prefsrc="10.1.0.9",
    metric=7,
    mtu=1400,
    scope="link",
    more=("advmss", "1360"),
)
SEVERAL = Route(
    dst="10.52.0.0/16",
    nexthops=(NextHop(device="br0", via="10.1.0.2", weight=2), NextHop(device="v1", via="10.2.0.2")),
)
OVERLAY = Route(dst="10.244.2.0/24", nexthops=(NextHop(device="flannel.1", via="10.244.2.0", onlink=True),))
REMOTE = FdbEntry(device="flannel.1", mac="02:00:00:00:01:01", dst="10.2.0.2", permanent=True)
FIXED = Neighbour(device="br0", address="10.1.0.7", mac="02:00:00:00:00:07", state="permanent")

PORTS = IpSet(name="PORTS", type="bitmap:port", members=("30080",))
NETS = IpSet(name="NETS", type="hash:net", members=("10.0.0.0/8",), exceptions=("10.1.0.0/16",))
PAIRS = IpSet(name="PAIRS", type="hash:ip,port", members=("10.96.0.1,tcp:80", "10.96.0.10,udp:53"))
OPTIONS = "family inet hashsize 1024 maxelem 65536"

OTHER: list[Change] = [
    IpsetCreate(netns="", set=PAIRS, options=OPTIONS),
    IpsetDestroy(netns="", set=NETS, options=OPTIONS),
    IpsetEntryAdd(netns="", name="PORTS", entry="30443"),
    IpsetEntryDelete(netns="", name="PORTS", entry="30080"),
    sysctl("net.ipv4.ip_forward", "1"),
    sysctl("net.ipv4.conf.all.forwarding", "1"),
    sysctl("net.ipv6.conf.all.forwarding", "1"),
    sysctl("net.ipv4.conf.flannel/1.rp_filter", "1"),
    sysctl("net.ipv4.conf.default.rp_filter", "2"),
    sysctl("net.bridge.bridge-nf-call-iptables", "0"),
    sysctl("net.ipv4.ip_local_port_range", "1024 65000"),
    RouteAdd(netns="", route=OVERLAY),
    RouteAdd(netns="", route=replace(STATIC, prefsrc="10.1.0.9", protocol="bird"), replaces=STATIC),
    RouteAdd(netns="", route=Route(dst="10.60.0.0/16", type="unreachable", table=100, metric=9)),
    RouteAdd(netns="", route=replace(OVERLAY, tos=16, table=100)),
    RouteDelete(netns="", route=STATIC),
    RouteDelete(netns="", route=METRICS),
    RouteDelete(netns="", route=SEVERAL),
    RouteDelete(netns="", route=Route(dst="10.53.0.0/16", type="blackhole")),
    link("v0", "hairpin", "on"),
    link("v0", "isolated", "on"),
    link("v0", "learning", "off"),
    link("v0", "flood", "off"),
    link("v0", "state", "0"),
    link("v0", "promisc", "on"),
    link("v1", "master", "br0"),
    link("v0", "mtu", "1400"),
    link("flannel.1", "address", "02:00:00:00:00:99"),
    link("v1", "address", "02:00:00:00:00:98"),
    AddressAdd(netns="", address=Address(device="br0", address="10.9.0.1", prefixlen=24)),
    AddressAdd(netns="", address=Address(device="br0", address="10.1.0.1", prefixlen=16)),
    AddressAdd(netns="", address=Address(device="lo", address="10.1.0.2", prefixlen=32)),
    AddressAdd(netns="", address=Address(device="lo", address="10.1.0.77", prefixlen=32, scope="host")),
    AddressDelete(netns="", address=Address(device="v1", address="10.2.0.1", prefixlen=30)),
    AddressDelete(netns="", address=Address(device="flannel.1", address="10.244.1.0", prefixlen=32)),
    link("br0", "up", "off"),
    link("v1", "up", "off"),
    link("v0", "up", "off"),
    FdbAdd(netns="", entry=replace(REMOTE, mac="02:00:00:00:01:09")),
    FdbAdd(netns="", entry=replace(REMOTE, dst="10.2.0.3")),
    FdbAdd(netns="", entry=replace(REMOTE, mac="00:00:00:00:00:00")),
    FdbAdd(netns="", entry=FdbEntry(device="v0", mac="02:00:00:00:01:08", master="br0", static=True)),
    FdbDelete(netns="", entry=REMOTE),
    FdbDelete(netns="", entry=FdbEntry(device="v0", mac="02:00:00:00:01:02", master="br0", static=True)),
    NeighbourAdd(netns="", entry=replace(FIXED, mac="02:00:00:00:00:08")),
    NeighbourAdd(netns="", entry=replace(FIXED, address="10.1.0.8")),
    NeighbourDelete(netns="", entry=FIXED),
]


@pytest.mark.parametrize("change", [*XT, *OTHER], ids=lambda change: command(change)[:70])
def test_model_kernel_undo_and_shell_agree(node: Node, change: Change) -> None:
    """The kernel is as the model says after a change, as before after its undo, and sh does the same."""
    change = replace(change, netns=node.name)
    before = node.read()
    undo = undo_of(before, change)
    assert isinstance(undo, Exact | Rebuilds)
    assert isinstance(undo, Exact) or "the empty table" in undo.differs
    expected = edit(before, change)
    assert snapshot_difference(expected, before)
    node.apply(change)
    assert node.differs(expected) == []
    for inverse in undo.changes:
        node.apply(inverse)
    assert node.differs(before) == []
    node.space.run("sh", "-c", command(change))
    assert node.differs(expected) == []
    for inverse in undo.changes:
        node.space.run("sh", "-c", command(inverse))
    assert node.differs(before) == []


def test_a_carrier_is_lost_through_a_veth(node: Node) -> None:
    """A pod's device that goes down takes the carrier of the port and the bridge, whose routes stay."""
    change = LinkSet(netns=node.pod.name, device="eth0", attribute="up", value="off")
    before = node.read()
    undo = undo_of(before, change)
    assert isinstance(undo, Exact)
    node.apply(change)
    assert node.differs(edit(before, change)) == []
    for inverse in undo.changes:
        node.apply(inverse)
    assert node.differs(before) == []


def test_device_by_device_forwarding_is_restored(node: Node) -> None:
    """A device that alone forwarded, and redirects that were on, are so again after the undo."""
    for name in ("net.ipv4.ip_forward", "net.ipv4.conf.br0.forwarding", "net.ipv4.conf.all.accept_redirects"):
        node.space.sysctl(name, int(not name.endswith("ip_forward")))
    before = node.read()
    change = SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1")
    undo = undo_of(before, change)
    assert isinstance(undo, Exact)
    assert len(undo.changes) == 2
    node.apply(change)
    for inverse in undo.changes:
        node.apply(inverse)
    assert node.differs(before) == []


def test_lost_ipv6_addresses_are_announced(node: Node) -> None:
    """A device with IPv6 that goes down loses its address, and the undo had said so."""
    node.pod.sysctl("net.ipv6.conf.eth1.disable_ipv6", 0)
    node.pod.ip("addr add fd00::2/64 dev eth1 nodad")
    before = node.read()
    change = LinkSet(netns=node.pod.name, device="eth1", attribute="up", value="off")
    undo = undo_of(before, change)
    assert isinstance(undo, Rebuilds)
    assert "fd00::2" in undo.differs
    node.apply(change)
    assert "fd00::2" not in node.pod.ip("addr show dev eth1")


def test_another_mac_is_announced(node: Node) -> None:
    """With arp_notify those who hold the old address get the new one at once, without it they do not."""
    was = json.loads(node.pod.ip("-j link show eth1"))[0]["address"]
    node.pod.address("eth1", "10.2.0.2/30")
    for number, notify in enumerate((0, 1)):
        node.pod.sysctl("net.ipv4.conf.eth1.arp_notify", notify)
        node.pod.ip(f"link set eth1 address {was}")
        node.space.ip(f"neigh replace 10.2.0.2 lladdr {was} dev v1 nud stale")
        before = node.read()
        change = LinkSet(
            netns=node.pod.name, device="eth1", attribute="address", value=f"02:00:00:00:0a:{number:02}"
        )
        predicted = edit(before, change).namespaces[node.name].neighbours
        assert isinstance(predicted, Known)
        node.apply(change)
        held = [
            [n.mac for n in found if n.address == "10.2.0.2"]
            for found in (predicted.value, node.section("neighbours"))
        ]
        assert held == [[change.value if notify else was]] * 2


def test_a_connection_is_deleted(node: Node) -> None:
    """The command deletes exactly the entry, and says so when it is not there any more."""

    def send(port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("10.1.0.2", port))

    node.space.run("iptables-nft", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    for port in (53, 54):
        in_netns(node.space.path, send, port)
    entries = {entry.original.dport: entry for entry in node.section("conntrack") if entry.proto == "udp"}
    change = ConntrackDelete(netns=node.name, entry=entries[53])
    assert isinstance(undo_of(node.read(), change), NoUndo)
    node.apply(change)
    left = [entry.original.dport for entry in node.section("conntrack") if entry.proto == "udp"]
    assert 53 not in left
    assert 54 in left
    with pytest.raises(Refused, match="conntrack -D"):
        node.apply(change)


def test_learned_neighbours_are_deleted(node: Node) -> None:
    """A neighbour that the kernel resolved can be deleted, and resolves again."""
    node.space.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev br0 nud stale")
    entry = next(n for n in node.section("neighbours") if n.address == "10.1.0.2")
    node.apply(NeighbourDelete(netns=node.name, entry=entry))
    assert entry not in node.section("neighbours")


def test_ipv6_routes(node: Node) -> None:
    """Routes of IPv6, with the kernel's own metric, come and go as those of IPv4."""
    node.space.sysctl("net.ipv6.conf.br0.disable_ipv6", 0)
    node.space.ip("addr add fd00::1/64 dev br0 nodad")
    before = node.read()
    change = RouteAdd(
        netns=node.name, route=Route(dst="fd01::/64", nexthops=(NextHop(device="br0", via="fd00::2"),))
    )
    undo = undo_of(before, change)
    assert isinstance(undo, Exact)
    node.apply(change)
    assert node.differs(edit(before, change)) == []
    for inverse in undo.changes:
        node.apply(inverse)
    assert node.differs(before) == []


# --- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_another_rule_at_the_position_is_not_touched(node: Node, backend: str) -> None:
    """A rule is not deleted or replaced by its number when another has taken its place."""
    place: dict[str, Any] = {"netns": node.name, "backend": backend, "table": "filter", "chain": "FORWARD"}
    before = node.read()
    for change in (
        RuleDelete(**place, position=1, rule=DROP),
        RuleReplace(**place, position=3, old=DROP, rule=JUMP),
        RuleDelete(**place, position=9, rule=DROP),
        RuleDelete(**{**place, "chain": "NOWHERE"}, position=1, rule=DROP),
    ):
        with pytest.raises(Refused, match="not the one expected"):
            node.apply(change)
    assert node.differs(before) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (xt(RuleInsert, "nft", "filter", "FORWARD", position=9, rule=DROP), "Index of insertion too big"),
        (xt(RuleInsert, "nft", "filter", "NOWHERE", position=1, rule=DROP), "No chain"),
        (xt(ChainDelete, "nft", "filter", "USED"), "CHAIN_DEL failed"),
        (sysctl("net.ipv4.conf.gone0.rp_filter", "1"), "No such file"),
        (RouteAdd(netns="", route=STATIC), "File exists"),
        (RouteDelete(netns="", route=OVERLAY), "No such process"),
        (link("gone0", "up", "on"), "gone0"),
        (FdbDelete(netns="", entry=replace(REMOTE, dst="10.2.0.9")), "no such entry"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refusals_carry_the_tools_words(node: Node, change: Change, words: str) -> None:
    """What the kernel refuses is an error with the command and the tool's own words, and changes nothing."""
    before = node.read()
    with pytest.raises(Refused, match=words) as refused:
        node.apply(replace(change, netns=node.name))
    assert command(change) in refused.value.what
    assert node.differs(before) == []


def test_a_namespace_that_is_gone(netns: Bed) -> None:
    """A change in a namespace that does not exist is refused, naming it."""
    with pytest.raises(Refused, match="gone"):
        apply_change("/run/netns/nt-t-no-such", sysctl("net.ipv4.ip_forward", "1"))


def test_a_tool_that_is_not_installed(netns: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its tool a change is refused with the package to install."""
    monkeypatch.setattr("nettrace.apply.kernel.argv", lambda _: Argv(("no-such-tool-of-nettrace",)))
    with pytest.raises(Refused, match="there is no `no-such-tool-of-nettrace`") as refused:
        apply_change(netns.new().path, sysctl("net.ipv4.ip_forward", "1"))
    assert "apt install" in refused.value.hint
