"""``nettrace expect`` on the objects and dumps of the real kube-proxy, and what it says where it cannot."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from msgspec.structs import replace

from nettrace.collect.kube import read_manifests
from nettrace.kube.nft_found import canonical_rule, listed_tables
from nettrace.model.ipvs import VirtualServer
from nettrace.model.links import Address
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.xt import XtRuleset, XtTable
from nettrace.parse.ipset import parse_ipset_save
from nettrace.parse.iptables import parse_save
from nettrace.parse.ipvs import parse_ipvsadm_save
from nettrace.parse.snapshot_file import encode_snapshot
from tests.diagnose import worlds as cluster_worlds

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-proxy"
INPUTS = str(FIXTURES / "inputs")
CONFIG = str(FIXTURES / "iptables-1.36" / "kube-proxy-config.json")

Run = Callable[..., Result]


def rules(text: str) -> Counter[str]:
    """The lines of a dump without dates, counters and chains."""
    lines = (line.partition("] ")[2] if line.startswith("[") else line for line in text.splitlines())
    return Counter(line for line in lines if not line.startswith(("#", ":")))


@pytest.mark.parametrize(
    ("folder", "dump", "args"),
    [
        ("iptables-1.36", "iptables-save-c.txt", ()),
        ("iptables-1.36", "ip6tables-save-c.txt", ("--family", "6")),
        ("iptables-1.20", "iptables-save-c.txt", ("--kube-version", "v1.20.2")),
    ],
)
def test_it_prints_what_the_real_kube_proxy_wrote(
    run: Run, folder: str, dump: str, args: tuple[str, ...]
) -> None:
    """The same rules, from the objects and the configuration alone."""
    config = str(FIXTURES / folder / "kube-proxy-config.json")
    given = ("--node", "node-a", "--proxy", "iptables", "--manifests", INPUTS, "--kube-proxy-config", config)
    result = run("expect", *given, *args)
    assert result.exit_code == 0, result.stderr
    assert rules(result.stdout) == rules((FIXTURES / folder / dump).read_text())


@pytest.mark.parametrize(("family", "name"), [("4", "ip"), ("6", "ip6")])
def test_it_prints_nft_list_in_nftables_mode(run: Run, family: str, name: str) -> None:
    """Read as a listing of nft it is the table that the real kube-proxy wrote."""
    config = str(FIXTURES / "nftables-1.36" / "kube-proxy-config.json")
    given = (
        "--node",
        "node-a",
        "--manifests",
        INPUTS,
        "--kube-proxy-config",
        config,
        "--kube-version",
        "1.36",
    )
    result = run("expect", "--proxy", "nftables", "--family", family, *given)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1].startswith("\t")
    (found,) = listed_tables(result.stdout)
    wanted = (FIXTURES / "nftables-1.36" / "nft-list-ruleset.txt").read_text()
    real = next(table for table in listed_tables(wanted) if table.family == name)
    assert [{c.name: tuple(map(canonical_rule, c.rules)) for c in t.chains} for t in (found,)] == [
        {c.name: tuple(map(canonical_rule, c.rules)) for c in real.chains}
    ]
    assert {s.name: Counter(s.elements) for s in found.sets} == {
        s.name: Counter(s.elements) for s in real.sets
    }


def test_it_prints_each_tool_in_ipvs_mode(run: Run) -> None:
    """iptables-save, ipvsadm-save, ipset save and kube-ipvs0's addresses, each under its name."""
    folder = FIXTURES / "ipvs-1.36"
    given = ("--node", "node-a", "--manifests", INPUTS, "--kube-version", "1.36")
    config = ("--proxy", "ipvs", "--kube-proxy-config", str(folder / "kube-proxy-config.json"))
    addresses = [x for a in ("192.168.50.11", "10.244.1.1", "127.0.0.1") for x in ("--address", a)]
    result = run("expect", *given, *config, *addresses)
    assert result.exit_code == 0, result.stderr
    parts = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in result.stdout.split("# ")[1:]}
    assert list(parts) == [
        "iptables-save",
        "ipvsadm-save -n",
        "ipset save",
        "ip -o addr show dev kube-ipvs0",
    ]
    assert rules(parts["iptables-save"]) == rules((folder / "iptables-save-c.txt").read_text())
    real = (folder / "ipvsadm-save-n.txt").read_text()
    four = {server.address for server in parse_ipvsadm_save(real) if ":" not in server.address}
    assert {server.address for server in parse_ipvsadm_save(parts["ipvsadm-save -n"])} == four
    assumed = run("expect", *given, *config)
    assert "each address of the node serves NodePorts" in assumed.stderr


def test_json_names_what_it_is_of(run: Run) -> None:
    """Mode, version and family stand beside the chains; shared chains are marked as unordered."""
    result = run("expect", "--node", "node-b", "--manifests", INPUTS, "--kube-version", "1.30", "-o", "json")
    found = json.loads(result.stdout)
    assert (found["kind"], found["mode"], found["version"], found["family"]) == (
        "Expected",
        "iptables",
        "1.30",
        4,
    )
    chains = {(one["table"], one["chain"]): one for one in found["chains"]}
    assert chains["nat", "KUBE-SERVICES"]["ordered"] is False
    assert chains["nat", "KUBE-MARK-MASQ"]["rules"] == ["-j MARK --set-xmark 0x4000/0x4000"]
    assert chains["nat", "PREROUTING"]["policy"] == "ACCEPT"


