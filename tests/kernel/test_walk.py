"""
The walk against the kernel: the same network built, read, walked, and really tried.

Each case is a topology of walkbed, commands that change it, and a probe.  Outcome, errno, who
answered and how long it took have to be as the walk said; UNKNOWN is a failure.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.walkbed import TOPOLOGIES, Net


class Case(NamedTuple):
    """A network, what is done to it, a probe, and the verdict that the walk has to give."""

    name: str
    topology: str
    commands: tuple[tuple[str, str], ...]
    probe: tuple[Any, ...]  # source, destination, port, protocol
    outcome: Outcome
    verdict: Verdict
    tries: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012 (never written to)


def c(
    name: str, topology: str, *commands: str, probe: str, gives: str, count: int = 1, **options: Any
) -> Case:
    """Write a case: commands as ``label: line``, the probe as ``source destination[:port][/proto]``."""
    split = tuple(tuple(line.split(": ", 1)) for line in commands)
    source, target = probe.split()
    target, _, proto = target.partition("/")
    dst, _, port = target.partition(":")
    outcome, verdict = gives.split()
    return Case(
        name,
        topology,
        split,  # type: ignore[arg-type]
        (source, dst, int(port) if port else None, proto or "tcp"),
        Outcome(outcome),
        Verdict[verdict],
        count,
        options,
    )


SERVER, UDP = "client 10.2.0.2:80", "client 10.2.0.2:7/udp"

ROUTER = (
    c("connects", "router", probe=SERVER, gives="connected DELIVERED"),
    c("udp", "router", probe=UDP, gives="connected DELIVERED"),
    c("echo", "router", probe="client 10.2.0.2/icmp", gives="connected DELIVERED"),
    c("to-the-router-itself", "router", probe="client 10.2.0.1:80", gives="connected DELIVERED"),
    c("own-address-by-lo", "router", probe="r 10.2.0.1:80", gives="connected DELIVERED"),
    c("closed-port", "router", probe="client 10.2.0.2:81", gives="refused NOT_LISTENING"),
    c("closed-udp-port", "router", probe="client 10.2.0.2:8/udp", gives="refused NOT_LISTENING"),
    c("closed-own-port", "router", probe="r 127.0.0.1:81", gives="refused NOT_LISTENING"),
    c("forwarding-off", "router", "r: sysctl -qw net.ipv4.ip_forward=0", probe=SERVER, gives="timeout NOT_FORWARDED"),
    c("forwarding-off-at-the-way-in", "router", "r: sysctl -qw net.ipv4.conf.c.forwarding=0",
      probe=SERVER, gives="timeout NOT_FORWARDED"),
    c("forwarding-off-at-the-way-back", "router", "r: sysctl -qw net.ipv4.conf.s.forwarding=0",
      probe=SERVER, gives="timeout NOT_FORWARDED"),
    c("no-route-at-home", "router", "client: ip route del default", probe=SERVER, gives="unreachable NO_ROUTE"),
    c("no-route-on-the-way", "router", probe="client 9.9.9.9:80", gives="unreachable NO_ROUTE"),
    c("no-route-back", "router", "server: ip route del default", probe=SERVER, gives="timeout NO_ROUTE"),
    c("unreachable-route", "router", "r: ip route add unreachable 10.2.0.2/32",
      probe=SERVER, gives="unreachable NO_ROUTE"),
    c("prohibit-route", "router", "r: ip route add prohibit 10.2.0.2/32", probe=SERVER, gives="unreachable NO_ROUTE"),
    c("prohibit-route-at-home", "router", "client: ip route add prohibit 10.2.0.2/32",
      probe=SERVER, gives="unreachable NO_ROUTE"),
    c("blackhole-route", "router", "r: ip route add blackhole 10.2.0.2/32", probe=SERVER, gives="timeout BLACKHOLED"),
    c("blackhole-route-at-home", "router", "client: ip route add blackhole 10.2.0.2/32",
      probe=SERVER, gives="unreachable BLACKHOLED"),
    c("policy-rule-unreachable", "router", "r: ip rule add to 10.2.0.2 prio 100 unreachable",
      probe=SERVER, gives="unreachable NO_ROUTE"),
    c("policy-rule-to-another-table", "router", "r: ip rule add to 10.2.0.2 prio 100 lookup 52",
      "r: ip route add blackhole default table 52", probe=SERVER, gives="timeout BLACKHOLED"),
    c("policy-rule-throw", "router", "r: ip rule add prio 100 lookup 52",
      "r: ip route add throw 10.2.0.0/24 table 52", "r: ip route add blackhole default table 52",
      probe=SERVER, gives="timeout BLACKHOLED"),
    c("policy-rule-suppress", "router", "r: ip rule add prio 100 lookup main suppress_prefixlength 0",
      "r: ip rule add prio 101 blackhole", probe=SERVER, gives="connected DELIVERED"),
    c("dead-neighbour-at-home", "router", probe="client 10.1.0.77:80", gives="unreachable NEIGHBOUR_FAILED"),
    c("dead-neighbour-on-the-way", "router", probe="client 10.2.0.77:80", gives="unreachable NEIGHBOUR_FAILED"),
    c("dead-neighbour-udp", "router", probe="client 10.2.0.77:80/udp", gives="unreachable NEIGHBOUR_FAILED"),
    c("wrong-permanent-neighbour", "router",
      "r: ip neigh replace 10.2.0.2 lladdr 02:00:00:00:00:99 dev s nud permanent", probe=SERVER, gives="timeout OTHERHOST"),
    c("arp-off", "router", "client: ip link set eth0 arp off", probe=SERVER, gives="timeout OTHERHOST"),
    c("arp-ignored", "router", "server: sysctl -qw net.ipv4.conf.eth0.arp_ignore=8",
      probe=SERVER, gives="unreachable NEIGHBOUR_FAILED"),
    c("server-down", "router", "server: ip link set eth0 down", probe=SERVER, gives="unreachable NEIGHBOUR_FAILED"),
    c("router-port-down", "router", "r: ip link set s down", probe=SERVER, gives="unreachable NO_ROUTE"),
    c("source-is-its-own", "router", "server: ip addr add 10.1.0.2/32 dev lo", probe=SERVER, gives="timeout MARTIAN"),
    c("destination-on-the-router", "router", "r: ip addr add 10.2.0.2/32 dev lo", "r: true",
      probe="client 10.2.0.2:81", gives="refused NOT_LISTENING"),
    c("rp-filter-passes", "router", "r: sysctl -qw net.ipv4.conf.all.rp_filter=1", probe=SERVER, gives="connected DELIVERED"),
    c("rp-filter-keeps-arp-silent", "router", "r: sysctl -qw net.ipv4.conf.c.rp_filter=1",
      "r: ip route add blackhole 10.1.0.2/32", probe=SERVER, gives="unreachable NEIGHBOUR_FAILED"),
)  # fmt: skip

RULES = (
    c("forward-drop", "router", "r: iptables -A FORWARD -p tcp --dport 80 -j DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("forward-policy", "router", "r: iptables -P FORWARD DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("forward-policy-legacy", "router", "r: iptables-legacy -P FORWARD DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("reply-dropped", "router", "r: iptables -A FORWARD -s 10.2.0.2 -j DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("input-drop", "router", "server: iptables -A INPUT -i eth0 -p tcp --dport 80 -j DROP",
      probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("input-after-return", "router", "server: iptables -N A", "server: iptables -A A -p udp -j DROP",
      "server: iptables -A A -j RETURN", "server: iptables -A A -j DROP", "server: iptables -A INPUT -j A",
      probe=SERVER, gives="connected DELIVERED"),
    c("goto-does-not-come-back", "router", "server: iptables -N A", "server: iptables -N B",
      "server: iptables -A INPUT -j A", "server: iptables -A INPUT -j DROP",
      "server: iptables -A A -g B", "server: iptables -A A -j ACCEPT", "server: iptables -A B -p udp -j ACCEPT",
      probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("output-drop-tcp", "router", "client: iptables -A OUTPUT -p tcp -j DROP", probe=SERVER, gives="timeout DENIED"),
    c("output-drop-udp", "router", "client: iptables -A OUTPUT -p udp -j DROP", probe=UDP, gives="denied DENIED"),
    c("output-drop-echo", "router", "client: iptables -A OUTPUT -p icmp -j DROP",
      probe="client 10.2.0.2/icmp", gives="denied DENIED"),
    c("postrouting-drop-udp", "router", "client: iptables -t mangle -A POSTROUTING -p udp -j DROP",
      probe=UDP, gives="denied DENIED"),
    c("output-reject", "router", "client: iptables -A OUTPUT -d 10.2.0.2 -j REJECT", probe=SERVER, gives="refused REJECTED"),
    c("output-reject-udp", "router", "client: iptables -A OUTPUT -d 10.2.0.2 -j REJECT", probe=UDP, gives="denied REJECTED"),
    c("output-reject-reset", "router", "client: iptables -A OUTPUT -d 10.2.0.2 -p tcp -j REJECT --reject-with tcp-reset",
      probe=SERVER, gives="refused REJECTED"),
    c("output-reject-eats-its-answer", "router", "client: iptables -A OUTPUT -p tcp -j REJECT --reject-with tcp-reset",
      probe=SERVER, gives="timeout REJECTED"),
    c("forward-reject", "router", "r: iptables -A FORWARD -j REJECT", probe=SERVER, gives="refused REJECTED"),
    c("forward-reject-udp", "router", "r: iptables -A FORWARD -j REJECT", probe=UDP, gives="refused REJECTED"),
    c("forward-reject-host", "router", "r: iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
      probe=SERVER, gives="unreachable REJECTED"),
    c("forward-reject-net-udp", "router", "r: iptables -A FORWARD -j REJECT --reject-with icmp-net-unreachable",
      probe=UDP, gives="unreachable REJECTED"),
    c("forward-reject-reset", "router", "r: iptables -A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
      probe=SERVER, gives="refused REJECTED"),
    c("input-reject-echo", "router", "server: iptables -A INPUT -p icmp -j REJECT --reject-with icmp-admin-prohibited",
      probe="client 10.2.0.2/icmp", gives="unreachable REJECTED"),
    c("reject-lost-in-the-client", "router", "r: iptables -A FORWARD -j REJECT", "client: iptables -A INPUT -p icmp -j DROP",
      probe=SERVER, gives="timeout REJECTED"),
    c("established-only-back", "router", "r: iptables -P FORWARD DROP",
      "r: iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
      "r: iptables -A FORWARD -i c -m state --state NEW -j ACCEPT", probe=SERVER, gives="connected DELIVERED"),
    c("new-is-not-let-through", "router", "r: iptables -P FORWARD DROP",
      "r: iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
      probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("untracked", "router", "r: iptables -t raw -A PREROUTING -p tcp -j CT --notrack",
      "r: iptables -A FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT", "r: iptables -P FORWARD DROP",
      probe=SERVER, gives="connected DELIVERED"),
    c("syn-untracked-rest-invalid", "router", "r: iptables -t raw -A PREROUTING -p tcp --syn -j CT --notrack",
      "r: iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("multiport-and-mark", "router", "r: iptables -t mangle -A PREROUTING -p tcp -m multiport --dports 79:81,443 -j MARK --set-mark 7",
      "r: iptables -A FORWARD -m mark --mark 7 -j DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("mark-picks-a-table", "router", "r: iptables -t mangle -A PREROUTING -p tcp -j MARK --set-mark 7",
      "r: ip rule add fwmark 7 prio 100 blackhole", probe=SERVER, gives="timeout BLACKHOLED"),
    c("connmark-comes-back", "router", "r: iptables -t mangle -A PREROUTING -i c -j CONNMARK --set-mark 5",
      "r: iptables -t mangle -A PREROUTING -i s -j CONNMARK --restore-mark",
      "r: iptables -A FORWARD -i s -m mark --mark 5 -j DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("tcp-flags", "router", "server: iptables -A INPUT -p tcp --tcp-flags SYN,ACK ACK -j DROP", probe=SERVER, gives="stalls DROPPED_BY_RULE"),
    c("ipset", "router", "r: ipset create S hash:net", "r: ipset add S 10.2.0.0/16", "r: ipset add S 10.2.0.0/30 nomatch",
      "r: iptables -A FORWARD -m set --match-set S dst -j DROP", probe=SERVER, gives="connected DELIVERED"),
    c("ipset-ip-port", "router", "r: ipset create S hash:ip,port", "r: ipset add S 10.2.0.2,tcp:80",
      "r: iptables -A FORWARD -m set --match-set S dst,dst -j DROP", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("addrtype", "router", "r: iptables -A INPUT -m addrtype --dst-type LOCAL -j DROP", probe="client 10.2.0.1:80",
      gives="timeout DROPPED_BY_RULE"),
    c("rpfilter-match", "router", "r: iptables -t raw -A PREROUTING -m rpfilter --invert -j DROP",
      "r: ip route add blackhole 10.1.0.2/32", probe=SERVER, gives="timeout DROPPED_BY_RULE"),
    c("statistic", "router", "r: iptables -A FORWARD -p tcp --syn -m statistic --mode random --probability 0.5 -j REJECT --reject-with tcp-reset",
      probe=SERVER, gives="mixed REJECTED", count=40),
    c("ttl-one", "router", "client: iptables -t mangle -A OUTPUT -j CONNMARK --set-mark 1", "client: sysctl -qw net.ipv4.ip_default_ttl=1",
      probe=SERVER, gives="unreachable TTL_EXCEEDED", ttl=1),
)  # fmt: skip

NAT = (
    c("dnat", "router", "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80",
      probe="client 10.1.0.1:8080", gives="connected DELIVERED"),
    c("dnat-to-a-closed-port", "router", "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:81",
      probe="client 10.1.0.1:8080", gives="refused NOT_LISTENING"),
    c("dnat-to-a-closed-udp-port", "router", "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p udp --dport 8080 -j DNAT --to-destination 10.2.0.2:81",
      probe="client 10.1.0.1:8080/udp", gives="refused NOT_LISTENING"),
    c("dnat-to-nobody", "router", "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.77",
      probe="client 10.1.0.1:8080", gives="unreachable NEIGHBOUR_FAILED"),
    c("dnat-rejected-in-forward", "router", "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80",
      "r: iptables -A FORWARD -j REJECT", probe="client 10.1.0.1:8080", gives="refused REJECTED"),
    c("dnat-and-masquerade-rejected-in-forward", "router",
      "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80",
      "r: iptables -t nat -A POSTROUTING -j MASQUERADE", "r: iptables -A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
      probe="client 10.1.0.1:8080", gives="refused REJECTED"),
    c("masquerade", "router", "server: ip route del default", "r: iptables -t nat -A POSTROUTING -o s -j MASQUERADE",
      probe=SERVER, gives="connected DELIVERED"),
    c("masquerade-random-echo", "router", "server: ip route del default", "r: iptables -t nat -A POSTROUTING -o s -j MASQUERADE --random-fully",
      probe="client 10.2.0.2/icmp", gives="connected DELIVERED"),
    c("masquerade-and-refused", "router", "server: ip route del default", "r: iptables -t nat -A POSTROUTING -o s -j MASQUERADE",
      probe="client 10.2.0.2:9/udp", gives="refused NOT_LISTENING"),
    c("snat-to-an-address-of-nobody", "router", "r: iptables -t nat -A POSTROUTING -o s -j SNAT --to-source 10.2.0.50",
      probe=SERVER, gives="timeout NEIGHBOUR_FAILED"),
    c("snat-range-and-ports", "router", "server: ip route del default", "r: ip addr add 10.2.0.9/24 dev s",
      "r: iptables -t nat -A POSTROUTING -o s -p tcp -j SNAT --to-source 10.2.0.9:2000-2100",
      probe=SERVER, gives="connected DELIVERED"),
    c("redirect", "router", "r: iptables -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80",
      probe="client 10.2.0.2:8080", gives="connected DELIVERED"),
    c("redirect-own-output", "router", "client: iptables -t nat -A OUTPUT -d 10.2.0.2 -p tcp -j REDIRECT --to-ports 81",
      probe=SERVER, gives="refused NOT_LISTENING"),
    c("output-dnat", "router", "client: iptables -t nat -A OUTPUT -d 10.1.0.99 -p tcp -j DNAT --to-destination 10.2.0.2:80",
      probe="client 10.1.0.99:80", gives="connected DELIVERED"),
    c("output-dnat-needs-a-first-route", "router", "client: iptables -t nat -A OUTPUT -d 9.9.9.9 -p tcp -j DNAT --to-destination 10.1.0.1:80",
      "client: ip route del default", probe="client 9.9.9.9:80", gives="unreachable NO_ROUTE"),
    c("output-dnat-to-no-route", "router", "client: iptables -t nat -A OUTPUT -d 10.1.0.99 -j DNAT --to-destination 9.9.9.9",
      "client: ip route del default", probe="client 10.1.0.99:80", gives="timeout NO_ROUTE"),
    c("output-dnat-to-no-route-udp", "router", "client: iptables -t nat -A OUTPUT -d 10.1.0.99 -j DNAT --to-destination 9.9.9.9",
      "client: ip route del default", probe="client 10.1.0.99:80/udp", gives="unreachable NO_ROUTE"),
    c("mark-in-output-routes-again", "router", "client: iptables -t mangle -A OUTPUT -p tcp -j MARK --set-mark 9",
      "client: ip rule add fwmark 9 prio 50 blackhole", probe=SERVER, gives="timeout BLACKHOLED"),
    c("localnet-off", "router", "client: iptables -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80",
      "client: iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", probe="client 127.0.0.1:8080", gives="timeout MARTIAN"),
    c("localnet-on", "router", "client: iptables -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80",
      "client: iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", "client: sysctl -qw net.ipv4.conf.all.route_localnet=1",
      probe="client 127.0.0.1:8080", gives="connected DELIVERED"),
    c("nat-in-both-back-ends", "router", "r: iptables -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80",
      "r: iptables-legacy -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 9090 -j DNAT --to-destination 10.2.0.2:80",
      probe="client 10.1.0.1:9090", gives="connected DELIVERED"),
    c("clamped-mss", "router", "r: ip link set s mtu 1300", "r: iptables -A FORWARD -p icmp -j DROP",
      "r: iptables -t mangle -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", probe=SERVER, gives="connected DELIVERED"),
)  # fmt: skip

WAYS = (
    c("asymmetric", "two-ways", "server: ip route replace default via 10.4.0.1", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      probe="client 10.2.0.2:80", gives="connected DELIVERED"),
    c("asymmetric-strict", "two-ways", "server: ip route replace default via 10.4.0.1", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      "server: sysctl -qw net.ipv4.conf.all.rp_filter=1", probe="client 10.2.0.2:80", gives="timeout REVERSE_PATH_FILTERED"),
    c("asymmetric-loose", "two-ways", "server: ip route replace default via 10.4.0.1", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      "server: sysctl -qw net.ipv4.conf.all.rp_filter=2", probe="client 10.2.0.2:80", gives="connected DELIVERED"),
    c("asymmetric-strict-at-the-client", "two-ways", "server: ip route replace default via 10.4.0.1", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      "client: sysctl -qw net.ipv4.conf.eth1.rp_filter=1", probe="client 10.2.0.2:80", gives="timeout REVERSE_PATH_FILTERED"),
    c("asymmetric-invalid", "two-ways", "server: ip route replace default via 10.4.0.1", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      "r2: iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP", probe="client 10.2.0.2:80", gives="timeout DROPPED_BY_RULE"),
    c("asymmetric-ack-invalid", "two-ways", "server: ip route replace default via 10.4.0.1", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      "r1: iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP", probe="client 10.2.0.2:80", gives="stalls DROPPED_BY_RULE"),
    c("multipath", "two-ways", "client: ip route replace default nexthop via 10.1.0.1 nexthop via 10.3.0.1",
      "server: ip addr add 10.9.0.1/32 dev lo", "r1: true", "r2: iptables -A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
      "client: sysctl -qw net.ipv4.fib_multipath_hash_policy=1",
      "r1: ip route add 10.3.0.0/24 via 10.2.0.2", "r2: ip route add 10.1.0.0/24 via 10.3.0.2",
      probe="client 10.9.0.1:80", gives="mixed REJECTED", count=40),
    c("src-valid-mark", "two-ways", "server: ip route add default via 10.4.0.1 table 7", "server: ip rule add fwmark 7 lookup 7",
      "client: ip route add 10.4.0.0/24 via 10.3.0.1", "server: sysctl -qw net.ipv4.conf.all.rp_filter=1",
      "server: iptables -t mangle -A PREROUTING -i eth1 -j MARK --set-mark 7",
      "server: ip route del default", probe="client 10.4.0.2:80", gives="timeout REVERSE_PATH_FILTERED"),
    c("bound-source", "two-ways", "client: ip rule add from 10.3.0.2 lookup 9 prio 10", "client: ip route add default via 10.3.0.1 table 9",
      "r2: ip route add 10.2.0.0/24 via 10.4.0.2", "server: ip route add 10.3.0.0/24 via 10.4.0.1",
      "r1: iptables -P FORWARD DROP", probe="client 10.2.0.2:80", gives="connected DELIVERED", src="10.3.0.2"),
    c("loop", "two-ways", "server: sysctl -qw net.ipv4.ip_forward=1", "server: ip route add 10.77.0.0/24 via 10.2.0.1",
      probe="client 10.77.0.1:80", gives="unreachable LOOP"),
    c("arp-by-proxy", "two-ways", "client: ip route add 10.2.0.0/24 dev eth0", "r1: sysctl -qw net.ipv4.conf.c.proxy_arp=1",
      probe="client 10.2.0.2:80", gives="connected DELIVERED"),
    c("arp-without-proxy", "two-ways", "client: ip route add 10.2.0.0/24 dev eth0",
      probe="client 10.2.0.2:80", gives="unreachable NEIGHBOUR_FAILED"),
)  # fmt: skip

NODE_PORT = "outside 192.168.50.11:30080"

PODS = (
    c("pod-to-pod", "pods", probe="pod1 10.244.1.3:9376", gives="connected DELIVERED"),
    c("pod-to-service", "pods", probe="pod1 10.96.0.1:80", gives="connected DELIVERED", count=30),
    c("pod-to-dns", "pods", probe="pod1 10.96.0.10:53/udp", gives="connected DELIVERED"),
    c("node-to-service-without-default-route", "pods", probe="node 10.96.0.1:80", gives="unreachable NO_ROUTE"),
    c("node-to-service", "pods", "node: ip route add default via 192.168.50.100", probe="node 10.96.0.1:80",
      gives="connected DELIVERED", count=20),
    c("outside-to-node-port", "pods", probe=NODE_PORT, gives="connected DELIVERED", count=30),
    c("pod-to-node-port", "pods", probe="pod1 192.168.50.11:30080", gives="connected DELIVERED", count=20),
    c("node-to-its-node-port", "pods", probe="node 192.168.50.11:30080", gives="connected DELIVERED", count=20),
    c("node-to-localhost-node-port", "pods", probe="node 127.0.0.1:30080", gives="timeout MARTIAN"),
    c("pod-to-outside", "pods", probe="pod1 192.168.50.100:9376", gives="connected DELIVERED"),
    c("masquerade-missing", "pods", "node: iptables -t nat -D POSTROUTING 2", probe="pod1 192.168.50.100:9376",
      gives="timeout NO_ROUTE"),
    c("hairpin-off", "pods", "node: for n in 1 2 3; do bridge link set dev veth$n hairpin off; done",
      probe="pod1 10.96.0.1:80", gives="mixed BRIDGE_DROPPED", count=30),
    c("hairpin-masquerade-missing", "pods", "node: iptables -t nat -D KUBE-SEP1 1", probe="pod1 10.96.0.1:80",
      gives="mixed MARTIAN", count=30),
    c("bridge-nf-off", "pods", "node: sysctl -qw net.bridge.bridge-nf-call-iptables=0", probe="pod1 10.96.0.10:53/udp",
      gives="timeout UNEXPECTED"),
    c("bridge-nf-off-tcp", "pods", "node: sysctl -qw net.bridge.bridge-nf-call-iptables=0", probe="pod1 10.96.0.1:80",
      gives="mixed UNEXPECTED", count=30),
    c("bridge-nf-off-pod-to-pod-drop", "pods", "node: sysctl -qw net.bridge.bridge-nf-call-iptables=0",
      "node: iptables -P FORWARD DROP", probe="pod1 10.244.1.3:9376", gives="connected DELIVERED"),
    c("bridge-nf-on-pod-to-pod-drop", "pods", "node: iptables -P FORWARD DROP", probe="pod1 10.244.1.3:9376",
      gives="timeout DROPPED_BY_RULE"),
    c("forward-drop-spares-node-ports", "pods", "node: iptables -P FORWARD DROP", probe=NODE_PORT, gives="connected DELIVERED", count=10),
    c("forward-drop-kills-egress", "pods", "node: iptables -P FORWARD DROP", probe="pod1 192.168.50.100:9376",
      gives="timeout DROPPED_BY_RULE"),
    c("input-drop-spares-node-ports", "pods", "node: iptables -P INPUT DROP", probe=NODE_PORT, gives="connected DELIVERED", count=10),
    c("ip-forward-off-bridged-dnat", "pods", "node: sysctl -qw net.ipv4.ip_forward=0", probe="pod1 10.96.0.10:53/udp",
      gives="timeout NOT_FORWARDED"),
    c("ip-forward-off-node-to-service", "pods", "node: sysctl -qw net.ipv4.ip_forward=0", "node: ip route add default via 192.168.50.100",
      probe="node 10.96.0.1:80", gives="connected DELIVERED", count=10),
    c("ip-forward-off-node-port", "pods", "node: sysctl -qw net.ipv4.ip_forward=0", probe=NODE_PORT, gives="timeout NOT_FORWARDED"),
    c("postrouting-jump-missing", "pods", "node: iptables -t nat -D POSTROUTING 1", probe=NODE_PORT, gives="connected DELIVERED"),
    c("postrouting-jump-missing-self", "pods", "node: iptables -t nat -D POSTROUTING 1", probe="pod1 10.96.0.1:80",
      gives="mixed MARTIAN", count=30),
    c("services-jump-missing-node-port", "pods", "node: iptables -t nat -D PREROUTING 1", probe=NODE_PORT, gives="refused NOT_LISTENING"),
    c("services-jump-missing-pod", "pods", "node: iptables -t nat -D PREROUTING 1", "node: ip route add default via 192.168.50.100",
      probe="pod1 10.96.0.1:80", gives="timeout NOT_FORWARDED"),
    c("stale-endpoint", "pods", "node: iptables -t nat -R KUBE-DNS 1 -p udp -j DNAT --to-destination 10.244.1.99:53",
      probe="pod1 10.96.0.10:53/udp", gives="unreachable NEIGHBOUR_FAILED"),
    c("stale-endpoint-from-the-node", "pods", "node: iptables -t nat -R KUBE-DNS 1 -p udp -j DNAT --to-destination 10.244.1.99:53",
      "node: ip route add default via 192.168.50.100", probe="node 10.96.0.10:53/udp", gives="unreachable NEIGHBOUR_FAILED"),
    c("wrong-target-port", "pods", "node: iptables -t nat -R KUBE-DNS 1 -p udp -j DNAT --to-destination 10.244.1.3:54",
      probe="pod1 10.96.0.10:53/udp", gives="refused NOT_LISTENING"),
    c("no-endpoints", "pods", "node: iptables -A FORWARD -d 10.96.0.7 -m conntrack --ctstate NEW -j REJECT", "node: ip route add default via 192.168.50.100",
      probe="pod1 10.96.0.7:80", gives="refused REJECTED"),
    c("isolated", "pods", "node: bridge link set dev veth1 isolated on", "node: bridge link set dev veth2 isolated on",
      probe="pod1 10.244.1.3:9376", gives="unreachable NEIGHBOUR_FAILED"),
    c("port-disabled", "pods", "node: bridge link set dev veth2 state 0", probe="pod1 10.244.1.3:9376", gives="unreachable NEIGHBOUR_FAILED"),
    c("pod-down", "pods", "pod2: ip link set eth0 down", probe="pod1 10.244.1.3:9376", gives="unreachable NEIGHBOUR_FAILED"),
    c("veth-detached", "pods", "node: ip link set veth2 nomaster", probe="pod1 10.244.1.3:9376", gives="unreachable NEIGHBOUR_FAILED"),
    c("bridge-down", "pods", "node: ip link set cni0 down", probe="pod1 10.244.1.3:9376", gives="unreachable NEIGHBOUR_FAILED"),
    c("bridge-address-missing", "pods", "node: ip addr del 10.244.1.1/24 dev cni0", probe="pod1 192.168.50.100:9376",
      gives="unreachable NEIGHBOUR_FAILED"),
    c("physdev-bridged", "pods", "node: iptables -A FORWARD -m physdev --physdev-is-bridged --physdev-in veth1 -j DROP",
      probe="pod1 10.244.1.3:9376", gives="timeout DROPPED_BY_RULE"),
    c("physdev-out", "pods", "node: iptables -A FORWARD -m physdev --physdev-out veth3 -j DROP",
      probe="pod1 10.244.1.3:9376", gives="connected DELIVERED"),
    c("physdev-in-routed", "pods", "node: iptables -A FORWARD -m physdev --physdev-in veth1 -j DROP",
      probe="pod1 192.168.50.100:9376", gives="timeout DROPPED_BY_RULE"),
    c("physdev-not-bridged-routed", "pods", "node: iptables -A FORWARD -o eth0 -m physdev ! --physdev-is-bridged -j DROP",
      probe="pod1 192.168.50.100:9376", gives="timeout DROPPED_BY_RULE"),
    c("bridge-in-device", "pods", "node: iptables -A FORWARD -i cni0 -o cni0 -j DROP", probe="pod1 10.244.1.3:9376", gives="timeout DROPPED_BY_RULE"),
    c("rejected-in-the-bridge", "pods", "node: iptables -A FORWARD -i cni0 -o cni0 -j REJECT", probe="pod1 10.244.1.3:9376", gives="refused REJECTED"),
    c("reset-in-the-bridge", "pods", "node: iptables -A FORWARD -i cni0 -o cni0 -p tcp -j REJECT --reject-with tcp-reset",
      probe="pod1 10.244.1.3:9376", gives="refused REJECTED"),
    c("rejected-after-bridged-dnat", "pods", "node: iptables -A FORWARD -d 10.244.1.3 -p udp -j REJECT", probe="pod1 10.96.0.10:53/udp",
      gives="refused REJECTED"),
    c("notrack-on-service", "pods", "node: iptables -t raw -A PREROUTING -d 10.96.0.10 -j CT --notrack", "node: ip route add default via 192.168.50.100",
      probe="pod1 10.96.0.10:53/udp", gives="timeout NOT_FORWARDED"),
    c("pod-address-on-lo", "pods", "node: ip addr add 10.244.1.3/32 dev lo", probe="outside 192.168.50.11:30081", gives="refused NOT_LISTENING"),
    c("wrong-permanent-neighbour-in-the-bridge", "pods", "node: ip neigh replace 10.244.1.3 lladdr 02:00:00:00:00:99 dev cni0 nud permanent",
      probe="node 10.244.1.3:9376", gives="timeout OTHERHOST"),
    c("duplicate-dnat-first-wins", "pods", "node: iptables -t nat -I KUBE-SERVICES 1 -d 10.96.0.1 -p tcp -j DNAT --to-destination 10.244.1.4:9376",
      probe="pod1 10.96.0.1:80", gives="connected DELIVERED"),
)  # fmt: skip

VXLAN = (
    c("vxlan", "vxlan", probe="pod1 10.244.2.2:9376", gives="connected DELIVERED"),
    c("vxlan-from-the-node", "vxlan", probe="node1 10.244.2.2:9376", gives="connected DELIVERED"),
    c("vxlan-udp", "vxlan", probe="pod1 10.244.2.2:53/udp", gives="connected DELIVERED"),
    c("fdb-missing", "vxlan", "node1: bridge fdb flush dev flannel.1", probe="pod1 10.244.2.2:9376",
      gives="timeout NO_TUNNEL_DESTINATION"),
    c("fdb-missing-on-the-way-back", "vxlan", "node2: bridge fdb flush dev flannel.1", probe="pod1 10.244.2.2:9376",
      gives="timeout NO_TUNNEL_DESTINATION"),
    c("vtep-neighbour-missing", "vxlan", "node1: ip neigh flush dev flannel.1 nud permanent", probe="pod1 10.244.2.2:9376",
      gives="unreachable NEIGHBOUR_FAILED"),
    c("fdb-to-nobody", "vxlan", "node1: mac=$(bridge fdb show dev flannel.1 | cut -c1-17 | head -1); bridge fdb replace $mac dev flannel.1 dst 192.168.50.77",
      probe="pod1 10.244.2.2:9376", gives="timeout NEIGHBOUR_FAILED"),
    c("pod-route-missing", "vxlan", "node1: ip route del 10.244.2.0/24", probe="pod1 10.244.2.2:9376", gives="unreachable NO_ROUTE"),
    c("vtep-mac-changed", "vxlan", "node2: ip link set flannel.1 address 02:00:00:00:00:99", probe="pod1 10.244.2.2:9376",
      gives="timeout OTHERHOST"),
    c("overlay-blocked", "vxlan", "node2: iptables -A INPUT -p udp --dport 8472 -j DROP", probe="pod1 10.244.2.2:9376",
      gives="timeout DROPPED_BY_RULE"),
    c("overlay-rejected", "vxlan", "node2: iptables -A INPUT -p udp --dport 8472 -j REJECT", probe="pod1 10.244.2.2:9376",
      gives="timeout REJECTED"),
    c("overlay-blocked-on-the-way-out", "vxlan", "node1: iptables -A OUTPUT -p udp --dport 8472 -j DROP", probe="pod1 10.244.2.2:9376",
      gives="timeout DROPPED_BY_RULE"),
    c("vni-differs", "vxlan", "node2: ip link del flannel.1",
      "node2: ip link add flannel.1 type vxlan id 2 local 192.168.50.12 dev eth0 dstport 8472 nolearning && ip link set flannel.1 up",
      probe="pod1 10.244.2.2:9376", gives="timeout NO_TUNNEL_DESTINATION"),
    c("vxlan-port-differs", "vxlan", "node2: ip link del flannel.1",
      "node2: ip link add flannel.1 type vxlan id 1 local 192.168.50.12 dev eth0 dstport 4789 nolearning && ip link set flannel.1 up",
      probe="pod1 10.244.2.2:9376", gives="timeout NOT_LISTENING"),
    c("tunnel-down", "vxlan", "node2: ip link set flannel.1 down", probe="pod1 10.244.2.2:9376", gives="timeout NOT_LISTENING"),
    c("pod-mtu-too-big", "vxlan", "pod1: ip link set eth0 mtu 1500", "node1: ip link set veth1 mtu 1500",
      probe="pod1 10.244.2.2:9376", gives="connected DELIVERED"),
    c("masquerade-marks-the-outer-packet", "vxlan", "node1: iptables -t mangle -A PREROUTING -i cni0 -j MARK --set-mark 0x4000",
      "node1: iptables -t nat -A POSTROUTING -m mark --mark 0x4000 -j MASQUERADE --random-fully",
      probe="pod1 10.244.2.2:9376", gives="connected DELIVERED"),
)  # fmt: skip

CASES = (*ROUTER, *RULES, *NAT, *WAYS, *PODS, *VXLAN)


@pytest.fixture
def net(netns: Bed) -> Iterator[Net]:
    """A network that is being built."""
    found = Net(netns)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.topology}-{case.name}" for case in CASES])
def test_the_walk_and_the_kernel_agree(net: Net, case: Case) -> None:
    """A real connection ends as the walk says, for the reason that the case was made for."""
    TOPOLOGIES[case.topology](net)
    for label, line in case.commands:
        net.sh(label, line)
    source, dst, port, proto = case.probe
    flow = net.flow(source, dst, port, proto, **case.options)
    answer = net.agree(flow, count=case.tries)
    assert (answer.outcome, answer.verdict) == (case.outcome, case.verdict), [
        (path.outcome, path.reason) for path in answer.paths
    ]
