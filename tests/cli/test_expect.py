"""``nettrace expect`` on the objects and dumps of the real kube-proxy, and what it says where it cannot."""

import json
from collections import Counter
from pathlib import Path

import pytest

from nettrace.kube.nft_found import canonical_rule, listed_tables
from nettrace.parse.ipvs import parse_ipvsadm_save
from nettrace.parse.snapshot_file import encode_snapshot
from tests.cli.expect_files import FIXTURES, INPUTS, Run
from tests.diagnose import worlds as cluster_worlds


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
