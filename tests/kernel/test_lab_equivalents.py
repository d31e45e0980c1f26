"""`lab break` leaves the state that the catalogue's shell commands leave."""

import json
import os
import secrets
import subprocess
from collections.abc import Callable
from contextlib import suppress

import pytest

from nettrace.lab import break_, down, up
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from tests.kernel.labs import path_of
from tests.kernel.test_lab_faults import state_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def shell(record: LabRecord, who: str, line: str) -> str:
    """Run a shell line in a member's namespace."""
    done = subprocess.run(
        ["nsenter", f"--net={path_of(record, who)}", "sh", "-ec", line],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def nat(record: LabRecord, node: str, *words: str) -> list[str]:
    """The rules of table nat that hold all *words*."""
    rules = shell(record, node, "iptables -t nat -S").splitlines()
    return [rule for rule in rules if rule.startswith("-A") and all(word in rule for word in words)]


def delete(record: LabRecord, node: str, *words: str) -> list[tuple[str, str]]:
    """Delete every rule that holds all *words*."""
    found = nat(record, node, *words)
    assert found
    return [(node, "iptables -t nat " + rule.replace("-A", "-D", 1)) for rule in found]


def hairpin_off(record: LabRecord) -> list[tuple[str, str]]:
    """Hairpin off on the port of hostnames-0."""
    peer = json.loads(shell(record, "hostnames-0", "ip -j link show eth0"))[0]["link_index"]
    links = json.loads(shell(record, "node-a", "ip -j link"))
    port = next(link["ifname"] for link in links if link["ifindex"] == peer)
    return [("node-a", f"bridge link set dev {port} hairpin off")]


def fdb_missing(record: LabRecord) -> list[tuple[str, str]]:
    """The entry for node-b's VTEP."""
    entries = json.loads(shell(record, "node-a", "bridge -j fdb show dev flannel.1"))
    mac = next(entry["mac"] for entry in entries if entry.get("dst") == "172.18.0.12")
    return [("node-a", f"bridge fdb del {mac} dev flannel.1 dst 172.18.0.12")]


def rewritten(record: LabRecord, node: str, pick: str, to: str) -> tuple[str, str]:
    """Replace the endpoint rule that leads to *pick* by one that leads to *to*."""
    (rule,) = nat(record, node, f"--to-destination {pick}")
    _, chain, body = rule.split(" ", 2)
    return node, f"iptables -t nat -R {chain} 2 {body.replace(pick, to)}"


ENDPOINTS = ("10.244.1.2:9376", "10.244.2.2:9376", "10.244.2.3:9376")

EQUIVALENTS: dict[str, Callable[[LabRecord], list[tuple[str, str]]]] = {
    "bridge-nf-off": lambda _: [("node-a", "sysctl -qw net.bridge.bridge-nf-call-iptables=0")],
    "flannel-fdb-missing": fdb_missing,
    "forward-policy-drop": lambda _: [("node-a", "iptables -P FORWARD DROP")],
    "hairpin-off": hairpin_off,
    "ip-forward-off": lambda _: [("node-a", "sysctl -qw net.ipv4.ip_forward=0")],
    "kube-postrouting-missing": lambda _: [("node-a", "iptables -t nat -F KUBE-POSTROUTING")],
    "masquerade-missing": lambda r: delete(
        r, "node-a", "-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4", "MASQUERADE"
    ),
    "pod-route-missing": lambda _: [("node-a", "ip route del 10.244.2.0/24")],
    "service-jump-missing": lambda r: delete(r, "node-a", "-A PREROUTING", "KUBE-SERVICES"),
    "service-rules-absent": lambda r: delete(r, "node-a", "-A KUBE-SERVICES", "default/hostnames cluster IP"),
    "svc-wrong-targetport": lambda r: [
        rewritten(r, node, end, end.replace(":9376", ":9999"))
        for node in ("node-a", "node-b")
        for end in ENDPOINTS
    ],
}

#: What `lab break` is told beside the cause, so that both mean the same thing.
WHERE: dict[str, dict[str, str]] = {
    "hairpin-off": {"pod": "default/hostnames-0"},
    "svc-wrong-targetport": {"service": "default/hostnames"},
}


@pytest.mark.parametrize("cause", sorted(EQUIVALENTS))
def test_the_shell_leaves_the_same_state(cause: str) -> None:
    """What the shell commands leave and what `lab break` leaves differ in nothing."""
    # A lab's addresses and device names follow from its name, so two of one name can be compared.
    name = f"eq{secrets.token_hex(3)}"
    try:
        record = up("flannel-vxlan", name=name)
        healthy = state_of(record)
        for who, line in EQUIVALENTS[cause](record):
            shell(record, who, line)
        by_shell = state_of(record)
        down(name)
        record = up("flannel-vxlan", name=name)
        assert state_of(record) == healthy
        assert break_(record, cause, **WHERE.get(cause, {"node": "node-a"})).changes
        assert state_of(record) == by_shell
        assert by_shell != healthy
    finally:
        with suppress(UserError):
            down(name)
