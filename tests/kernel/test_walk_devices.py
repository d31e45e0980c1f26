"""
The walk against the kernel at devices: bridges with their ports' switches, macvlans, what stands between.

Each case is built, read, walked and really tried; UNKNOWN is a failure.
"""

import pytest

from tests.kernel.cases import Case, c, try_case
from tests.kernel.walkbed import Net

POD = "pod1 10.244.1.3:9376"
FAILS = "unreachable NEIGHBOUR_FAILED"

#: Nothing but the probe makes a bridge learn: no IPv6, and an empty database.
QUIET = (
    *(f"pod{number}: sysctl -qw net.ipv6.conf.all.disable_ipv6=1" for number in (1, 2, 3)),
    "node: for n in 1 2 3; do ip link set veth$n type bridge_slave fdb_flush; done",
)
#: Both pods know each other without asking.
KNOWN = (
    "pod1: ip neigh replace 10.244.1.3 lladdr $MAC_pod2_eth0 dev eth0 nud permanent",
    "pod2: ip neigh replace 10.244.1.2 lladdr $MAC_pod1_eth0 dev eth0 nud permanent",
)
ONE_BACKEND = (
    "node: iptables -t nat -I KUBE-SERVICES 1 -d 10.96.0.1 -p tcp -j DNAT --to-destination 10.244.1.3:9376"
)
RESET = "-p tcp -j REJECT --reject-with tcp-reset"

