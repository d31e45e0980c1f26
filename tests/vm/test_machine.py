"""The guest is what the tests here need, and its results come out as they are."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kernel.bed import Bed
from tests.vm.machine import IN_GUEST

ROOT = Path(__file__).parents[2]


def test_it_runs_inside() -> None:
    """A test of this folder runs as root in user-mode Linux, in this checkout's environment."""
    assert IN_GUEST
    assert os.geteuid() == 0
    assert "User Mode Linux" in Path("/proc/cpuinfo").read_text(encoding="ascii")


@pytest.mark.parametrize(
    "command",
    [
        "ipvsadm -A -t 10.0.0.1:80 -s rr",
        "ip link add dummy7 type dummy",
        "ip link add tun7 type ipip local 10.0.0.1 remote 10.0.0.2",
        "ip link add vx7 type vxlan id 7 dstport 4789 dev lo",
        "iptables -t nat -A POSTROUTING -j MASQUERADE",
        "ipset create seven hash:ip,port",
    ],
)
def test_the_kernel_has_what_is_needed(netns: Bed, command: str) -> None:
    """IPVS, dummy, IPIP and VXLAN devices, iptables and ipsets can be made in a namespace."""
    netns.new().run(*command.split())


def test_the_machine_outside_cannot_be_written() -> None:
    """What is written inside is there, and vanishes with the guest."""
    path = ROOT / "written-inside"
    path.touch()
    assert path.exists()


def test_failures_have_their_code() -> None:
    """A command that fails inside gives its code."""
    assert subprocess.run(["sh", "-c", "exit 7"], check=False).returncode == 7
