"""
The walk against the kernel on random routes, policy rules and sysctls.

Two routers between a client and a server; whatever is set, a real packet ends as the walk says.
"""

import random

import pytest

from nettrace.align.outcome import compare
from nettrace.model.flow import Flow
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.walkbed import TOPOLOGIES, Net

SEEDS = range(3)
#: Changes are piled up in one network; after each the probes are made again.
ROUNDS = 8

PROBES = (
    ("client", "10.2.0.2", 7, "udp", ""),
    ("client", "10.4.0.2", 80, "tcp", ""),
    ("client", "10.2.0.2", 80, "tcp", "10.3.0.2"),
    ("server", "10.3.0.2", 9, "udp", ""),
)
SPACES = ("client", "r1", "r2", "server")
DEVICES = {"client": ("eth0", "eth1"), "server": ("eth0", "eth1"), "r1": ("c", "s"), "r2": ("c", "s")}
GATEWAYS = {
    "client": ("10.1.0.1", "10.3.0.1"),
    "server": ("10.2.0.1", "10.4.0.1"),
    "r1": ("10.1.0.2", "10.2.0.2"),
    "r2": ("10.3.0.2", "10.4.0.2"),
}
PREFIXES = (
    "10.1.0.0/24",
    "10.2.0.0/24",
    "10.3.0.0/24",
    "10.4.0.0/24",
    "10.1.0.2",
    "10.2.0.2",
    "10.3.0.2",
    "default",
)


def change(choose: random.Random) -> tuple[str, str]:
    """One change: where, and the command."""
    label = choose.choice(SPACES)
    device = choose.choice((*DEVICES[label], "all"))
    kind = choose.random()
    if kind < 0.25:
        name = choose.choice(("rp_filter", "rp_filter", "accept_local", "src_valid_mark", "route_localnet"))
        value = choose.choice((0, 1, 2)) if name == "rp_filter" else choose.choice((0, 1))
        return label, f"sysctl -qw net.ipv4.conf.{device}.{name}={value}"
    if kind < 0.32:
        return label, f"sysctl -qw net.ipv4.conf.{device}.forwarding={choose.choice((0, 1, 1))}"
    if kind < 0.38:
        name = choose.choice(
            ("arp_ignore=1", "arp_ignore=0", "proxy_arp=1", "arp_filter=1", "arp_announce=2")
        )
        return label, f"sysctl -qw net.ipv4.conf.{device}.{name}"
    if kind < 0.68:
        table = choose.choice(("main", "7", "8"))
        prefix = choose.choice(PREFIXES)
        how = choose.choice(("via", "via", "via", "unreachable", "blackhole", "prohibit", "throw"))
        if how == "via":
            extra = choose.choice(("", "", f"metric {choose.choice((5, 50))}", "tos 16"))
            return (
                label,
                f"ip route replace {prefix} via {choose.choice(GATEWAYS[label])} {extra} table {table}",
            )
        return label, f"ip route replace {how} {prefix} metric 9 table {table}"
    if kind < 0.88:
        selector = choose.choice(
            (
                f"from {choose.choice(PREFIXES[:7])}",
                f"to {choose.choice(PREFIXES[:7])}",
                f"iif {choose.choice(DEVICES[label])}",
                "iif lo",
                f"not from {choose.choice(PREFIXES[:7])}",
                "fwmark 0x0/0x1",
                "ipproto udp dport 7",
                "ipproto udp sport 7",
            )
        )
        action = choose.choice(("lookup 7", "lookup 8", "lookup main suppress_prefixlength 0", "unreachable"))
        return label, f"ip rule add {selector} pref {choose.randint(1, 999)} {action}"
    if kind < 0.94:
        return label, f"ip addr add {choose.choice(('10.1.0.2', '10.2.0.2', '10.9.0.9'))}/32 dev lo || true"
    return (
        label,
        "ip rule flush && ip rule add pref 32766 lookup main && ip rule add pref 0 lookup local || true",
    )


@pytest.fixture
def net(net: Net) -> Net:
    """A client and a server with two routers between them, without limits on ICMP errors."""
    TOPOLOGIES["two-ways"](net)
    for label, space in net.spaces.items():
        space.sysctl("net.ipv4.icmp_ratelimit", 0)
        net.sh(label, "sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 || true")
    return net


def difference(net: Net, flow: Flow) -> str:
    """What the walk and the kernel say differently, "" if nothing."""
    for label in SPACES:  # what was learned before is not part of the question
        net.sh(label, "ip neigh flush all; ip route flush cache")
    walk = net.walked(flow)
    if walk.outcome is Outcome.UNKNOWN:
        return ""
    arp = any(leg.verdict is Verdict.NEIGHBOUR_FAILED for path in walk.paths for leg in path.legs)
    silent = not arp and any(path.outcome is Outcome.TIMEOUT for path in walk.paths)
    observed = net.tried(flow, timeout=0.4 if silent else 3.6)
    agreement = compare(walk, observed)
    said = [(path.verdict, path.outcome, path.errno, path.reason) for path in walk.paths]
    return "" if agreement.agrees else f"{agreement.differences} walk: {said} kernel: {observed.attempts}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_routing(net: Net, seed: int) -> None:
    """After any pile of changes to routes, rules and sysctls the walk and the kernel agree."""
    choose = random.Random(seed)
    done: list[str] = []
    for _ in range(ROUNDS):
        label, line = change(choose)
        net.sh(label, f"{line} 2>/dev/null || true")
        done.append(f"{label}: {line}")
        for source, dst, port, proto, src in PROBES:
            flow = net.flow(source, dst, port, proto, src=src)
            found = difference(net, flow)
            assert not found, "\n".join([f"{source} to {dst}:{port}/{proto} {found}", *done])
