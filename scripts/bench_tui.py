"""
How fast the application answers keys, in a real terminal, on a node of 230,000 rules.

``make bench`` runs it: tmux with 80x24 and 200x60, a snapshot with chains named as kube-proxy names
them and 100,000 connections.  It prints the time to the first screen and to the first useful one,
and the median and the 99th percentile of the time from a key to the screen that shows it.
"""

import hashlib
import statistics
import subprocess
import sys
import time
from base64 import b32encode
from pathlib import Path
from tempfile import TemporaryDirectory

from nettrace.app.snapshot import save
from nettrace.model.links import Address, Link
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.xt import XtChain, XtRule, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule

__all__ = ["large_snapshot", "main"]

#: So many Services make 230,000 rules.
SERVICES, ENDPOINTS, CONNECTIONS = 13_530, 5, 100_000

#: Keys that move, page, jump and look for a text; each changes the screen.
KEYS = [
    *["j"] * 60,
    *["C-f"] * 40,
    *["k"] * 30,
    *["C-b"] * 30,
    "G",
    "g",
    *["j", "l", "h"] * 10,
    *["C-f", "k"] * 10,
]


def large_snapshot() -> Snapshot:
    """Return a node with the rules of as many Services, of 5 endpoints each, and its connections."""
    chains: dict[str, Known[XtChain]] = {}
    dispatch: list[XtRule] = []
    for number in range(SERVICES):
        name = f"shop/service-{number}:http"
        ip = f"10.{96 + number // 65025}.{number // 255 % 255}.{number % 255 + 1}"
        service = _chain("SVC", name)
        comment = f'-m comment --comment "{name} cluster IP"'
        dispatch.append(_rule(f"-d {ip}/32 -p tcp {comment} -m tcp --dport 80 -j {service}"))
        rules = [_rule(f"! -s 10.244.0.0/16 -d {ip}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ")]
        for endpoint in range(ENDPOINTS):
            pod = f"10.244.{(number * 5 + endpoint) // 250 % 250}.{(number * 5 + endpoint) % 250 + 1}"
            chain = _chain("SEP", f"{name}{pod}")
            left = ENDPOINTS - endpoint
            chance = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
            rules.append(_rule(f'-m comment --comment "{name} -> {pod}:8080" {chance}-j {chain}'))
            chains[chain] = _body(
                _rule(f"-s {pod}/32 -j KUBE-MARK-MASQ"),
                _rule(f"-p tcp -m tcp -j DNAT --to-destination {pod}:8080"),
            )
        chains[service] = _body(*rules)
    chains["KUBE-SERVICES"] = _body(*dispatch)
    chains["KUBE-MARK-MASQ"] = _body(_rule("-j MARK --set-xmark 0x4000/0x4000"))
    chains["PREROUTING"] = Known(XtChain(rules=(_rule("-j KUBE-SERVICES"),), policy="ACCEPT"))
    netns = Netns(
        name="node-1",
        node="node-1",
        role="node",
        links=Known((Link(index=2, name="eth0", kind="device"),)),
        addresses=Known((Address(device="eth0", address="192.0.2.1", prefixlen=24),)),
        xt_nft=Known(XtRuleset({"nat": Known(XtTable(chains))})),
        conntrack=Known(tuple(_connection(number) for number in range(CONNECTIONS))),
    )
    return Snapshot(nodes={"node-1": NodeState(name="node-1", netns="node-1")}, namespaces={"node-1": netns})


def _chain(kind: str, name: str) -> str:
    return f"KUBE-{kind}-{b32encode(hashlib.sha256(name.encode()).digest()).decode()[:16]}"


def _rule(text: str) -> XtRule:
    return parse_rule(text)


def _body(*rules: XtRule) -> Known[XtChain]:
    return Known(XtChain(rules=rules))


def _connection(number: int) -> ConntrackEntry:
    src = f"10.244.{number // 250 % 250}.{number % 250 + 1}"
    sport = 32768 + number % 28000
    return ConntrackEntry(
        proto="tcp",
        state="ESTABLISHED",
        original=Tuple(src=src, dst="10.96.0.1", sport=sport, dport=443),
        reply=Tuple(src="192.0.2.1", dst=src, sport=6443, dport=sport),
        status=frozenset({"assured", "confirmed", "seen_reply"}),
        timeout=86400,
    )


class Terminal:
    """One tmux server of our own with one window."""

    def __init__(self, socket: Path, width: int, height: int, command: str) -> None:
        self._socket = str(socket)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), command)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    def screen(self) -> str:
        """Return what stands on it, with colours: the selected line differs by these."""
        return self._tmux("capture-pane", "-p", "-e")

    def press(self, *keys: str) -> None:
        """Press keys."""
        self._tmux("send-keys", *keys)

    def wait_for(self, text: str, limit: float = 120.0) -> float:
        """Wait until *text* stands there; returns the seconds it took."""
        began = time.monotonic()
        while text not in self.screen():
            if time.monotonic() > began + limit:
                raise RuntimeError(f"{text!r} did not appear:\n{self._tmux('capture-pane', '-p')}")
            time.sleep(0.01)
        return time.monotonic() - began

    def timed(self, key: str) -> float | None:
        """Press a key and return the milliseconds until the screen is another; None if it stays."""
        before = self.screen()
        began = time.monotonic()
        self.press(key)
        while self.screen() == before:
            if time.monotonic() > began + 1.0:
                return None
        return (time.monotonic() - began) * 1000

    def close(self) -> None:
        """End the server and what runs in it."""
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)


def _measure(label: str, terminal: Terminal) -> bool:
    answers = ((terminal.timed(key), f"{number}:{key}") for number, key in enumerate(KEYS, 1))
    taken = sorted((ms, key) for ms, key in answers if ms is not None)
    median = statistics.median(ms for ms, _ in taken)
    p99 = taken[int(len(taken) * 0.99)][0]
    good = median <= 50 and p99 <= 150
    verdict = "ok" if good else "SLOW"
    print(f"{label:<24} {len(taken):>4} keys  median {median:6.1f} ms  p99 {p99:6.1f} ms  {verdict}")
    slowest = ", ".join(f"{key} {ms:.1f}" for ms, key in taken[:-4:-1])
    print(f"    slowest (number of the key:key, ms): {slowest}")
    return good


def main() -> int:
    """Measure both sizes; 1 if an aim is missed."""
    good = True
    with TemporaryDirectory() as scratch:
        file = Path(scratch, "large.json")
        size = save(large_snapshot(), file)
        rules = SERVICES * (2 + 3 * ENDPOINTS) + 2
        print(f"snapshot: {rules:,} rules, {CONNECTIONS:,} connections, {size / 1e6:.0f} MB")
        for width, height in ((80, 24), (200, 60)):
            command = f"exec {Path(sys.executable).parent}/nettrace --from {file}"
            terminal = Terminal(Path(scratch, f"tmux-{width}"), width, height, command)
            try:
                first = terminal.wait_for("Why does this packet not arrive")
                useful = first + terminal.wait_for("node-1")
                print(f"{width}x{height}: first screen {first:.2f} s, useful {useful:.2f} s")
                for kind in ("rules", "conntrack"):
                    terminal.press(":")
                    terminal.press(f"show {kind}", "Enter")
                    there = {"rules": "PREROUTING", "conntrack": "ESTABLISHED"}[kind]
                    print(f"  {kind} there after {terminal.wait_for(there):.2f} s")
                    time.sleep(0.5)
                    good &= _measure(f"  {kind} in {width}x{height}", terminal)
            finally:
                terminal.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
