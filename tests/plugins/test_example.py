"""The plugin of docs/plugins.md: built, installed and used as a third party's, in a process of its own."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/my-cni"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that pip installed it into, from a copy of its sources, without a network."""
    target = tmp_path_factory.mktemp("installed")
    argv = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *argv, str(EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def nettrace(installed: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run nettrace with the package on its path."""
    return subprocess.run(
        [sys.executable, "-m", "nettrace", *argv],
        env=dict(os.environ) | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_page_shows_the_files() -> None:
    """What stands in the documentation is what is tested."""
    page = (ROOT / "docs/plugins.md").read_text()
    shown = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", page, re.DOTALL))
    for name in ("my_cni/plugin.py", "my_cni/topology.py", "pyproject.toml"):
        assert shown[name] == (EXAMPLE / name).read_text()


def test_it_is_found_by_its_entry_point(installed: Path) -> None:
    """Its topology is among those of `lab up`, beside nettrace's own."""
    done = nettrace(installed, "lab", "up", "nothing-of-this-name")
    assert done.returncode == 2
    assert "my-cni" in done.stderr
    assert "flannel-vxlan" in done.stderr
    without = nettrace(Path("/nowhere"), "lab", "up", "nothing-of-this-name")
    assert "my-cni" not in without.stderr


@pytest.fixture
def lab(installed: Path) -> Iterator[str]:
    """Its lab, gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = f"t{secrets.token_hex(4)}"
    done = nettrace(installed, "lab", "up", "my-cni", "--name", name)
    try:
        assert done.returncode == 0, done.stderr
        yield name
    finally:
        nettrace(installed, "lab", "down", name)


def test_its_lab_is_broken_and_repaired(installed: Path, lab: str) -> None:
    """Recognised, all there; a route is taken away, found first, with the agent as its owner, and mended."""
    question = ("trace", "pod/default/client-a", "pod/default/client-b:8080", "--lab", lab)
    assert nettrace(installed, *question, "--probe").returncode == 0
    shown = json.loads(nettrace(installed, "show", "systems", "--lab", lab, "-o", "json").stdout)
    systems = {item["system"]["name"]: item["system"] for item in shown["items"]}
    assert {count["kind"]: count["owed"] for count in systems["my-cni"]["owed"]} == {"routes": 1}
    assert systems["my-cni"]["evidence"][0]["text"] == "mycni0 (bridge)"

    assert nettrace(installed, "lab", "break", "pod-route-missing", "--lab", lab).returncode == 0
    done = nettrace(installed, *question, "--probe", "-o", "json")
    assert done.returncode == 1, done.stderr
    first = json.loads(done.stdout)["findings"][0]
    assert (first["cause"], first["repairs"][0]["owner"]) == ("pod-route-missing", "my-cni-agent")
    assert nettrace(installed, "repair", "apply", "pod-route-missing", "--yes", "--lab", lab).returncode == 0
    assert nettrace(installed, *question, "--probe").returncode == 0
