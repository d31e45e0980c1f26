"""`nettrace trace --probe` over IPv6, from target text to agreement, on namespaces that stand."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.kernel.walkbed import Net
from tests.kernel.walkbed6 import TOPOLOGIES6


@pytest.fixture
def net(net: Net) -> Net:
    """The dual-stack router, which translates fd00:96::1 and drops port 81."""
    TOPOLOGIES6["router"](net)
    net.sh("r", "ip6tables -A FORWARD -p tcp --dport 81 -j DROP")
    net.sh("r", "ip6tables-legacy -t mangle -A FORWARD -p tcp -j MARK --set-mark 1")
    net.sh("r", "ip6tables -t nat -A PREROUTING -d fd00:96::1 -p tcp -j DNAT --to-destination fd00:2::2")
    return net


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        ("[fd00:2::2]:80", "connected"),
        ("[fd00:2::2]:7/udp", "connected"),
        ("fd00:2::2/icmpv6", "connected"),
        ("fd00:2::2/icmp", "connected"),
        ("[fd00:96::1]:80", "connected"),
        ("[fd00:2::2]:81", "timeout"),
        ("[fd00:2::2]:82", "refused"),
        ("[fd00:2::2]:9/udp", "refused"),
        ("[fd99::9]:80", "unreachable"),
    ],
)
def test_a_traced_probe_agrees_rule_by_rule(net: Net, target: str, outcome: str) -> None:
    """The walk of an IPv6 target and the kernel's rules, frames, drops and errno are the same."""
    found = traced(net, target, "--probe")
    assert found["outcome"] == outcome
    assert found["agreement"]["agrees"] is True, found["agreement"]


@pytest.mark.parametrize("option", ["--ttl=1", "--mark=7", "--sport=4000", "--size=1400"])
def test_crafted_probes_over_ipv6(net: Net, option: str) -> None:
    """What options make of the packet, they make of the probe."""
    found = traced(net, "fd00:2::2/icmpv6" if "size" in option else "[fd00:2::2]:80", "--probe", option)
    assert found["outcome"] == ("unreachable" if "ttl" in option else "connected")
    assert found["agreement"]["agrees"] is True, found["agreement"]


def traced(net: Net, target: str, *options: str) -> dict[str, Any]:
    """Run the command and return its JSON."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nettrace",
            "trace",
            f"netns/{net['client'].name}",
            target,
            *options,
            "-o",
            "json",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
