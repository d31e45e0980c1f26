"""What counts as the same state."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from nettrace.model.canonical import canonical, canonical_netns, difference, digest, snapshot_difference
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.kube import Service
from nettrace.model.links import Address, FdbEntry, Link, Neighbour, Peer, PortAttrs
from nettrace.model.nft import NftRuleset, NftTable
from nettrace.model.routes import NextHop, PolicyRule, Route
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns, Process, Snapshot
from nettrace.model.sockets import ConntrackEntry, Socket, Tuple
from nettrace.model.xt import Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import Negatable, Tcp
from nettrace.model.xt_target import Accept, Drop

DROP, ACCEPT = XtRule(target=Drop()), XtRule(target=Accept())
LINK = Link(index=2, name="v0", kind="veth", peer=Peer("pod", 3), port=PortAttrs())
ROUTE = Route(dst="10.1.0.0/16", nexthops=(NextHop(device="v0", via="10.0.0.1"),))
LISTENER = Socket(proto="tcp", address="0.0.0.0", port=80, state="listen", process="nginx", pid=10)
CONNECTION = ConntrackEntry(proto="udp", original=Tuple(src="a", dst="b"), reply=Tuple(src="b", dst="a"))
FIXED = Neighbour(device="v0", address="10.0.0.1", mac="02::1", state="permanent")
PUT = FdbEntry(device="vx0", mac="02::1", dst="10.0.0.9", permanent=True)


def ruleset(**chains: XtChain) -> XtRuleset:
    """A rule set of one table."""
    return XtRuleset({"filter": Known(XtTable({name: Known(chain) for name, chain in chains.items()}))})


SAME: list[tuple[str, Any, Any]] = [
    ("links", (LINK,), (replace(LINK, index=9, peer=Peer("pod", 7)),)),
    ("routes", (ROUTE, replace(ROUTE, metric=5)), (replace(ROUTE, metric=5), ROUTE)),
    ("routes", (Route(dst="fd00::/8"),), (Route(dst="fd00::/8", metric=1024),)),
    ("neighbours", (FIXED,), (replace(FIXED, address="10.0.0.2", state="stale"), FIXED)),
    ("fdb", (PUT,), (PUT, FdbEntry(device="v0", mac="02::5", master="br0"))),
    ("sysctls", {"net.a": "1 2"}, {"net.netfilter.nf_conntrack_count": "7", "net.a": "1\t2"}),
    ("sockets", (LISTENER,), (replace(LISTENER, pid=11), replace(LISTENER, state="established"))),
    (
        "sockets",
        (LISTENER,),
        (LISTENER, Socket(proto="udp", address="0.0.0.0", port=40000, state="unconn", process="dig")),
    ),
    ("conntrack", (), (CONNECTION,)),
    ("xt/nft", ruleset(INPUT=XtChain(policy="ACCEPT")), XtRuleset({})),
    ("xt/nft/filter/INPUT", XtChain(policy="ACCEPT"), None),
    (
        "xt/nft/filter/A",
        XtChain(rules=(DROP,), counters=(Counters(1, 1),)),
        XtChain(rules=(DROP,)),
    ),
    (
        "ipsets",
        (IpSet(name="s", type="hash:ip", members=("1", "2")),),
        (IpSet(name="s", type="hash:ip", members=("2", "1")),),
    ),
    ("processes", (Process(pid=1, name="flanneld"),), (Process(pid=2, name="flanneld"),)),
]

OTHER: list[tuple[str, Any, Any]] = [
    ("links", (LINK,), (replace(LINK, mtu=1400),)),
    ("links", (LINK,), (replace(LINK, port=PortAttrs(hairpin=True)),)),
    ("routes", (ROUTE,), (replace(ROUTE, more=("advmss", "1360")),)),
    ("routes", (ROUTE, replace(ROUTE, prefsrc="10.0.0.5")), (replace(ROUTE, prefsrc="10.0.0.5"), ROUTE)),
    (
        "rules",
        (PolicyRule(priority=5, table=1), PolicyRule(priority=5, table=2)),
        (PolicyRule(priority=5, table=2), PolicyRule(priority=5, table=1)),
    ),
    (
        "addresses",
        (
            Address(device="v0", address="10.0.0.1", prefixlen=24),
            Address(device="v0", address="10.0.0.2", prefixlen=24),
        ),
        (
            Address(device="v0", address="10.0.0.2", prefixlen=24),
            Address(device="v0", address="10.0.0.1", prefixlen=24),
        ),
    ),
    ("neighbours", (FIXED,), (replace(FIXED, mac="02::2"),)),
    ("fdb", (PUT,), (replace(PUT, dst="10.0.0.8"),)),
    ("fdb", (PUT,), (replace(PUT, permanent=False, static=True),)),
    ("sysctls", {"net.a": "1"}, {"net.a": "0"}),
    ("sockets", (LISTENER,), (replace(LISTENER, port=81),)),
    ("xt/nft/filter/A", XtChain(rules=(DROP, ACCEPT)), XtChain(rules=(ACCEPT, DROP))),
    ("xt/nft/filter/INPUT", XtChain(policy="DROP"), None),
    ("xt/nft/filter/A", XtChain(), None),
    ("xt/nft", ruleset(A=XtChain()), XtRuleset({})),
    (
        "ipvs",
        (VirtualServer(address="10.0.0.1", port=80, real_servers=(RealServer(address="10.1.0.1", port=1),)),),
        (VirtualServer(address="10.0.0.1", port=80),),
    ),
    ("ipsets", (IpSet(name="s", type="hash:ip", members=("1",)),), (IpSet(name="s", type="hash:ip"),)),
    ("nft", NftRuleset(tables={"ip t": NftTable(family="ip", name="t")}), NftRuleset()),
    ("kube/services", (Service(name="a", selector={"x": "1"}),), (Service(name="a", selector={"x": "2"}),)),
]


@pytest.mark.parametrize(("name", "one", "other"), SAME)
def test_set_aside(name: str, one: Any, other: Any) -> None:
    """What counts, ages or has no meaning of its own makes no difference."""
    assert canonical(name, one) == canonical(name, other)
    assert digest(SectionKey("n", name), Known(one)) == digest(SectionKey("n", name), Known(other))


@pytest.mark.parametrize(("name", "one", "other"), OTHER)
def test_kept(name: str, one: Any, other: Any) -> None:
    """What somebody configured makes a difference, and the difference can be told."""
    assert canonical(name, one) != canonical(name, other)
    assert digest(SectionKey("n", name), Known(one)) != digest(SectionKey("n", name), Known(other))
    assert difference(canonical(name, one), canonical(name, other), name)


@pytest.mark.parametrize(("name", "one", "other"), SAME + OTHER)
def test_plain_data(name: str, one: Any, other: Any) -> None:
    """Canonical values are JSON values, the same after a round trip."""
    for value in (one, other):
        plain = canonical(name, value)
        assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


def test_sets_have_one_order() -> None:
    """Flags that the model keeps as a set come out in one order."""
    rule = XtRule(matches=(Tcp(flags=(frozenset({"SYN", "ACK", "RST", "FIN"}), frozenset({"SYN"}))),))
    plain = canonical("xt/nft/filter/A", XtChain(rules=(rule,)))
    assert plain["rules"][0]["matches"][0]["flags"] == [["ACK", "FIN", "RST", "SYN"], ["SYN"]]


def test_not_read_is_not_empty() -> None:
    """A section without a value equals no section that has one."""
    key = SectionKey("n", "routes")
    digests = {
        digest(key, NOT_READ),
        digest(key, Known(())),
        digest(key, Missing(MissingKind.DENIED, "no root")),
    }
    assert len(digests) == 3


def test_digest_is_short_and_of_its_key() -> None:
    """A digest has 16 hex digits and differs between sections of equal content."""
    one, other = digest(SectionKey("a", "routes"), Known(())), digest(SectionKey("b", "routes"), Known(()))
    assert len(one) == 16
    assert one != other
    int(one, 16)


def test_namespace() -> None:
    """A namespace's canonical form has each of its sections by name, and none of its identity."""
    netns = Netns(name="n", node="n", handle="/run/netns/n", routes=Known((ROUTE,)))
    found = canonical_netns(netns)
    assert found["routes"][0]["dst"] == "10.1.0.0/16"
    assert found["xt_nft"] == {"missing": "not-read"}
    assert "handle" not in found


