"""Labs whose pods the real CNI plugins make: as predicted, nothing to find, and its leases told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nettrace.lab import down, up
from tests.kernel.labs import lab_name

#: With ``NETTRACE_TEST_SWEEP=1`` the plugin ptp too.
TOPOLOGIES = ["cni-bridge", *(["cni-ptp"] if os.environ.get("NETTRACE_TEST_SWEEP") else [])]

FLOWS = (
    ("pod/client-a", "pod/hostnames-0:9376"),  # on its node
    ("pod/client-a", "pod/hostnames-1:9376"),
    ("pod/client-a", "svc/hostnames"),
    ("node/node-a", "svc/hostnames"),
    ("pod/client-a", "172.18.0.100:80"),
    ("internet", "node/node-b:30080"),
)


@pytest.fixture(scope="module", params=TOPOLOGIES)
def lab(request: pytest.FixtureRequest) -> Iterator[str]:
    """A lab of two nodes."""
    name = lab_name()
    up(request.param, name=name)
    try:
        yield name
    finally:
        down(name)


def nettrace(lab: str, *words: str) -> tuple[int, Any]:
    """Run a command; exit code and document."""
    done = subprocess.run(
        [sys.executable, "-m", "nettrace", *words, "--lab", lab, "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_flow_is_as_predicted(lab: str) -> None:
    """Real connections come to what the walk says, and there is nothing to find."""
    for source, target in FLOWS:
        code, walk = nettrace(lab, "trace", source, target, "--probe")
        assert (code, walk["outcome"], walk["findings"]) == (0, "connected", []), (source, target, walk)
        assert walk["agreement"]["agrees"] is True


def test_a_pod_and_its_lease(lab: str) -> None:
    """The guided flow follows a pod from the podCIDR to its status."""
    code, document = nettrace(lab, "debug", "pod/default/hostnames-0")
    assert (code, document["leaf"]) == (0, None)
    lease = next(check for check in document["checks"] if check["id"] == "lease")
    assert "10.244.1." in lease["conclusion"]


def test_it_is_not_changed_while_it_is_up(lab: str, tmp_path: Path) -> None:
    """Its pods are the plugins' work: `lab apply` says so."""
    file = tmp_path / "pod.yaml"
    file.write_text("{apiVersion: v1, kind: Pod, metadata: {name: late}, spec: {nodeName: node-a}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "nettrace", "lab", "apply", "-f", str(file), "--lab", lab],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "made by CNI plugins" in done.stderr
