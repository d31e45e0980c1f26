"""A lab's node beside what it is owed: equal while it is healthy, and kinds of damage named and mended."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nettrace.cli.main import root
from nettrace.model.lab import LabRecord
from tests.kernel.labs import a_lab, path_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: Not root's own namespace: the commands that an engineer would type, on node-a.
NODE = "node-a"

#: kube-proxy's part alone: who flushes a table, or loads it by another tool, breaks flannel's too.
PROXY = ("--owner", "kube-proxy")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRecord]:
    """One lab for all of these."""
    with a_lab("flannel-vxlan") as record:
        yield record


def shell(record: LabRecord, command: str, stdin: str = "") -> str:
    """Run a command in the node's namespace."""
    done = subprocess.run(
        ["nsenter", f"--net={path_of(record, NODE)}", "sh", "-ec", command],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout


def diff(record: LabRecord, *args: str) -> tuple[int, dict[str, Any]]:
    """What ``nettrace expect --diff -o json`` says, and its exit code."""
    given = ["expect", "--diff", "--node", NODE, "--lab", record.name, "-o", "json", *args]
    result = CliRunner().invoke(root, given)
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def rules(record: LabRecord, pattern: str) -> list[str]:
    """The node's nat rules that match, as ``iptables -S`` prints them."""
    return [line for line in shell(record, "iptables -t nat -S").splitlines() if re.search(pattern, line)]


def delete(rule: str) -> str:
    """The command that deletes a rule."""
    return f"iptables -t nat -D {rule.removeprefix('-A ')}"


def a_balancing_chain(record: LabRecord) -> tuple[str, list[str]]:
    """The chain of the Service that has three endpoints, and its rules to them."""
    first = rules(record, r"^-A KUBE-SVC-\S+ .*--probability 0\.3333")[0]
    chain = first.split()[1]
    return chain, rules(record, rf"^-A {chain} .*-j KUBE-SEP-")


def stale_endpoint(record: LabRecord) -> str:
    """Lead one of a Service's endpoints to an address that nobody has."""
    _, jumps = a_balancing_chain(record)
    sep = jumps[1].split()[-1]
    [dnat] = rules(record, rf"^-A {sep} .*DNAT")
    new = re.sub(r"--to-destination \S+", "--to-destination 10.244.99.77:9376", dnat).removeprefix(
        f"-A {sep} "
    )
    return f"iptables -t nat -R {sep} 2 {new}"


def missing_masquerade(record: LabRecord) -> str:
    """Take the marking out of a Service's chain."""
    chain, _ = a_balancing_chain(record)
    return delete(rules(record, rf"^-A {chain} .*KUBE-MARK-MASQ")[0])


def not_linked(record: LabRecord) -> str:
    """Take out the jump from PREROUTING."""
    return delete(rules(record, "^-A PREROUTING .*KUBE-SERVICES")[0])


def wrong_probability(record: LabRecord) -> str:
    """Give each of three endpoints a probability of one third."""
    chain, jumps = a_balancing_chain(record)
    third = "-m statistic --mode random --probability 0.33333333349"
    second = re.sub(r"-m statistic .*-j", f"{third} -j", jumps[1]).removeprefix(f"-A {chain} ")
    last = jumps[2].replace(" -j ", f" {third} -j ").removeprefix(f"-A {chain} ")
    return f"iptables -t nat -R {chain} 3 {second}; iptables -t nat -R {chain} 4 {last}"


def missing_service(record: LabRecord) -> str:
    """Take the Service's rule out of KUBE-SERVICES."""
    chain, _ = a_balancing_chain(record)
    return delete(rules(record, f"^-A KUBE-SERVICES .*-j {chain}$")[0])


def flushed(record: LabRecord) -> str:
    """Flush table nat."""
    return "iptables -t nat -F"


def test_a_healthy_lab_is_as_it_is_owed(lab: LabRecord) -> None:
    """No difference on any node, exit 0; version and mode are those of the rules that are there."""
    for node in ("node-a", "node-b"):
        code, found = diff(lab, "--node", node)
        assert (code, found["equal"], found["differences"], found["missing"]) == (0, True, [], [])
        assert (found["mode"], found["version"], found["kind"]) == ("iptables", "1.30", "ExpectDiff")


@pytest.mark.parametrize(
    ("inject", "kind", "cause"),
    [
        (stale_endpoint, "wrong-destination", "stale-endpoint-rule"),
        (missing_masquerade, "masquerade-missing", "masquerade-missing"),
        (not_linked, "not-linked", "service-jump-missing"),
        (wrong_probability, "wrong-probability", "owed-state-missing"),
        (missing_service, "service-missing", "service-rules-absent"),
        (flushed, "flushed", "rules-flushed"),
    ],
)
def test_damage_is_named(
    lab: LabRecord, tmp_path: Path, inject: Callable[[LabRecord], str], kind: str, cause: str
) -> None:
    """One difference, of this kind, with exit code 1; live, and from a dump of the same node."""
    before = shell(lab, "iptables-save -t nat")
    try:
        shell(lab, inject(lab))
        code, found = diff(lab, *PROXY)
        assert code == 1
        [only] = found["differences"]
        assert (only["kind"], only["cause"]) == (kind, cause)
        assert only["meaning"]
        if kind == "wrong-probability":
            assert [round(share["found"], 6) for share in only["shares"]] == [0.333333, 0.222222, 0.148148]
            assert round(only["unmatched"], 6) == 0.296296
            assert "8/27 match nothing" in only["meaning"]
        dump = tmp_path / "dump.txt"
        dump.write_text(shell(lab, "iptables-save"))
        saved = diff_of_dump(lab, dump)
        assert [(one["kind"], one["cause"]) for one in saved] == [(kind, cause)]
    finally:
        shell(lab, "iptables-restore", before)
    assert diff(lab, *PROXY)[0] == 0


_MAC = "bridge fdb show dev flannel.1 | grep permanent | cut -d' ' -f1"

#: What flannel owes: the command that takes it away, the cause, and the tool that shows it.
OF_FLANNEL = [
    ("ip route del 10.244.2.0/24", ["pod-route-missing"], ["ip route"]),
    ("ip route replace unreachable 10.244.2.0/24", ["reject-route"], ["ip route"]),
    ("ip neigh flush dev flannel.1 nud permanent", ["owed-state-missing"], ["ip neigh"]),
    (
        f"bridge fdb replace $({_MAC}) dev flannel.1 dst 172.18.0.99 self permanent",
        ["fdb-stale-remote"],
        ["bridge fdb"],
    ),
    ("iptables -t nat -F FLANNEL-POSTRTG", ["masquerade-missing"], ["nat"]),
    ("iptables -t nat -D POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG", None, ["nat"]),
]


@pytest.mark.parametrize(("damage", "causes", "tools"), OF_FLANNEL)
def test_what_flannel_owes(lab: LabRecord, damage: str, causes: list[str] | None, tools: list[str]) -> None:
    """Its damage is named; the commands of the difference mend it, and those of its undo bring it back."""
    shell(lab, damage)
    code, found = diff(lab)
    told = found["differences"]
    assert (code, [one["owner"] for one in told]) == (1, ["flanneld"])
    assert [one["cause"] for one in told] == (causes or ["masquerade-missing"])
    assert [one["table"] for one in told] == tools
    try:
        shell(lab, "\n".join(told[0]["commands"]))
        assert diff(lab)[0] == 0
        shell(lab, "\n".join(told[0]["undo"]))
        assert [one["cause"] for one in diff(lab)[1]["differences"]] == [told[0]["cause"]]
    finally:
        shell(lab, "\n".join(told[0]["commands"]))
    assert diff(lab)[0] == 0


def test_one_owners_text_is_read_back(lab: LabRecord) -> None:
    """What kube-proxy owes is text for iptables-restore, and so is flannel's part, which changes nothing."""
    given = ["expect", "--node", NODE, "--lab", lab.name, "--owner"]
    proxy = CliRunner().invoke(root, [*given, "kube-proxy"])
    shell(lab, "iptables-restore --test", proxy.stdout)
    flannel = CliRunner().invoke(root, [*given, "flannel"])
    title, _, text = flannel.stdout.partition("iptables-save\n")
    assert "# flannel (vxlan), ip route\n10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in title
    before = shell(lab, "iptables -t nat -S FLANNEL-POSTRTG")
    own = "".join(line for line in text.splitlines(True) if " POSTROUTING " not in line)
    shell(lab, "iptables-restore --noflush", own)
    assert shell(lab, "iptables -t nat -S FLANNEL-POSTRTG") == before


#: One of each network, ``NETTRACE_TEST_SWEEP=1`` (a minute).
NETWORKS = {
    "docker": ("docker-host", ["docker"]),
    "flannel-host-gw": (NODE, ["flannel"]),
    "calico-bgp": (NODE, ["calico"]),
    "calico-vxlan": (NODE, ["calico"]),
    "canal": (NODE, ["calico", "canal", "cni", "flannel"]),
    "kube-router": (NODE, ["cni", "kube-router"]),
    "weave": (NODE, ["cni", "weave"]),
    "cilium": (NODE, ["cilium"]),
}


@pytest.mark.skipif(not os.environ.get("NETTRACE_TEST_SWEEP"), reason="only with NETTRACE_TEST_SWEEP=1")
@pytest.mark.parametrize("topology", sorted(NETWORKS))
def test_a_healthy_node_of_each_network(topology: str) -> None:
    """Nothing differs from what its systems owe, and each of them is named."""
    node, systems = NETWORKS[topology]
    with a_lab(topology) as record:
        code, found = diff(record, "--node", node)
    assert (code, found["differences"], found["missing"]) == (0, [], [])
    assert [one["name"] for one in found["systems"]] == systems


def diff_of_dump(record: LabRecord, dump: Path) -> list[dict[str, Any]]:
    """The differences of a saved dump, with the lab's objects as manifests."""
    assert record.manifests is not None
    given = [
        "expect",
        "--diff",
        "--node",
        NODE,
        "--manifests",
        record.manifests,
        "--from",
        str(dump),
        "-o",
        "json",
    ]
    result = CliRunner().invoke(root, given)
    assert result.exit_code == 1, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["differences"]
    return found


@pytest.fixture(scope="module")
def native() -> Iterator[LabRecord]:
    """A lab whose kube-proxy is in nftables mode."""
    with a_lab("flannel-vxlan", proxy="nftables") as record:
        yield record


def test_a_healthy_node_in_nftables_mode(native: LabRecord, tmp_path: Path) -> None:
    """What the kernel holds, said in nft's words, is what is owed; so is its listing in a file."""
    code, found = diff(native)
    assert (code, found["mode"], found["differences"], found["missing"]) == (0, "nftables", [], [])
    dump = tmp_path / "ruleset.txt"
    dump.write_text(shell(native, "nft list ruleset"))
    assert native.manifests is not None
    given = ["expect", "--diff", "--node", NODE, "--manifests", native.manifests, "--from", str(dump)]
    result = CliRunner().invoke(root, given)
    assert result.exit_code == 0, result.stdout


@pytest.mark.parametrize(
    ("damage", "kind", "cause"),
    [
        (
            "nft delete element ip kube-proxy service-ips '{ VIP . tcp . 80 }'",
            "service-missing",
            "service-rules-absent",
        ),
        ("nft flush chain ip kube-proxy masquerading", "masquerade-missing", "kube-postrouting-missing"),
        ("nft delete table ip kube-proxy", "flushed", "nft-table-gone"),
    ],
)
def test_damage_in_nftables_mode_is_named(native: LabRecord, damage: str, kind: str, cause: str) -> None:
    """Its kind and its cause, with exit code 1."""
    before = shell(native, "nft list ruleset")
    vip = re.search(r"(\S+) \. tcp \. 80 : goto service-\w+-default/hostnames", before)
    assert vip
    loadable = re.sub(r"dnat (ip6?) to numgen", r"dnat \1 addr . port to numgen", before)
    try:
        shell(native, damage.replace("VIP", vip[1]))
        code, found = diff(native, *PROXY)
        assert code == 1
        assert {(one["kind"], one["cause"]) for one in found["differences"]} == {(kind, cause)}
    finally:
        shell(native, "nft -f -", f"flush ruleset\n{loadable}")
    assert diff(native, *PROXY)[0] == 0
