"""Snapshots that were taken separately, one on each node: joined into a cluster, or with a peer missing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nettrace.lab import down, up
from tests.kernel.labs import ask, lab_name

NODES = ("node-a", "node-b", "node-c")


def nettrace(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run(
        [sys.executable, "-m", "nettrace", *words], capture_output=True, text=True, check=False, timeout=120
    )


#: With ``NETTRACE_TEST_SWEEP=1`` another network too.
TOPOLOGIES = ["flannel-vxlan", *(["flannel-host-gw"] if os.environ.get("NETTRACE_TEST_SWEEP") else [])]


@pytest.fixture(scope="module", params=TOPOLOGIES)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file a node of a lab of three, and the lab's pods; real connections are as they are to be."""
    name, directory = lab_name(), tmp_path_factory.mktemp("nodes")
    record = up(request.param, name=name, nodes=3)
    try:
        pods = {entry.node: entry for entry in record.namespaces if entry.role == "pod"}
        assert set(pods) == set(NODES)
        (directory / "pods.json").write_text(json.dumps([pods[node].pod for node in NODES]))
        far = next(
            e for e in record.namespaces if e.node == "node-b" and e.role == "pod" and "hostnames" in e.name
        )
        assert ask(record, pods["node-a"].name, far.addresses[0], 9376)[0] == far.name
        for node in NODES:
            file = directory / f"{node}.json.gz"
            done = nettrace("snapshot", "--lab", name, "--node", node, "-o", str(file))
            assert done.returncode == 0, done.stderr
    finally:
        down(name)
    return directory


def trace(files: Path, nodes: tuple[str, ...], target: int) -> tuple[int, dict[str, Any]]:
    """Walk from node-a's pod to one of node-b (1) or node-c (2), on the snapshots of *nodes*."""
    pods = json.loads((files / "pods.json").read_text())
    given = [word for node in nodes for word in ("--from", str(files / f"{node}.json.gz"))]
    done = nettrace("trace", f"pod/{pods[0]}", f"pod/{pods[target]}/icmp", *given, "-o", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_two_files_are_a_cluster(files: Path) -> None:
    """The walk goes from one node's pod over both nodes into the other's and back."""
    for nodes in (("node-a", "node-b"), ("node-b", "node-a")):
        code, walk = trace(files, nodes, 1)
        assert (code, walk["outcome"], walk["verdict"]) == (0, "connected", "DELIVERED")
        steps = [step for leg in ("request", "reply") for step in walk["paths"][0][leg]["steps"]]
        assert {"node-a", "node-b"} <= {step["netns"] for step in steps}


def test_three_files_are_one_network(files: Path) -> None:
    """All nodes are on one network: each is reached."""
    for target in (1, 2):
        assert trace(files, NODES, target)[1]["outcome"] == "connected"


def test_a_peer_whose_file_is_missing(files: Path) -> None:
    """It has left the snapshot, and is named; that is no error and no fault."""
    for nodes in (("node-a", "node-b"), ("node-a",)):
        code, walk = trace(files, nodes, 2)
        assert walk["verdict"] == "LEFT_SNAPSHOT"
        assert code == 3
        assert "node-c" in walk["paths"][0]["reason"], walk["paths"][0]["reason"]


def test_only_the_server_s_side(files: Path) -> None:
    """From the far end alone the client's pod is not there, and that is said."""
    pods = json.loads((files / "pods.json").read_text())
    done = nettrace("trace", f"pod/{pods[0]}", f"pod/{pods[1]}/icmp", "--from", str(files / "node-b.json.gz"))
    assert done.returncode == 2
    assert "not something that sends packets" in done.stderr
    unknown = nettrace("snapshot", "--lab", "none", "--node", "x", "-o", "/dev/null")
    assert unknown.returncode == 2
