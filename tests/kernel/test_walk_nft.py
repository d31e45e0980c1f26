"""Native nftables against the kernel: rule sets loaded by nft, walked, tried, watched rule by rule."""

import os

import pytest

from nettrace.model.walk import Outcome
from tests.kernel.native import load, watched
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


FILTER = """
table inet fw {
  set servers { type ipv4_addr; flags interval; elements = { 10.2.0.0/25, 10.9.0.1-10.9.0.9 } }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.2.0.0/24 . 7-9, 10.2.0.2 . 80 } }
  map verdicts { type inet_service : verdict; elements = { 80 : jump web, 7 : goto echo } }
  chain web { ct state established,related counter accept; tcp flags syn / syn,ack jump new; return; }
  chain new { meta mark set 0x10 ip saddr 10.1.0.0/24 ip ttl 2-70 accept; drop; }
  chain echo { udp dport @none drop; ip protocol udp meta l4proto udp ip daddr . udp dport @pairs accept; }
  set none { type inet_service; }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    iifname "c" oifname "s" meta l4proto { tcp, udp } ip daddr @servers th dport vmap @verdicts
    ct direction reply ct state established accept
    meta l4proto icmp icmp type { echo-request, echo-reply } accept
    tcp dport { 81, 82 } reject with tcp reset
    udp dport 9 reject with icmpx admin-prohibited
  }
  chain late { type filter hook forward priority 10; meta mark 0x10 counter; udp dport 11 accept; }
}
"""


@pytest.mark.parametrize(
    ("port", "proto", "outcome"),
    [
        (80, "tcp", Outcome.CONNECTED),
        (81, "tcp", Outcome.REFUSED),
        (83, "tcp", Outcome.TIMEOUT),
        (7, "udp", Outcome.CONNECTED),
        (9, "udp", Outcome.UNREACHABLE),
        (11, "udp", Outcome.TIMEOUT),
        (None, "icmp", Outcome.CONNECTED),
    ],
)
def test_a_filter(net: Net, port: int | None, proto: str, outcome: Outcome) -> None:
    """Sets, concatenations, verdict maps, jumps and rejections decide as the walk says, rule by rule."""
    TOPOLOGIES["router"](net)
    load(net, "r", FILTER)
    answer = watched(net, net.flow("client", "10.2.0.2", port, proto))
    assert answer.outcome is outcome


NAT = """
table ip nat {
  map ports { type inet_service : ipv4_addr . inet_service; elements = { 8080 : 10.2.0.2 . 80, 8007 : 10.2.0.2 . 7 } }
  chain pre { type nat hook prerouting priority dstnat; jump services; }
  chain out { type nat hook output priority -100; jump services; }
  chain services {
    ip daddr 10.96.0.1 dnat ip addr . port to meta l4proto . th dport map { tcp . 80 : 10.2.0.2 . 80, udp . 7 : 10.2.0.2 . 7 }
    ip daddr 10.96.0.2 tcp dport 80 dnat to 10.2.0.2
    tcp dport 8081 redirect to :80
    meta l4proto { tcp, udp } dnat ip addr . port to th dport map @ports
    ip daddr 10.96.0.4 ip protocol icmp dnat to 10.2.0.2
    ip daddr 10.96.0.5 udp dport 7 dnat to 10.2.0.2 persistent
  }
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat ip saddr 10.1.0.0/24 tcp dport 80 masquerade fully-random
    ct original ip daddr 10.96.0.5 udp dport 7 snat to 10.2.0.1:4000-4100
  }
}
table inet more {
  chain post { type nat hook postrouting priority 99; meta l4proto icmp snat ip to 10.2.0.1; }
  chain input { type filter hook input priority 0; meta l4proto tcp ct original proto-dst 8081 accept; ct original l3proto ipv6 drop; ct original l3proto ipv4 tcp dport 81 reject; }
}
"""


@pytest.mark.parametrize(
    ("source", "dst", "port", "proto", "outcome"),
    [
        ("client", "10.96.0.1", 80, "tcp", Outcome.CONNECTED),
        ("client", "10.96.0.1", 7, "udp", Outcome.CONNECTED),
        ("client", "10.96.0.2", 80, "tcp", Outcome.CONNECTED),
        ("client", "10.1.0.1", 8080, "tcp", Outcome.CONNECTED),
        ("client", "10.1.0.1", 8007, "udp", Outcome.CONNECTED),
        ("client", "10.1.0.1", 8081, "tcp", Outcome.CONNECTED),
        ("client", "10.1.0.1", 81, "tcp", Outcome.REFUSED),
        ("client", "10.96.0.4", None, "icmp", Outcome.CONNECTED),
        ("client", "10.96.0.5", 7, "udp", Outcome.CONNECTED),
        ("r", "10.1.0.1", 8080, "tcp", Outcome.CONNECTED),
        ("r", "10.1.0.1", 8007, "udp", Outcome.CONNECTED),
    ],
)
def test_translation(net: Net, source: str, dst: str, port: int | None, proto: str, outcome: Outcome) -> None:
    """dnat, redirect, snat and masquerade bind as the walk says: from maps, with ranges, in every hook."""
    TOPOLOGIES["router"](net)
    load(net, "r", NAT)
    assert watched(net, net.flow(source, dst, port, proto)).outcome is outcome
