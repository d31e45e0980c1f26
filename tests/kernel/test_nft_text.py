"""Rules as nettrace prints them, against what nft prints of the same rules in the kernel."""

import os
import re

import pytest

from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.nft import NftRuleset
from nettrace.model.section import Known, SectionKey
from nettrace.parse.nft import rule_text
from tests.kernel.bed import Bed, Space
from tests.kernel.test_kube_nft import rules as kube_rules

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

RULES = r"""
ip daddr 10.0.0.0/8 tcp dport { 80, 443 } accept
ip saddr 10.1.2.0/23 drop
meta mark & 0x4000 == 0x4000 return
meta mark set meta mark | 0x4000
meta mark set meta mark ^ 0x4000
ct state established,related accept
ct state { new, related } accept
ct status dnat accept
tcp flags & (syn|ack) == syn counter
tcp flags syn counter
ip daddr . meta l4proto . th dport vmap { 10.0.0.1 . tcp . 80 : drop }
meta l4proto tcp dnat ip to 10.0.0.1:80
meta l4proto tcp snat ip to 10.0.0.1:80-90 fully-random
iifname "eth*" drop
iifname { "a", "b" } drop
ip dscp cs1 accept
limit rate 10/second burst 5 packets accept
limit rate over 10 mbytes/second drop
fib daddr type local accept
fib daddr type { local, broadcast } accept
fib saddr . iif oif missing drop
meta mark set ip saddr map { 10.0.0.1 : 0x5 }
ct original ip daddr 1.2.3.4 accept
ct original l3proto ipv4 accept
log prefix "x" group 2
tcp option maxseg size set rt mtu
tcp option maxseg size set 1400
numgen random mod 3 < 1 accept
numgen inc mod 10 vmap { 0-4 : drop, 5-9 : accept }
jhash ip saddr . tcp dport mod 4 seed 0x11 2 accept
update @s { ip saddr timeout 1h }
ip saddr @s accept
udp dport 1-100 accept
udp dport != 1-100 accept
icmp type echo-request accept
icmpv6 type { echo-request, nd-neighbor-solicit } accept
ip6 daddr fe80::/10 accept
ip6 saddr fd00::1 accept
ip frag-off & 0x1fff == 0 accept
meta length 60-80 accept
ip ttl set 5
reject with icmp port-unreachable
reject with icmpx admin-prohibited
reject
meta l4proto tcp reject with tcp reset
meta l4proto { tcp, udp } th dport 53 accept
ip saddr . tcp dport { 10.0.0.0/8 . 1-9, 10.2.2.2 . 80 } accept
ip saddr { 10.0.0.0/8, 11.0.0.1-11.0.0.7 } accept
ct mark set meta mark
meta mark set ct mark
ether saddr 00:11:22:33:44:55 accept
meta nfproto ipv4 accept
meta l4proto tcp accept
ip protocol tcp accept
tcp dport 1 redirect to :80
masquerade
notrack
ct count over 5 drop
quota over 5000 bytes drop
@th,0,16 0x1234 accept
ct state invalid drop
ct direction reply accept
meta skuid 1000 accept
meta pkttype broadcast drop
tcp dport 80 ct state new limit rate 1/second accept
tcp dport >= 1024 accept
ip daddr 10.0.0.0/9 ip saddr != 10.0.0.1 accept
tcp sport . tcp dport { 1 . 2 } accept
ct original ip daddr 10.2.0.0/16 accept
"""


def ruleset(space: Space) -> NftRuleset:
    """Read everything native of a namespace."""
    handle = Handle(name="x", path=space.path, inode=space.inode, netns=space.name, node="x", role="other")
    with Reader([handle]) as reader:
        snapshot = reader.read([SectionKey("x", "nft"), SectionKey("x", "nft/*")], reader.skeleton())
    found = snapshot.namespaces["x"].nft
    assert isinstance(found, Known)
    return found.value


def texts(found: NftRuleset) -> list[str]:
    """All rules as text."""
    return [
        rule_text(rule, table, found.byteorder)
        for table in found.tables.values()
        for chain in table.chains.values()
        if isinstance(chain.rules, Known)
        for rule in chain.rules.value
    ]


def test_rules_are_printed_as_nft_prints_them(netns: Bed) -> None:
    """Every usual test and statement comes out as nft lists it."""
    a = netns.new("a")
    text = f"table inet t {{ set s {{ type ipv4_addr; flags dynamic,timeout; size 10; }}\nchain c {{\n{RULES}\n}}\n}}"
    a.run("nft", "-f", "-", stdin=text)
    listed = {line.strip() for line in a.run("nft", "-s", "list", "ruleset").splitlines()}
    found = texts(ruleset(a))
    assert len(found) == len(RULES.strip().splitlines())
    assert [one for one in found if one not in listed] == []


def test_kube_proxy_s_rules_are_printed_as_nft_prints_them(netns: Bed) -> None:
    """The whole rule set of kube-proxy, but for what nft 1.0.6 itself leaves out of maps of addresses and ports."""
    a = netns.new("a")
    a.run("nft", "-f", "-", stdin=kube_rules())
    lines = a.run("nft", "-s", "list", "ruleset").splitlines()
    listed = {re.sub(r' comment ".*?"', "", line.strip()) for line in lines}
    found = texts(ruleset(a))
    assert len(found) == 170
    said = [re.sub(r"dnat (ip6?) addr \. port to", r"dnat \1 to", one) for one in found]
    assert [
        one for one in said if one not in listed and one.replace("ip addr . port ", "") not in listed
    ] == []