BRIDGE = (
    c("state-learning", "pods", "node: bridge link set dev veth2 state 2", probe=POD, gives=FAILS),
    c("state-learning-at-the-way-in", "pods", "node: bridge link set dev veth1 state 2", probe=POD, gives=FAILS),
    c("state-learning-with-known-neighbours", "pods", *KNOWN, "node: bridge link set dev veth1 state 2", probe=POD,
      gives="timeout BRIDGE_DROPPED"),
    c("state-listening", "pods", "node: bridge link set dev veth2 state 1", probe=POD, gives=FAILS),
    c("state-listening-with-known-neighbours", "pods", *KNOWN, "node: bridge link set dev veth2 state 1", probe=POD,
      gives="timeout BRIDGE_DROPPED"),
    c("broadcasts-not-flooded", "pods", "node: bridge link set dev veth2 bcast_flood off", probe=POD, gives=FAILS),
    c("broadcasts-of-the-host-flooded-all-the-same", "pods", "node: bridge link set dev veth2 bcast_flood off",
      probe="node 10.244.1.3:9376", gives="connected DELIVERED"),
    c("broadcasts-not-needed", "pods", *KNOWN, "node: bridge link set dev veth2 bcast_flood off", probe=POD, gives="connected DELIVERED"),
    c("unknown-unicast-flooded", "pods", *KNOWN, *QUIET, probe=POD, gives="connected DELIVERED"),
    c("unknown-unicast-not-flooded", "pods", *KNOWN, *QUIET, "node: bridge link set dev veth2 flood off", probe=POD,
      gives="timeout BRIDGE_DROPPED"),
    c("learning-off", "pods", *QUIET, "node: for n in 1 2 3; do bridge link set dev veth$n learning off; done", probe=POD,
      gives="connected DELIVERED"),
    c("learning-and-flooding-off-loses-the-arp-answer", "pods", *QUIET, "node: bridge link set dev veth1 learning off flood off",
      probe=POD, gives=FAILS),
    c("the-database-sends-the-arp-answer-elsewhere", "pods", *QUIET, "node: bridge link set dev veth1 learning off",
      "node: bridge fdb replace $MAC_pod1_eth0 dev veth3 master static", probe=POD, gives=FAILS),
    c("a-static-entry-for-the-wrong-port", "pods", *QUIET, *KNOWN, "node: bridge fdb replace $MAC_pod2_eth0 dev veth3 master static",
      probe=POD, gives="timeout OTHERHOST"),
    c("a-local-entry-takes-the-frame-up-and-sends-the-hosts-own-out", "pods", *QUIET, *KNOWN,
      "node: bridge fdb replace $MAC_pod2_eth0 dev veth3 master permanent", probe=POD, gives="timeout OTHERHOST"),
    c("a-local-entry-of-the-bridge-itself", "pods", *QUIET, *KNOWN,
      "node: bridge fdb replace $MAC_pod2_eth0 dev cni0 self permanent", probe=POD, gives="timeout BRIDGE_DROPPED"),
    c("neigh-suppress-without-knowledge", "pods", "node: bridge link set dev veth2 neigh_suppress on", probe=POD, gives="connected DELIVERED"),
    c("neigh-suppress-answers", "pods", *QUIET, "node: bridge link set dev veth2 neigh_suppress on",
      "node: bridge fdb replace $MAC_pod2_eth0 dev veth2 master static", "pod2: sysctl -qw net.ipv4.conf.eth0.arp_ignore=8",
      "pod2: ip neigh replace 10.244.1.2 lladdr $MAC_pod1_eth0 dev eth0 nud permanent",
      "node: ip neigh replace 10.244.1.3 lladdr $MAC_pod2_eth0 dev cni0 nud permanent", probe=POD, gives="connected DELIVERED"),
    c("neigh-suppress-answers-with-what-the-host-believes", "pods", "node: bridge link set dev veth2 neigh_suppress on",
      "node: bridge fdb replace 02:00:00:00:00:99 dev veth2 master static",
      "node: ip neigh replace 10.244.1.3 lladdr 02:00:00:00:00:99 dev cni0 nud permanent", probe=POD, gives="timeout OTHERHOST"),
    c("neigh-suppress-keeps-the-request-back", "pods", *QUIET, "node: bridge link set dev veth2 neigh_suppress on",
      "node: bridge fdb replace $MAC_pod2_eth0 dev veth3 master static",
      "node: ip neigh replace 10.244.1.3 lladdr $MAC_pod2_eth0 dev cni0 nud permanent", probe=POD, gives=FAILS),
    c("proxy-arp-port-is-not-flooded", "pods", "node: ip link set veth2 type bridge_slave proxy_arp on", probe=POD, gives=FAILS),
    c("proxy-arp-port-asks", "pods", "node: ip link set veth1 type bridge_slave proxy_arp on", probe=POD, gives="connected DELIVERED"),
    c("locked", "pods", *QUIET, "node: bridge link set dev veth1 learning off locked on", probe=POD, gives=FAILS),
    c("locked-and-known", "pods", *QUIET, "node: bridge link set dev veth1 learning off locked on",
      "node: bridge fdb replace $MAC_pod1_eth0 dev veth1 master static", probe=POD, gives="connected DELIVERED"),
    c("locked-with-known-neighbours", "pods", *QUIET, *KNOWN, "node: bridge link set dev veth1 learning off locked on", probe=POD,
      gives="timeout BRIDGE_DROPPED"),
    c("isolated-both-ways-but-the-host", "pods", "node: for n in 1 2 3; do bridge link set dev veth$n isolated on; done",
      probe="pod1 10.244.1.1:9376", gives="connected DELIVERED"),
    c("reset-in-the-bridge-passes-no-hook", "pods", f"node: iptables -A FORWARD {RESET}", "node: iptables -P OUTPUT DROP",
      "node: iptables -t mangle -P POSTROUTING DROP", probe=POD, gives="refused REJECTED"),
    c("reset-after-bridged-dnat-is-not-translated", "pods", ONE_BACKEND, f"node: iptables -A FORWARD {RESET}",
      probe="pod1 10.96.0.1:80", gives="timeout REJECTED"),
    c("reset-of-the-host-behind-the-bridge", "pods", f"node: iptables -A INPUT {RESET}", "node: iptables -P OUTPUT DROP",
      probe="pod1 10.244.1.1:9376", gives="refused REJECTED"),
    c("reset-of-a-routed-packet", "pods", f"node: iptables -A FORWARD {RESET}", "node: iptables -P OUTPUT DROP",
      probe="pod1 192.168.50.100:9376", gives="refused REJECTED"),
    c("reset-needs-a-route", "pods", f"node: iptables -A FORWARD {RESET}", "node: ip route del 10.244.1.0/24 dev cni0",
      probe=POD, gives="timeout REJECTED"),
    c("reset-without-br-netfilter", "pods", f"node: iptables -A FORWARD {RESET}", "node: iptables -P OUTPUT DROP",
      "node: sysctl -qw net.bridge.bridge-nf-call-iptables=0", probe="pod1 192.168.50.100:9376", gives="timeout REJECTED"),
)  # fmt: skip


def on_host(mode: str) -> tuple[str, ...]:
    """Put a and b on host's device."""
    return (
        f"host: ip link add mva link eth0 type macvlan mode {mode} && ip link set mva netns $NS_a name eth0",
        f"host: ip link add mvb link eth0 type macvlan mode {mode} && ip link set mvb netns $NS_b name eth0",
        "a: ip addr add 10.5.0.2/24 dev eth0 && ip link set eth0 up",
        "b: ip addr add 10.5.0.3/24 dev eth0 && ip link set eth0 up",
    )


