"""Changes as shell commands."""

import shlex
import subprocess
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.change import (
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    FdbAdd,
    FdbDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    PolicySet,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.links import FdbEntry, Neighbour
from nettrace.model.routes import NextHop, Route
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.xt import XtRule
from nettrace.parse.iptables import parse_rule
from nettrace.render.command import argv, command

NAT: dict[str, Any] = {"netns": "n", "backend": "nft", "table": "nat"}
OLD: dict[str, Any] = {"netns": "n", "backend": "legacy", "table": "filter"}
POSTROUTING = parse_rule('-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING')
REJECT = parse_rule("-d 10.96.0.1/32 ! -i cni0 -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset")
OVERLAY = Route(dst="10.244.2.0/24", nexthops=(NextHop(device="flannel.1", via="10.244.2.0", onlink=True),))
FDB = FdbEntry(device="flannel.1", mac="02:00:00:00:00:01", dst="172.18.0.3", permanent=True)
PORT = FdbEntry(device="v0", mac="02:00:00:00:00:02", master="cni0", static=True)
NEIGHBOUR = Neighbour(device="flannel.1", address="10.244.2.0", mac="02:00:00:00:00:01", state="permanent")
DNS = ConntrackEntry(
    proto="udp",
    original=Tuple(src="10.244.1.2", dst="10.96.0.10", sport=4000, dport=53),
    reply=Tuple(src="10.244.1.9", dst="10.244.1.2", sport=53, dport=4000),
)


def added(route: Route) -> RouteAdd:
    """The addition of *route*."""
    return RouteAdd(netns="n", route=route)


COMMANDS: list[tuple[Change, str]] = [
    (SysctlSet(netns="n", name="net.ipv4.ip_forward", value="1"), "sysctl -w net.ipv4.ip_forward=1"),
    (
        SysctlSet(netns="n", name="net.ipv4.conf.flannel/1.rp_filter", value="0"),
        "sysctl -w net.ipv4.conf.flannel/1.rp_filter=0",
    ),
    (
        SysctlSet(netns="n", name="net.ipv4.ip_local_port_range", value="1024 65000"),
        "sysctl -w 'net.ipv4.ip_local_port_range=1024 65000'",
    ),
    (
        RuleInsert(**NAT, chain="POSTROUTING", position=1, rule=POSTROUTING),
        (
            "iptables-nft -t nat -I POSTROUTING 1 -m comment --comment 'kubernetes postrouting rules' "
            "-j KUBE-POSTROUTING"
        ),
    ),
    (
        RuleInsert(**OLD, chain="FORWARD", position=3, rule=REJECT),
        (
            "iptables-legacy -w 10 -t filter -I FORWARD 3 -d 10.96.0.1/32 '!' -i cni0 -p tcp -m tcp "
            "--dport 80 -j REJECT --reject-with tcp-reset"
        ),
    ),
    (RuleDelete(**NAT, chain="OUTPUT", position=2, rule=POSTROUTING), "iptables-nft -t nat -D OUTPUT 2"),
    (
        RuleReplace(**NAT, chain="OUTPUT", position=2, old=POSTROUTING, rule=XtRule()),
        "iptables-nft -t nat -R OUTPUT 2",
    ),
    (PolicySet(**OLD, chain="FORWARD", policy="DROP"), "iptables-legacy -w 10 -t filter -P FORWARD DROP"),
    (
        ChainSet(
            **NAT, chain="KUBE-MARK-MASQ", rules=(parse_rule("-j MARK --set-xmark 0x4000/0x4000"), XtRule())
        ),
        (
            "printf '%s\\n' '*nat' ':KUBE-MARK-MASQ - [0:0]' "
            "'-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000' '-A KUBE-MARK-MASQ' COMMIT "
            "| iptables-nft-restore --noflush"
        ),
    ),
    (
        ChainDelete(**OLD, chain="OLD"),
        "printf '%s\\n' '*filter' ':OLD - [0:0]' '-X OLD' COMMIT | iptables-legacy-restore --noflush -w 10",
    ),
    (
        RouteAdd(netns="n", route=OVERLAY, replaces=replace(OVERLAY, protocol="static")),
        "ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    ),
    (RouteDelete(netns="n", route=OVERLAY), "ip route del 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
    (
        added(
            Route(
                dst="0.0.0.0/0",
                nexthops=(NextHop(device="eth0", via="10.0.0.1"),),
                metric=100,
                protocol="dhcp",
            )
        ),
        "ip route add default via 10.0.0.1 dev eth0 metric 100 proto dhcp",
    ),
    (
        added(
            Route(
                dst="10.1.0.0/24",
                nexthops=(NextHop(device="cni0"),),
                scope="link",
                prefsrc="10.1.0.1",
                table=100,
            )
        ),
        "ip route add 10.1.0.0/24 dev cni0 src 10.1.0.1 table 100",
    ),
    (
        added(Route(dst="10.1.0.7/32", nexthops=(NextHop(device="cni0"),), scope="host", tos=16)),
        "ip route add 10.1.0.7 dev cni0 tos 0x10 scope host",
    ),
    (
        added(
            Route(dst="10.1.0.1/32", type="local", table=255, nexthops=(NextHop(device="lo"),), scope="host")
        ),
        "ip route add local 10.1.0.1 dev lo",
    ),
    (
        added(Route(dst="10.9.0.0/16", type="blackhole", table=255, protocol="kernel")),
        "ip route add blackhole 10.9.0.0/16 table local proto kernel",
    ),
    (
        added(
            Route(
                dst="10.3.0.0/16",
                nexthops=(NextHop(device="a", via="10.0.0.2", weight=2), NextHop(device="b", via="10.0.0.3")),
                mtu=1400,
                more=("mtu", "lock", "advmss", "1360", "features", "1"),
            )
        ),
        (
            "ip route add 10.3.0.0/16 mtu lock 1400 advmss 1360 features ecn "
            "nexthop via 10.0.0.2 dev a weight 2 nexthop via 10.0.0.3 dev b weight 1"
        ),
    ),
    (
        added(Route(dst="10.3.0.0/16", nexthops=(NextHop(device="a", via="fe80::1"),))),
        "ip route add 10.3.0.0/16 via inet6 fe80::1 dev a",
    ),
    (
        added(Route(dst="fd00::7/128", nexthops=(NextHop(device="a", via="fe80::1"),), metric=1024)),
        "ip -6 route add fd00::7 via fe80::1 dev a",
    ),
    (
        added(Route(dst="10.3.0.0/16", nexthops=(NextHop(device="a"),), more=("nhid", "5"))),
        "ip route add 10.3.0.0/16 nhid 5",
    ),
    (LinkSet(netns="n", device="v0", attribute="hairpin", value="on"), "bridge link set dev v0 hairpin on"),
    (LinkSet(netns="n", device="v0", attribute="state", value="3"), "bridge link set dev v0 state 3"),
    (LinkSet(netns="n", device="v0", attribute="master", value="br0"), "ip link set dev v0 master br0"),
    (LinkSet(netns="n", device="v0", attribute="master", value=""), "ip link set dev v0 nomaster"),
    (LinkSet(netns="n", device="v0", attribute="up", value="off"), "ip link set dev v0 down"),
    (LinkSet(netns="n", device="v0", attribute="mtu", value="1450"), "ip link set dev v0 mtu 1450"),
    (
        FdbAdd(netns="n", entry=FDB),
        "bridge fdb replace 02:00:00:00:00:01 dev flannel.1 dst 172.18.0.3 self permanent",
    ),
    (
        FdbAdd(netns="n", entry=replace(FDB, mac="00:00:00:00:00:00", permanent=False)),
        "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 172.18.0.3 self dynamic",
    ),
    (
        FdbAdd(netns="n", entry=replace(PORT, vlan=7)),
        "bridge fdb replace 02:00:00:00:00:02 dev v0 master vlan 7 static",
    ),
    (FdbDelete(netns="n", entry=FDB), "bridge fdb del 02:00:00:00:00:01 dev flannel.1 dst 172.18.0.3 self"),
    (
        NeighbourAdd(netns="n", entry=NEIGHBOUR),
        "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:01 dev flannel.1 nud permanent",
    ),
    (
        NeighbourDelete(netns="n", entry=replace(NEIGHBOUR, address="fd00::7")),
        "ip -6 neigh del fd00::7 dev flannel.1",
    ),
    (
        RecentDelete(netns="n", name="KUBE-SEP-A", address="10.244.1.2"),
        "printf '%s\\n' -10.244.1.2 | tee /proc/net/xt_recent/KUBE-SEP-A",
    ),
    (
        RecentAdd(netns="n", name="KUBE-SEP-A", address="fd00::2"),
        "printf '%s\\n' +fd00::2 | tee /proc/net/xt_recent/KUBE-SEP-A",
    ),
    (
        ConntrackDelete(netns="n", entry=DNS),
        (
            "conntrack -D -p udp --orig-src 10.244.1.2 --orig-dst 10.96.0.10 --reply-src 10.244.1.9 "
            "--reply-dst 10.244.1.2 --orig-port-src 4000 --orig-port-dst 53 --reply-port-src 53 "
            "--reply-port-dst 4000"
        ),
    ),
]


@pytest.mark.parametrize(("change", "expected"), COMMANDS)
def test_commands(change: Change, expected: str) -> None:
    """Each change is written as an engineer would type it, exact to the back end."""
    assert command(change) == expected


@pytest.mark.parametrize(("change", "_expected"), COMMANDS)
def test_a_shell_reads_what_is_run(change: Change, _expected: str) -> None:
    """A shell splits the printed line into exactly the arguments and the input that are run."""
    run = argv(change)
    line = command(change)
    feed, _, program = line.rpartition(" | ") if run.stdin is not None else ("", "", line)
    assert tuple(shlex.split(program)) == run.args
    if run.stdin is not None:
        assert (
            subprocess.run(["sh", "-c", feed], capture_output=True, text=True, check=True).stdout == run.stdin
        )


def test_comments_cannot_leave_their_quotes() -> None:
    """A comment with quotes, a dollar and a semicolon stays one argument of the shell's line."""
    evil = parse_rule(r'-m comment --comment "a \"b\" $(reboot); c" -j ACCEPT')
    change = RuleInsert(**NAT, chain="OUTPUT", position=1, rule=evil)
    assert shlex.split(command(change))[-3] == 'a "b" $(reboot); c'
    chain = ChainSet(**NAT, chain="X", rules=(evil,))
    feed = command(chain).rpartition(" | ")[0]
    done = subprocess.run(["sh", "-c", feed], capture_output=True, text=True, check=True)
    assert done.stdout == argv(chain).stdin
