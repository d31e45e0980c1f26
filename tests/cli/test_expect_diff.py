"""What is owed, compared with what a node has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.collect.kube import read_manifests
from nettrace.model.ipvs import VirtualServer
from nettrace.model.links import Address
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.xt import XtRuleset, XtTable
from nettrace.parse.ipset import parse_ipset_save
from nettrace.parse.iptables import parse_save
from nettrace.parse.ipvs import parse_ipvsadm_save
from nettrace.parse.snapshot_file import encode_snapshot
from tests.cli.expect_files import CONFIG, FIXTURES, INPUTS, Run

DUMP = FIXTURES / "iptables-1.36" / "iptables-save-c.txt"
DIFF = ("expect", "--diff", "--node", "node-a", "--manifests", INPUTS, "--kube-proxy-config", CONFIG)


@pytest.mark.parametrize(
    ("folder", "dump", "args"),
    [
        ("iptables-1.36", "iptables-save-c.txt", ()),
        ("iptables-1.36", "ip6tables-save-c.txt", ("--family", "6")),
        ("iptables-1.20", "iptables-save-c.txt", ()),
    ],
)
def test_what_the_real_kube_proxy_wrote_is_as_it_is_owed(
    run: Run, folder: str, dump: str, args: tuple[str, ...]
) -> None:
    """A saved dump will do as the node; its version is told by its layout."""
    config = str(FIXTURES / folder / "kube-proxy-config.json")
    given = ("expect", "--diff", "--node", "node-a", "--manifests", INPUTS, "--kube-proxy-config", config)
    result = run(*given, "--from", str(FIXTURES / folder / dump), *args)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith("as it is owed\n")


def test_differences_on_a_page(run: Run, tmp_path: Path) -> None:
    """What it is called, the cause, what is there, what is owed, what it means; exit code 1."""
    dump = tmp_path / "dump.txt"
    dump.write_text(DUMP.read_text().replace("0.50000000000", "0.33333333349"))
    result = run(*DIFF, "--from", str(dump))
    assert result.exit_code == 1
    assert "wrong probability  owed-state-missing  nat KUBE-SVC-YN5D6RYVEVZOH44Q, rule 3" in result.stdout
    assert "  there   -A KUBE-SVC-YN5D6RYVEVZOH44Q" in result.stdout
    assert "10.244.2.11:9376  4/9, owed 1/3" in result.stdout


def snapshot(tmp_path: Path, **sections: object) -> str:
    """A snapshot of node-a with the reference's objects and some sections of its namespace."""
    netns = replace(Netns(name="node-a", node="node-a", role="node"), **sections)
    kube = read_manifests(FIXTURES / "inputs", "inputs")
    assert isinstance(kube.proxy, Known)
    proxy = replace(kube.proxy.value, cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"))
    made = Snapshot(
        nodes={"node-a": NodeState(name="node-a", netns="node-a")},
        namespaces={"node-a": netns},
        kube=replace(kube, proxy=Known(proxy)),
    )
    path = tmp_path / "node-a.json"
    path.write_bytes(encode_snapshot(made))
    return str(path)


def test_a_snapshot_as_the_node(run: Run, tmp_path: Path) -> None:
    """Both families are compared where Services use both; of two back ends that of kube-proxy counts."""
    six = FIXTURES / "iptables-1.36" / "ip6tables-save-c.txt"
    empty = XtRuleset({"nat": Known(XtTable({}))})
    path = snapshot(
        tmp_path,
        xt_nft=Known(empty),
        xt_legacy=Known(parse_save(DUMP.read_text(), "x")),
        xt6_nft=Known(parse_save(six.read_text(), "x")),
        sysctls=Known({"net.ipv4.conf.all.route_localnet": "1"}),
    )
    result = run("expect", "--diff", "--node", "node-a", "--from", path, "-o", "json")
    found = json.loads(result.stdout)
    assert (found["equal"], found["families"], found["version"]) == (True, [4, 6], "1.36")
    assert found["missing"] == []
    assert result.exit_code == 0


def test_what_could_not_be_read_is_no_health(run: Run, tmp_path: Path) -> None:
    """Exit code 3, with the section and the reason; a difference beside it is still one."""
    denied = Missing(MissingKind.DENIED, "not permitted")
    path = snapshot(tmp_path, xt_nft=denied, xt_legacy=denied)
    result = run("expect", "--diff", "--node", "node-a", "--family", "4", "--from", path)
    assert result.exit_code == 3
    assert "? node-a/xt/nft: not known: not permitted" in result.stdout
    assert "no difference in what could be read" in result.stdout
    rules = parse_save(DUMP.read_text(), "x")
    broken = XtRuleset({**rules.tables, "filter": denied, "nat": Known(XtTable({}))})
    path = snapshot(tmp_path, xt_nft=Known(broken), xt_legacy=Known(XtRuleset({})))
    assert run("expect", "--diff", "--node", "node-a", "--family", "4", "--from", path).exit_code == 1


def test_what_cannot_be_compared(run: Run, tmp_path: Path) -> None:
    """Another node's rules, two dumps, rules without objects: each is told."""
    path = snapshot(tmp_path)
    other = run("expect", "--diff", "--node", "node-b", "--from", path)
    assert other.exit_code == 3
    assert "the rules that node-b has are not known" in other.stderr
    two = run(*DIFF, "--from", str(DUMP), "--from", str(DUMP))
    assert two.exit_code == 2
    assert "one dump at a time" in two.stderr
    without = run("expect", "--diff", "--node", "node-a", "--from", str(DUMP))
    assert without.exit_code == 2
    assert "there are no Kubernetes objects" in without.stderr


def test_the_running_mode_goes_before_the_configured_one(run: Run) -> None:
    """A node whose rules are those of ipvs mode is not taken for one in iptables mode."""
    dump = str(FIXTURES / "ipvs-1.36" / "iptables-save-c.txt")
    result = run(*DIFF, "--from", dump)
    assert "ipvs: not known" in result.stdout


def test_what_of_ipvs_mode_is_compared(run: Run, tmp_path: Path) -> None:
    """Its iptables rules, virtual servers, kube-ipvs0's addresses, the ipsets; what was not read is said."""
    folder = FIXTURES / "ipvs-1.36"
    bound = re.findall(
        r"inet (\S+)/32 scope global kube-ipvs0", (folder / "ip-addr-kube-ipvs0.txt").read_text()
    )
    own = [("eth0", "192.168.50.11"), ("cni0", "10.244.1.1"), ("lo", "127.0.0.1")]

    listed = parse_ipvsadm_save((folder / "ipvsadm-save-n.txt").read_text())

    def asked(
        addresses: list[str], servers: tuple[VirtualServer, ...] | None = listed
    ) -> tuple[int, dict[str, Any]]:
        held = [*own, *(("kube-ipvs0", address) for address in addresses)]
        path = snapshot(
            tmp_path,
            xt_nft=Known(parse_save((folder / "iptables-save-c.txt").read_text(), "x")),
            xt_legacy=Known(XtRuleset({})),
            **({"ipvs": Known(servers)} if servers is not None else {}),
            ipsets=Known(tuple(parse_ipset_save((folder / "ipset-save.txt").read_text()))),
            addresses=Known(tuple(Address(device=d, address=a, prefixlen=32) for d, a in held)),
        )
        given = ("expect", "--diff", "--node", "node-a", "--family", "4", "--kube-version", "1.36")
        config = str(folder / "kube-proxy-config.json")
        result = run(*given, "--kube-proxy-config", config, "--from", path, "-o", "json")
        return result.exit_code, json.loads(result.stdout)

    code, found = asked(bound)
    assert (code, found["mode"], found["equal"], found["differences"]) == (0, "ipvs", True, [])
    code, found = asked(bound, listed[1:])
    assert code == 1
    assert [one["cause"] for one in found["differences"]] == ["service-rules-absent"]
    code, found = asked(bound, None)
    assert (code, found["mode"], found["equal"], found["differences"]) == (3, "ipvs", None, [])
    assert [one["section"] for one in found["missing"]] == ["ipvs"]
    code, found = asked([address for address in bound if address != "10.96.10.1"])
    assert code == 1
    assert [one["cause"] for one in found["differences"]] == ["ipvs-vip-missing"]
