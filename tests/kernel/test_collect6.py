"""Reading what IPv6 has of its own: ip6tables' rule sets, address flags, proxies, multipath."""

import socket

from nettrace.collect.netns import in_netns
from nettrace.collect.reader import Reader
from nettrace.model.links import Neighbour
from nettrace.model.nft import NftRuleset
from nettrace.model.routes import NextHop
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.snapshot import Netns
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed, Space, eventually
from tests.kernel.rule_reading import handle, known, read, rules, snapshot

RULES = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SVC - [0:0]
-A PREROUTING -d fd00:96::1/128 -p tcp -m tcp --dport 80 -j SVC
-A POSTROUTING -s fd00:1::/64 ! -d fd00:1::/64 -j MASQUERADE --random-fully
-A SVC -p tcp -m tcp -j DNAT --to-destination [fd00:1::2]:9376
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited
COMMIT
"""


def test_the_chains_of_ip6tables_come_on_demand(netns: Bed) -> None:
    """A chain of ip6tables-nft comes as ip6tables-save prints it, apart from iptables' of that name."""
    a = netns.new("a")
    a.run("ip6tables-nft-restore", stdin=RULES)
    a.run("iptables-nft", "-t", "nat", "-N", "SVC")
    expected = rules(parse_save(a.run("ip6tables-nft-save")))
    found = snapshot(a, "xt6/nft/nat/SVC", "xt6/nft/filter/FORWARD", "xt/nft", "nft")
    for table, chain in (("nat", "SVC"), ("filter", "FORWARD")):
        section = known(found.section(SectionKey(a.name, f"xt6/nft/{table}/{chain}")))
        assert (section.policy, section.rules) == expected[table, chain]
    assert found.section(SectionKey(a.name, "xt6/nft/nat/PREROUTING")) == NOT_READ
    assert found.section(SectionKey(a.name, "xt6/nft/nat/NO-SUCH")) == Known(None)
    assert known(found.section(SectionKey(a.name, "xt/nft/nat/SVC"))).rules == ()
    assert found.namespaces[a.name].nft == Known(NftRuleset())


def test_both_back_ends_of_ip6tables_are_read(netns: Bed) -> None:
    """A complete reading holds all that ip6tables-save prints, and nothing of it among iptables' rules."""
    a = netns.new("a")
    a.run("ip6tables-nft-restore", stdin=RULES)
    a.run("ip6tables-legacy", "-A", "INPUT", "-s", "fd00:9::/64", "-j", "DROP")
    with Reader([handle(a)]) as reader:
        found = reader.read_all(reader.skeleton()).namespaces[a.name]
    assert rules(known(found.xt6_nft)) == rules(parse_save(a.run("ip6tables-nft-save")))
    assert rules(known(found.xt6_legacy)) == rules(parse_save(a.run("ip6tables-legacy-save")))
    assert found.xt_nft == found.xt_legacy == Known(XtRuleset({}))


def test_the_flags_of_addresses(netns: Bed) -> None:
    """What keeps an address from being used, or makes another preferred, is read with it."""
    a, b = netns.new("a"), netns.new("b")
    netns.veth(a, "v0", b, "eth0")
    b.address("eth0", "fd00:1::9/64")
    a.address("v0", "fd00:1::1/64")
    a.ip("addr add fd00:1::2/64 dev v0 nodad preferred_lft 0")
    a.ip("addr add fd00:1::9/64 dev v0")
    eventually(lambda: "dadfailed" in _flags(a)["fd00:1::9"])
    found = _flags(a)
    assert "deprecated" in found["fd00:1::2"]
    assert {"tentative", "dadfailed"} <= found["fd00:1::9"]
    assert not {"tentative", "deprecated", "dadfailed"} & found["fd00:1::1"]


def _flags(space: Space) -> dict[str, frozenset[str]]:
    return {one.address: one.flags for one in known(read(space, "addresses").addresses)}


def test_proxied_addresses_stand_beside_the_neighbours(netns: Bed) -> None:
    """What a device answers for on behalf of others is read, for ND and for ARP."""
    a = netns.new("a")
    netns.stub(a, "v0", "fd00:1::1/64", "10.1.0.1/24")
    a.ip("-6 neigh add proxy fd00:1::77 dev v0")
    a.ip("neigh add proxy 10.1.0.77 dev v0")
    found = known(read(a, "neighbours").neighbours)
    for address in ("fd00:1::77", "10.1.0.77"):
        assert Neighbour(device="v0", address=address, mac=None, state="proxy") in found


def test_multipath_is_one_route(netns: Bed) -> None:
    """Siblings of one metric are one route with several next hops, as IPv4 has it."""
    a = netns.new("a")
    netns.stub(a, "v0", "fd00:1::1/64")
    a.ip(
        "-6 route add fd00:2::/64 nexthop via fd00:1::2 dev v0 weight 1 nexthop via fd00:1::3 dev v0 weight 2"
    )
    a.ip("-6 route add fd00:3::/64 via fd00:1::2 dev v0 metric 7 pref high hoplimit 3")
    a.ip("-6 route add unreachable fd00:4::/64")
    found = {route.dst: route for route in known(read(a, "routes").routes)}
    assert found["fd00:2::/64"].nexthops == (
        NextHop(device="v0", via="fd00:1::2"),
        NextHop(device="v0", via="fd00:1::3", weight=2),
    )
    assert found["fd00:3::/64"].metric == 7
    assert found["fd00:3::/64"].more == ("hoplimit", "3", "pref", "high")
    assert found["fd00:4::/64"].type == "unreachable"


def test_sockets_of_ipv6(netns: Bed) -> None:
    """Which sockets take IPv4 too is told apart."""
    a = netns.new("a")
    opened = [in_netns(a.path, _listener, only) for only in (0, 1)]
    try:
        found: Netns = read(a, "sockets")
    finally:
        for one in opened:
            one.close()
    ports = {one.port: one.v6only for one in known(found.sockets) if one.address == "::"}
    assert ports == {8000: False, 8001: True}


def _listener(only: int) -> socket.socket:
    found = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    found.bind(("::", 8000 + only))
    found.listen()
    return found