PASSTHRU = (
    "host: ip link add mva link eth0 type macvlan mode passthru && ip link set mva netns $NS_a name eth0",
    "a: ip addr add 10.5.0.2/24 dev eth0 && ip link set eth0 up",
)
HAIRPIN = "wire: bridge link set dev port1 hairpin on"
GOOD = "connected DELIVERED"

MACVLAN = (
    c("bridge-to-each-other", "macvlan", *on_host("bridge"), probe="a 10.5.0.3:80", gives=GOOD),
    c("private-to-each-other", "macvlan", *on_host("private"), probe="a 10.5.0.3:80", gives=FAILS),
    c("vepa-to-each-other", "macvlan", *on_host("vepa"), probe="a 10.5.0.3:80", gives=FAILS),
    c("vepa-by-a-reflecting-switch", "macvlan", *on_host("vepa"), HAIRPIN, probe="a 10.5.0.3:80", gives=GOOD),
    c("private-by-a-reflecting-switch", "macvlan", *on_host("private"), HAIRPIN, probe="a 10.5.0.3:80", gives=FAILS),
    c("to-the-host", "macvlan", *on_host("bridge"), probe="a 10.5.0.1:80", gives=FAILS),
    c("from-the-host", "macvlan", *on_host("bridge"), probe="host 10.5.0.2:80", gives=FAILS),
    c("from-the-host-by-a-reflecting-switch", "macvlan", *on_host("bridge"), HAIRPIN, probe="host 10.5.0.2:80", gives=GOOD),
    c("to-far", "macvlan", *on_host("bridge"), probe="a 10.5.0.4:80", gives=GOOD),
    c("private-to-far", "macvlan", *on_host("private"), probe="a 10.5.0.4:80", gives=GOOD),
    c("from-far", "macvlan", *on_host("bridge"), probe="far 10.5.0.3:80", gives=GOOD),
    c("vepa-from-far", "macvlan", *on_host("vepa"), probe="far 10.5.0.3:80", gives=GOOD),
    c("from-far-to-the-host", "macvlan", *on_host("bridge"), probe="far 10.5.0.1:80", gives=GOOD),
    c("passthru-from-far", "macvlan", *PASSTHRU, probe="far 10.5.0.2:80", gives=GOOD),
    c("passthru-to-far", "macvlan", *PASSTHRU, probe="a 10.5.0.4:80", gives=GOOD),
    c("passthru-takes-the-host-its-frames", "macvlan", *PASSTHRU, probe="host 10.5.0.4:80", gives=FAILS),
    c("macvlan-down", "macvlan", *on_host("bridge"), "b: ip link set eth0 down", probe="a 10.5.0.3:80", gives=FAILS),
    c("host-port-down", "macvlan", *on_host("bridge"), "host: ip link set eth0 down", probe="a 10.5.0.4:80",
      gives=FAILS),
    c("the-hosts-rules-do-not-matter", "macvlan", *on_host("bridge"), "host: iptables -P FORWARD DROP", "host: iptables -P INPUT DROP",
      "host: iptables -P OUTPUT DROP", probe="far 10.5.0.3:80", gives=GOOD),
    c("mtu-of-the-device-below", "macvlan", *on_host("bridge"), "host: ip link set eth0 mtu 1300", probe="a 10.5.0.3:80", gives=GOOD),
    c("known-and-wrong", "macvlan", *on_host("bridge"), "a: ip neigh replace 10.5.0.1 lladdr $MAC_host_eth0 dev eth0 nud permanent",
      probe="a 10.5.0.1:80", gives="timeout BRIDGE_DROPPED"),
)  # fmt: skip

