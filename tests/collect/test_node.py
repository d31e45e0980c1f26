"""Files and processes of a node: what is taken, and which secrets are not."""

import json
import os
from pathlib import Path

from nettrace.collect.node import node_processes, read_files
from nettrace.collect.processes import running


def write(root: Path, path: str, text: str) -> None:
    """Make a file with its directories."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_only_the_files_that_owners_leave(tmp_path: Path) -> None:
    """Of a machine the known places are read, under the paths that the node has them at."""
    write(tmp_path, "/run/flannel/subnet.env", "FLANNEL_MTU=1450\n")
    write(tmp_path, "/etc/cni/net.d/10-flannel.conflist", "{}")
    write(tmp_path, "/etc/cni/net.d/calico-kubeconfig", "token: secret")
    write(tmp_path, "/etc/shadow", "root")
    assert read_files(tmp_path) == {
        "/etc/cni/net.d/10-flannel.conflist": "{}",
        "/run/flannel/subnet.env": "FLANNEL_MTU=1450\n",
    }


def test_everything_of_a_lab_node(tmp_path: Path) -> None:
    """Below a lab node's directory every file is that node's."""
    write(tmp_path, "/etc/some/thing", "x")
    (tmp_path / "link").symlink_to("/etc")
    assert read_files(tmp_path, everything=True) == {"/etc/some/thing": "x"}
    assert read_files(tmp_path / "none", everything=True) == {}


def test_large_files_are_left_out(tmp_path: Path) -> None:
    """A file above the cap is not taken."""
    write(tmp_path, "/run/flannel/subnet.env", "x" * (2 << 20))
    assert read_files(tmp_path) == {}


def test_container_records_without_their_environment(tmp_path: Path) -> None:
    """What a container is started with may hold passwords; where it is published does not."""
    record = {
        "Name": "/web",
        "Config": {"Env": ["PASSWORD=x"], "Cmd": ["serve", "--token=y"], "Image": "nginx"},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostPort": "8088"}]}},
    }
    write(tmp_path, "/var/lib/docker/containers/abc/config.v2.json", json.dumps(record))
    write(tmp_path, "/var/lib/docker/containers/abc/hostconfig.json", "{}")
    write(tmp_path, "/var/lib/docker/containers/def/config.v2.json", "{half")
    found = read_files(tmp_path)
    kept = json.loads(found["/var/lib/docker/containers/abc/config.v2.json"])
    assert kept["Config"] == {"Image": "nginx"}
    assert kept["NetworkSettings"] == record["NetworkSettings"]
    assert found["/var/lib/docker/containers/def/config.v2.json"] == "{half"


def test_processes_with_and_without_arguments() -> None:
    """Of a pod's processes only names are kept, of a node's the arguments too."""
    me = next(process for process in running() if process.pid == os.getpid())
    (mine,) = node_processes([me], {me.netns: "node-a"}, "node-a")
    assert mine.cmdline
    (pods,) = node_processes([me], {me.netns: "pod-a"}, "node-a")
    assert pods.cmdline == ()
    assert pods.netns == "pod-a"
    assert node_processes([me], {}, "node-a") == ()


def test_secret_arguments_are_masked() -> None:
    """The value of an option that sounds secret is not kept, in either way of writing it."""
    from nettrace.collect.node import _masked

    words = (
        "x",
        "--token=abc",
        "--password",
        "hunter2",
        "--port",
        "80",
        "--api-key",
        "--v=2",
        "--auth-token",
    )
    assert _masked(words) == (
        *("x", "--token=***", "--password", "***", "--port", "80", "--api-key", "--v=2", "--auth-token"),
    )


def test_leases_where_the_configuration_has_them(tmp_path: Path) -> None:
    """host-local's leases are read from its own directory and from one that a configuration names."""
    conf = {
        "name": "kind",
        "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/run/leases"}}],
    }
    write(tmp_path, "/etc/cni/net.d/10-kindnet.conflist", json.dumps(conf))
    write(tmp_path, "/run/leases/kind/10.1.0.2", "abc\neth0")
    write(tmp_path, "/run/leases/kind/lock", "")
    write(tmp_path, "/var/lib/cni/networks/cbr0/10.2.0.2", "def\neth0")
    found = set(read_files(tmp_path))
    assert {"/run/leases/kind/10.1.0.2", "/var/lib/cni/networks/cbr0/10.2.0.2"} <= found
    assert "/run/leases/kind/lock" not in found


def test_the_runtimes_cni_cache_without_configurations(tmp_path: Path) -> None:
    """Who was attached is kept, the configuration that stands beside it is not."""
    record = {"kind": "cniCacheV1", "containerId": "abc", "config": "c2VjcmV0", "result": {"ips": []}}
    write(tmp_path, "/var/lib/cni/results/cbr0-abc-eth0", json.dumps(record))
    kept = json.loads(read_files(tmp_path)["/var/lib/cni/results/cbr0-abc-eth0"])
    assert kept == {"kind": "cniCacheV1", "containerId": "abc", "result": {"ips": []}}
