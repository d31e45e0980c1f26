"""What nettrace really prints, held against what it publishes: a lab, every command, every schema."""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nettrace.render.schema import schema

Process = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="building a lab needs root")


@pytest.fixture
def lab(process: Process) -> Iterator[str]:
    """A lab of the Docker model in which the published port is broken."""
    name = f"c{secrets.token_hex(3)}"
    try:
        for args in (("up", "docker", "--name", name), ("break", "docker-dnat-missing", "--lab", name)):
            done = process("lab", *args)
            assert done.returncode == 0, done.stderr
        yield name
    finally:
        process("lab", "down", name)


def test_everything_that_is_printed_holds_to_its_schema(process: Process, lab: str, tmp_path: Path) -> None:
    """Trace, show, snapshot, plan, apply, undo, history and lists validate, and exit as they should."""
    port = process("show", "rules", "docker-host", "--lab", lab)
    assert "*nat" in port.stdout

    def run(kind: str, code: int, *args: str, source: bool = True) -> Any:
        options = ("--lab", lab) if source else ()
        done = process(*args, *options, "-o", "json")
        assert done.returncode == code, f"{args}: {done.stdout}{done.stderr}"
        data = json.loads(done.stdout)
        assert data["kind"] == kind
        jsonschema.validate(data, schema(kind), cls=jsonschema.Draft202012Validator)
        return data

    trace = run("Walk", 1, "trace", "internet", "node/docker-host:8088", "--probe")
    assert trace["findings"][0]["cause"] == "docker-dnat-missing"
    assert trace["agreement"]["agrees"] is True
    assert trace["findings"][0]["repairs"][0]["undo"] == "exact"
    for what in (
        "namespaces",
        "links",
        "routes",
        "rules",
        "sets",
        "offloads",
        "xfrm",
        "conntrack",
        "sockets",
    ):
        assert run("Show", 0, "show", what)["what"] == what
    plan = run("RepairPlan", 0, "repair", "plan", "docker-dnat-missing")
    file = tmp_path / "fix.json"
    file.write_text(json.dumps(plan))
    assert run("Repair", 0, "repair", "apply", str(file), "--yes")["kept"] is True
    assert run("Walk", 0, "trace", "internet", "node/docker-host:8088", "--probe")["findings"] == []
    assert run("History", 0, "repair", "history")["entries"][0]["state"] == "applied"
    assert run("History", 0, "repair", "undo")["entries"][0]["state"] == "undone"
    assert lab in {one["name"] for one in run("Labs", 0, "lab", "list", source=False)["labs"]}

    snapshot = tmp_path / "node.json"
    assert process("snapshot", "--lab", lab, "-o", str(snapshot)).returncode == 0
    jsonschema.validate(
        json.loads(snapshot.read_text()), schema("Snapshot"), cls=jsonschema.Draft202012Validator
    )
    offline = process("trace", "internet", "node/docker-host:8088", "--from", str(snapshot), "-o", "json")
    assert offline.returncode == 1
    told, again = json.loads(offline.stdout), trace
    assert [path["verdict"] for path in told["paths"]] == [path["verdict"] for path in again["paths"]]
    assert told["findings"][0]["cause"] == "docker-dnat-missing"


def test_commands_in_a_lab_end_with_their_own_code(process: Process, lab: str) -> None:
    """exec passes options, output and exit code of the command through; heal puts the lab right."""
    done = process("lab", "exec", "--lab", lab, "internet", "--", "sh", "-c", "echo out; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    healed = process("lab", "heal", "--lab", lab)
    assert "docker-dnat-missing" in healed.stdout
    assert process("trace", "internet", "node/docker-host:8088", "--lab", lab).returncode == 0