def test_differences_are_readable() -> None:
    """Each difference is one line with the path, what is there and what was."""
    assert difference({"a": 1, "b": [1, 2]}, {"a": 2, "c": "x", "b": [2, 3]}) == [
        "a: 1, was 2",
        "b: gone 3",
        "b: new 1",
        'c: gone, was "x"',
    ]
    assert difference([1, 2], [2, 1], "rules") == ["rules: another order or number, [1,2], was [2,1]"]
    assert difference({"a": 1}, {"a": 1}) == []


def test_snapshots_are_compared_by_namespace() -> None:
    """The difference of two snapshots names namespace, section, and the chain that differs."""
    one = Snapshot(
        namespaces={"n": Netns(name="n", node="n", xt_nft=Known(ruleset(A=XtChain(), B=XtChain())))}
    )
    rule = XtRule(src=Negatable("10.0.0.1"))
    key = SectionKey("n", "xt/nft/filter/A")
    other = one.with_section(key, Known(XtChain(rules=(rule,))))
    (line,) = snapshot_difference(other, one)
    assert line.startswith("n/xt/nft/filter/A/rules: new")
    assert snapshot_difference(one, one.with_section(key, Known(None)))[0].startswith(
        "n/xt/nft/filter/A: new"
    )
    assert snapshot_difference(one, Snapshot()) == ["n: new"]
    assert snapshot_difference(Snapshot(), one) == ["n: gone"]
    read = one.with_netns(replace(one.namespaces["n"], routes=Known(())))
    assert snapshot_difference(read, one) == ['n/routes: [], was {"missing":"not-read"}']