def test_what_was_assumed_is_said(run: Run) -> None:
    """A version that no object names is told on stderr, and so is the choice of addresses."""
    result = run("expect", "--node", "node-a", "--manifests", INPUTS)
    assert "1.36 is taken" in result.stderr
    assert (
        "1.36 is taken"
        not in run("expect", "--node", "node-a", "--manifests", INPUTS, "--kube-version", "1.36").stderr
    )


def config_of(tmp_path: Path, **fields: object) -> str:
    """A configuration of kube-proxy's in a file."""
    head = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**head, **fields}))
    return str(path)


@pytest.mark.parametrize(
    ("prefixes", "args", "served"),
    [
        (["192.168.50.0/24"], (), ["192.168.50.11/32"]),
        (["127.0.0.0/8"], (), ["127.0.0.1/32"]),
        (
            ["10.0.0.0/8"],
            ("--address", "10.244.1.1", "--address", "192.168.50.11"),
            ["10.244.1.1/32"],
        ),
    ],
)
def test_node_port_addresses(
    run: Run, tmp_path: Path, prefixes: list[str], args: tuple[str, ...], served: list[str]
) -> None:
    """They come from the Node object, or from the command line where it does not list them."""
    config = config_of(tmp_path, nodePortAddresses=prefixes)
    result = run("expect", "--node", "node-a", "--manifests", INPUTS, "--kube-proxy-config", config, *args)
    lines = [line for line in result.stdout.splitlines() if line.startswith("-A KUBE-SERVICES")]
    last = [line for line in lines if line.endswith("-j KUBE-NODEPORTS")]
    assert [line.split()[3] for line in last] == served


def test_the_mark_is_that_of_the_mode(run: Run, tmp_path: Path) -> None:
    """--proxy overrides the configured mode before the section of that mode is read."""
    config = config_of(
        tmp_path, mode="nftables", iptables={"masqueradeBit": 5}, nftables={"masqueradeBit": 7}
    )
    given = ("--node", "node-a", "--manifests", INPUTS, "--kube-proxy-config", config)
    result = run("expect", *given, "--proxy", "iptables")
    assert "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x20/0x20" in result.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--manifests", INPUTS), "which node? --node is missing"),
        (("--manifests", INPUTS, "--node", "node-z"), "no Node is called node-z"),
        (("--manifests", INPUTS, "--node", "node-a", "--kube-version", "new"), "`new` is not a version"),
        (("--manifests", INPUTS, "--node", "node-a", "--kube-version", "1.19"), "1.20 and later"),
        (
            ("--manifests", INPUTS, "--node", "node-a", "--kube-proxy-config", f"{INPUTS}/nodes.json"),
            "there is no KubeProxyConfiguration in it",
        ),
        (("--manifests", INPUTS, "--node", "node-a", "--kube-proxy-config", "no.yaml"), "No such file"),
        (("--manifests", "no", "--node", "node-a"), "cannot read the manifests"),
    ],
)
def test_what_cannot_be_derived(run: Run, args: tuple[str, ...], words: str) -> None:
    """It is told in one line, with exit code 2 and nothing on standard output."""
    result = run("expect", *args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_addresses_that_nobody_knows_are_asked_for(run: Run, tmp_path: Path) -> None:
    """A prefix in which the Node object has no address needs those of its devices."""
    config = config_of(tmp_path, nodePortAddresses=["172.16.0.0/12"])
    result = run("expect", "--node", "node-a", "--manifests", INPUTS, "--kube-proxy-config", config)
    assert result.exit_code == 2
    assert "172.16.0.0/12" in result.stderr
    assert "--address" in result.stderr


# --- compared with a node --------------------------------------------------------------

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


# --- what network systems owe ----------------------------------------------------------


def docker_host(tmp_path: Path) -> str:
    """A snapshot of a Docker host without Kubernetes' objects."""
    made = cluster_worlds.docker_host().snapshot
    path = tmp_path / "host.json"
    path.write_bytes(encode_snapshot(made))
    return str(path)


def test_a_host_without_kubernetes(run: Run, tmp_path: Path) -> None:
    """What Docker owes is printed, and that nothing is known of kube-proxy's part is said."""
    path = docker_host(tmp_path)
    result = run("expect", "--from", path)
    assert result.exit_code == 0, result.stderr
    assert "kube-proxy's part is not told" in result.stderr
    assert result.stdout.startswith("# docker, iptables-save\n*nat\n")
    found = json.loads(run("expect", "--from", path, "--owner", "docker", "-o", "json").stdout)
    assert (found["mode"], found["chains"]) == ("", [])
    [docker] = found["systems"]
    assert docker["name"] == "docker"
    assert {one["owner"] for one in docker["owed"]} == {"dockerd"}
    assert all(one["source"] and one["lines"] for one in docker["owed"])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--owner", "flanel"), 2, "no system is called 'flanel'"),
        (("--owner", "weave"), 2, "weave was not recognised on"),
        (("--owner", "kube-proxy"), 3, "the cluster's services are not known"),
        (("--node", "node-z"), 2, "there is no node 'node-z'"),
    ],
)
def test_owners_that_are_not_there(
    run: Run, tmp_path: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    """A name that nobody has, a system that is not there, kube-proxy without objects, another node."""
    result = run("expect", "--from", docker_host(tmp_path), *args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


def test_without_a_node_no_system_is_asked(run: Run) -> None:
    """What a system owes stands in the node's state."""
    result = run("expect", "--manifests", INPUTS, "--node", "node-a", "--owner", "flannel")
    assert result.exit_code == 2
    assert "no node is looked at" in result.stderr