#: Instead of static entries: everything goes to everybody, and what comes teaches.
FLOOD = (
    "node1: ip neigh flush dev flannel.1 nud permanent",
    "node2: ip neigh flush dev flannel.1 nud permanent",
    "node1: bridge fdb flush dev flannel.1",
    "node2: bridge fdb flush dev flannel.1",
    "node1: bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.50.12",
    "node2: bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.50.11",
)
NOBODY_TOO = "node1: bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.50.77"
LEARNING = tuple(
    f"node{n}: ip link del flannel.1; ip link add flannel.1 type vxlan id 1 local 192.168.50.1{n} dev eth0 dstport 8472 learning"
    f" && ip addr add 10.244.{n}.0/32 dev flannel.1 && ip link set flannel.1 up mtu 1450"
    f" && ip route add 10.244.{3 - n}.0/24 via 10.244.{3 - n}.0 dev flannel.1 onlink"
    f" && bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.50.1{3 - n}"
    for n in (1, 2)
)
#: The tunnel as a port of the pods' bridge: one segment over both nodes.
STRETCHED = (
    *(f"node{n}: ip link set flannel.1 master cni0; ip addr del 10.244.{n}.1/24 dev cni0" for n in (1, 2)),
    "pod1: ip addr flush dev eth0; ip addr add 10.244.9.1/24 dev eth0",
    "pod2: ip addr flush dev eth0; ip addr add 10.244.9.2/24 dev eth0",
)
OVER = "pod1 10.244.2.2:9376"

VXLAN = (
    c("arp-by-flooding", "vxlan", *FLOOD, probe=OVER, gives=GOOD),
    c("arp-by-flooding-and-learning", "vxlan", *LEARNING, probe=OVER, gives=GOOD),
    c("arp-by-flooding-to-several", "vxlan", *FLOOD, NOBODY_TOO, probe=OVER, gives=GOOD),
    c("arp-is-not-flooded-back", "vxlan", *FLOOD, "node2: bridge fdb flush dev flannel.1", probe=OVER, gives=FAILS),
    c("arp-and-no-default-destination", "vxlan", *FLOOD, "node1: bridge fdb flush dev flannel.1", probe=OVER, gives=FAILS),
    c("arp-over-a-blocked-overlay", "vxlan", *FLOOD, "node2: iptables -A INPUT -p udp --dport 8472 -j DROP", probe=OVER, gives=FAILS),
    c("arp-answer-over-a-blocked-overlay", "vxlan", *FLOOD, "node1: iptables -A INPUT -p udp --dport 8472 -j DROP", probe=OVER, gives=FAILS),
    c("arp-to-another-vni", "vxlan", *FLOOD, "node1: bridge fdb flush dev flannel.1",
      "node1: bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.50.12 vni 7", probe=OVER, gives=FAILS),
    c("an-entry-with-another-port", "vxlan", "node1: bridge fdb replace $MAC_node2_flannel.1 dev flannel.1 dst 192.168.50.12 port 4789",
      probe=OVER, gives="timeout NOT_LISTENING"),
    c("an-entry-with-another-vni", "vxlan", "node1: bridge fdb replace $MAC_node2_flannel.1 dev flannel.1 dst 192.168.50.12 vni 9",
      probe=OVER, gives="timeout NO_TUNNEL_DESTINATION"),
    c("a-device-below-is-not-for-each-entry", "vxlan", "node1: ip route del 192.168.50.0/24 dev eth0", probe=OVER, gives="timeout NO_ROUTE"),
    c("an-entry-with-a-device", "vxlan", "node1: ip route del 192.168.50.0/24 dev eth0",
      "node1: bridge fdb replace $MAC_node2_flannel.1 dev flannel.1 dst 192.168.50.12 via eth0", probe=OVER, gives=GOOD),
    c("a-frame-against-a-static-entry", "vxlan", *LEARNING, "node2: bridge fdb replace $MAC_node1_flannel.1 dev flannel.1 dst 192.168.50.99 static",
      probe=OVER, gives=FAILS),
    c("stretched", "vxlan", *LEARNING, *STRETCHED, probe="pod1 10.244.9.2:9376", gives=GOOD),
    c("stretched-without-learning", "vxlan", *FLOOD, *STRETCHED, probe="pod1 10.244.9.2:9376", gives=GOOD),
    c("stretched-and-nobody-there", "vxlan", *LEARNING, *STRETCHED, probe="pod1 10.244.9.7:9376", gives=FAILS),
    c("stretched-to-several", "vxlan", *FLOOD, NOBODY_TOO, *STRETCHED, probe="pod1 10.244.9.2:9376", gives=GOOD),
)  # fmt: skip

CASES = (*BRIDGE, *MACVLAN, *VXLAN)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.topology}-{case.name}" for case in CASES])
def test_the_walk_and_the_kernel_agree_at_devices(net: Net, case: Case) -> None:
    """A frame goes where the walk says: by the bridge's switches, and by who sits on a device."""
    try_case(net, case)
