"""`nettrace watch` on real drops: lines, predictions, traces, floods, and its end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.bed import Bed
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def router(netns: Bed) -> Iterator[Net]:
    """A client, a router and a server."""
    net = Net(netns)
    try:
        TOPOLOGIES["router"](net)
        yield net
    finally:
        net.close()


class Watching:
    """`nettrace watch -o json` that is up."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            # whoever runs the tests in the background has SIGINT ignored, and children take that over
            ["env", "--default-signal=INT", sys.executable, "-m", "nettrace", "watch", "-o", "json", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # It is up once it holds a ring buffer.
        until = time.monotonic() + 10
        while not self.is_up():
            assert time.monotonic() < until
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def is_up(self) -> bool:
        """Does the process hold its program?"""
        found = subprocess.run(
            ["grep", "-l", "prog_type:\t17", "-r", f"/proc/{self.process.pid}/fdinfo"],
            capture_output=True,
            check=False,
        )
        return bool(found.stdout)

    def end(self, interrupt: bool = False) -> tuple[list[dict[str, Any]], str]:
        """Wait for the end and return the documents and stderr."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return [json.loads(one) for one in out.splitlines()], err


def knock(net: Net, label: str, address: str, port: int) -> None:
    """Try to connect by TCP for a moment."""
    net[label].run(
        "timeout", "0.3", "bash", "-c", f"echo > /dev/tcp/{address}/{port}", check=False
    )  # fmt: skip


def name(net: Net, label: str) -> str:
    """Return the name that watch has for a namespace."""
    return net[label].name


def test_a_drop_has_its_rule(router: Net) -> None:
    """Place, reason, packet, and the rule that the walk predicts; the exit code tells that there was one."""
    router.sh("r", "iptables -A FORWARD -p tcp --dport 8081 -j DROP")
    watching = Watching("10.2.0.2:8081", "--count", "1")
    knock(router, "client", "10.2.0.2", 8081)
    [drop], _ = watching.end()
    assert watching.process.returncode == 1
    assert drop["kind"] == "Drop"
    assert (drop["netns"], drop["iif"], drop["sent"]) == (name(router, "r"), "c", False)
    assert (drop["reason"], drop["function"]) == ("NETFILTER_DROP", "nft_do_chain")
    assert (drop["packet"]["dst"], drop["packet"]["dport"]) == ("10.2.0.2", 8081)
    predicted = drop["predicted"]
    assert (predicted["verdict"], predicted["fits"]) == ("DROPPED_BY_RULE", True)
    step = predicted["step"]
    assert (step["table"], step["chain"], step["rule"], step["verdict"]) == ("filter", "FORWARD", 1, "DROP")
    assert drop["confirmed"] is None


@pytest.mark.parametrize(
    ("command", "label", "port", "reason", "verdict"),
    [
        ("r: ip route add blackhole 10.2.0.2/32", "client", 8082, "NOT_SPECIFIED", "BLACKHOLED"),
        ("r: sysctl -qw net.ipv4.ip_forward=0", "client", 8083, "IP_INADDRERRORS", "NOT_FORWARDED"),
        ("client: iptables -A OUTPUT -p tcp -j DROP", "client", 8084, "NETFILTER_DROP", "DENIED"),
        ("r: true", "client", 8085, "NO_SOCKET", "NOT_LISTENING"),
    ],
)
def test_other_places_are_predicted_too(
    router: Net, command: str, label: str, port: int, reason: str, verdict: str
) -> None:
    """A route, a sysctl, the sender's own rules, a socket: the step at which the walk stops."""
    where, _, words = command.partition(": ")
    router.sh(where, words)
    watching = Watching(f"10.2.0.2:{port}", "--count", "1")
    knock(router, label, "10.2.0.2", port)
    [drop], _ = watching.end()
    assert drop["reason"] == reason
    assert (drop["predicted"]["verdict"], drop["predicted"]["fits"]) == (verdict, True)


def test_the_next_packet_confirms_the_rule(router: Net) -> None:
    """With --trace the rule that drops the next SYN is the kernel's own word; no table remains."""
    router.sh("r", "iptables -A FORWARD -p udp -j ACCEPT; iptables -A FORWARD -p tcp --dport 8086 -j DROP")
    watching = Watching("10.2.0.2:8086", "--trace", "--for", "6")
    for _ in range(12):
        knock(router, "client", "10.2.0.2", 8086)
    drops, _ = watching.end()
    [confirmed] = [one["confirmed"] for one in drops if one["confirmed"] is not None]
    assert (confirmed["table"], confirmed["chain"], confirmed["rule"]) == ("filter", "FORWARD", 2)
    assert confirmed["verdict"] == "drop"
    assert "nettrace" not in router["r"].run("nft", "list", "tables")


def test_a_flood_is_counted_not_listed(router: Net) -> None:
    """Thousands of drops are a few lines; every drop is in a count, or among those said to be lost."""
    watching = Watching("10.2.0.2:9/udp", "--for", "3")
    router["client"].run(
        "python3",
        "-c",
        "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for _ in range(20000):\n"
        "    try: s.sendto(b'x', ('10.2.0.2', 9))\n"
        "    except ConnectionRefusedError: pass",
    )
    drops, said = watching.end()
    assert len(drops) < 20
    counted = sum(one["count"] for one in drops if one["reason"] == "NO_SOCKET")
    assert counted > 1000
    assert drops[-1]["repeated"]
    assert counted >= 20000 or "faster than they could be looked at" in said


def test_nothing_dropped_is_well(router: Net) -> None:
    """No drops for the target until the time is over: exit code 0, no output."""
    watching = Watching("10.2.0.2:8087", "--for", "1")
    knock(router, "client", "10.2.0.2", 80)
    assert watching.end() == ([], "")
    assert watching.process.returncode == 0


def test_an_interrupt_ends_it(router: Net) -> None:
    """Ctrl-C: what was counted is told, and the exit code is 130."""
    watching = Watching("10.2.0.2:8088")
    knock(router, "client", "10.2.0.2", 8088)
    time.sleep(1)
    drops, said = watching.end(interrupt=True)
    assert watching.process.returncode == 130
    assert "interrupted" in said
    assert {one["reason"] for one in drops} == {"NO_SOCKET"}


def test_sigkill_leaves_nothing(router: Net) -> None:
    """Killed while it traces: tables and programs go with the process."""
    router.sh("r", "iptables -A FORWARD -p tcp --dport 8089 -j DROP")
    watching = Watching("10.2.0.2:8089", "--trace")
    until = time.monotonic() + 10
    while "nettrace" not in router["r"].run("nft", "list", "tables"):
        knock(router, "client", "10.2.0.2", 8089)
        assert time.monotonic() < until
    watching.process.kill()
    watching.process.communicate()
    until = time.monotonic() + 5
    while "nettrace" in router["r"].run("nft", "list", "tables"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not watching.is_up()
