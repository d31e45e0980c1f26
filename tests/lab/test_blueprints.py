"""What topologies describe, before anything is built."""

import json
import re
from pathlib import Path

import pytest

from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.tools import ip_batch
from nettrace.lab.topologies import describer, topologies
from nettrace.model.errors import UserError
from nettrace.parse.iptables import parse_save

ROOT = Path("/run/nettrace/labs/x")


def describe(topology: str, options: Options | None = None) -> Blueprint:
    """The lab `x` of a topology."""
    return describer(topology)("x", ROOT, options or Options())


@pytest.fixture(params=sorted(topologies()))
def blueprint(request: pytest.FixtureRequest) -> Blueprint:
    """Each topology with its defaults."""
    return describe(request.param)


def test_everything_is_in_the_labs_namespaces(blueprint: Blueprint) -> None:
    """Every command, rule and process concerns a namespace that is recorded and has the lab's prefix."""
    recorded = {entry.netns for entry in blueprint.namespaces}
    assert all(name.startswith("ntl-x-") for name in recorded)
    assert len(recorded) == len(blueprint.namespaces)
    used = {*blueprint.sysctls, *blueprint.fdb, *blueprint.rules}
    used |= {netns for stage in blueprint.wiring for netns in stage}
    used |= {daemon.netns for daemon in blueprint.daemons}
    assert used == recorded
    for stage in blueprint.wiring:
        for lines in stage.values():
            for line in lines:
                assert not line.startswith("netns")
                peer = re.search(r"type veth peer .* netns (\S+)$", line)
                assert (peer is not None) == ("type veth" in line)
                assert peer is None or peer[1] in recorded


def test_only_namespaces_are_made_outside() -> None:
    """No device can be made in the namespace nettrace runs in, not even by mistake."""
    with pytest.raises(ValueError, match="nothing but namespaces"):
        ip_batch(None, ["netns add ntl-x-a", "link add veth0 type veth"])


def test_loopback_is_up_and_there_is_no_ipv6(blueprint: Blueprint) -> None:
    """Every namespace has its loopback up, and no IPv6 that would speak on its own."""
    for entry in blueprint.namespaces:
        lines = [line for stage in blueprint.wiring for line in stage.get(entry.netns, ())]
        assert "link set lo up" in lines
        assert blueprint.sysctls[entry.netns]["net.ipv6.conf.all.disable_ipv6"] == "1"


def test_rules_parse(blueprint: Blueprint) -> None:
    """The rules are a dump in iptables-save's format."""
    for netns, text in blueprint.rules.items():
        assert {"nat", "filter"} <= parse_save(text, netns).tables.keys()


def test_process_ids_are_kept_apart(blueprint: Blueprint) -> None:
    """No two processes share a file for their number."""
    files = [daemon.pid_file for daemon in blueprint.daemons]
    assert len(set(files)) == len(files)


def test_docker_files() -> None:
    """The container records are laid out as dockerd's: name, address, published port."""
    made = describe("docker", Options(docker_net="10.50.0.0/24", publish=9000))
    records = {path: json.loads(text) for path, text in made.files.items() if path.endswith("config.v2.json")}
    assert {record["Name"] for record in records.values()} == {"/web", "/app"}
    path, web = next((path, record) for path, record in records.items() if record["Name"] == "/web")
    assert path.split("/")[-2] == web["ID"]
    assert web["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "10.50.0.2"
    host_config = json.loads(made.files[path.replace("config.v2.json", "hostconfig.json")])
    assert host_config["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "9000"}]}
    (rules,) = made.rules.values()
    assert "--dport 9000 -j DNAT --to-destination 10.50.0.2:80" in rules


def test_flannel_files() -> None:
    """Each node has flannel's subnet file, the CNI configuration and host-local's leases."""
    made = describe("flannel-vxlan")
    assert made.files["nodes/node-b/run/flannel/subnet.env"] == (
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert '"hairpinMode": true' in made.files["nodes/node-a/etc/cni/net.d/10-flannel.conflist"]
    assert "nodes/node-a/var/lib/cni/networks/cbr0/10.244.1.2" in made.files


def test_flannel_mesh() -> None:
    """Every node knows every other one: FDB entry, neighbour and route, as flanneld programs them."""
    made = describe("flannel-vxlan", Options(nodes=3))
    assert [len(lines) for lines in made.fdb.values()] == [2, 2, 2]
    lines = made.wiring[1]["ntl-x-node-a"]
    routes = [line for line in lines if "onlink" in line]
    assert routes == [f"route add 10.244.{n}.0/24 via 10.244.{n}.0 dev flannel.1 onlink" for n in (2, 3)]
    (backend,) = re.findall(r"VtepMAC\":\"([0-9a-f:]+)", made.files["manifests/nodes.yaml"])[1:2]
    assert any(backend in line and line.endswith("dst 172.18.0.12") for line in made.fdb["ntl-x-node-a"])


@pytest.mark.parametrize(
    ("topology", "options", "words"),
    [
        ("flannel-vxlan", Options(nodes=0), "1 to 16 nodes"),
        ("flannel-vxlan", Options(nodes=17), "1 to 16 nodes"),
        ("flannel-vxlan", Options(pod_cidr="172.18.0.0/16"), "overlap"),
        ("flannel-vxlan", Options(service_cidr="x"), "the service network 'x' is no IPv4 network"),
        ("flannel-vxlan", Options(node_net="172.18.0.0/28", nodes=4), "too small|no room"),
        ("docker", Options(publish=0), "0 is no port"),
        ("docker", Options(docker_net="172.18.0.0/25"), "overlap"),
        ("docker", Options(manifests=Path("x")), "takes no manifests"),
    ],
)
def test_options_that_do_not_fit(topology: str, options: Options, words: str) -> None:
    """Options that no lab can have are errors before anything is made."""
    with pytest.raises(UserError, match=words):
        describe(topology, options)


def test_pods_of_one_name_in_two_namespaces(tmp_path: Path) -> None:
    """Pods of one name in two namespaces, or called as a node, get namespaces of their own."""
    text = "---\n".join(
        f"kind: Pod\nmetadata: {{name: {name}, namespace: {space}}}\nspec: {{containers: [{{name: c}}]}}\n"
        for name, space in (("web", "a"), ("web", "b"), ("node-a", "a"))
    )
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    made = describe("flannel-vxlan", Options(manifests=tmp_path))
    pods = {entry.name: entry.pod for entry in made.namespaces if entry.role == "pod"}
    assert pods == {
        "web": "a/web",
        "b.web": "b/web",
        "a.node-a": "a/node-a",
        "kube-dns-0": "kube-system/kube-dns-0",
    }
