"""
`nettrace check` on a lab: fifty expectations, three of them broken by the shell, repaired by what it says.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nettrace.lab.policies import add_policies, enforce
from nettrace.lab.store import find
from tests.acceptance.bench import Bench, bench
from tests.acceptance.faults import Scene, hairpin_off, masquerade_missing
from tests.acceptance.scenes import kubernetes_scene
from tests.render.check_schemas import junit_errors, sarif_errors

#: 47 that hold whatever the three faults do, and the three that they break.
EXPECTATIONS = """\
expectations:
  - name: everybody reaches the servers
    from: {pods: all, namespace: default}
    to: {pods: {app: hostnames}}
    port: 9376
  - name: servers reach clients
    from: {pods: {app: hostnames}}
    to: {pods: app=client}
    port: 8080
    source: kept
  - name: clients reach each other
    from: {pods: app in (client)}
    to: {pods: {app: client}}
    port: 8080
    expect: connected
  - name: nodes reach pods
    from: {nodes: all}
    to: [{pods: {app: hostnames}}]
    port: 9376/tcp
  - name: nodes reach clients
    from: {nodes: all}
    to: [pod/default/client-a, pod/default/client-b]
    port: 8080
  - name: the service answers
    from: [pod/default/client-a, pod/default/client-b, pod/default/hostnames-1, pod/default/hostnames-2]
    to: svc/default/hostnames:80
    endpoints: [pod/default/hostnames-0, pod/default/hostnames-1, pod/default/hostnames-2]
  - name: node ports
    from: internet
    to: [node/node-a, node/node-b]
    port: 30080
  - name: nothing else is open
    from: {pods: {app: client}}
    to: {pods: {app: hostnames}}
    port: 9999
    expect: [refused, blocked]
  - name: the far node reaches out
    from: [pod/default/client-b, pod/default/hostnames-1]
    to: internet:80
  - name: names
    from: pod/default/client-b
    to: svc/kube-system/kube-dns
    ports: [53/udp, 53/tcp]
  - name: names by UDP
    from: pod/default/client-a
    to: svc/kube-system/kube-dns:53/udp
  - name: the near node reaches out
    from: pod/default/client-a
    to: internet:80
  - name: a server reaches its own service
    from: pod/default/hostnames-0
    to: svc/default/hostnames:80
  - name: names by TCP
    from: pod/default/client-a
    to: svc/kube-system/kube-dns:53/tcp
"""

BROKEN = {
    "the near node reaches out": "masquerade-missing",
    "a server reaches its own service": "hairpin-off",
    "names by TCP": "service-rules-absent",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Bench]:
    """One healthy lab for all tests, which leave it healthy."""
    with bench("flannel-vxlan") as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The check file."""
    path = tmp_path / "checks.yaml"
    path.write_text(EXPECTATIONS)
    return str(path)


def dns_rule_absent(scene: Scene) -> list[tuple[str, str]]:
    """Delete the rule of the DNS Service's TCP port on the near node."""
    rules = scene.bench.shell("node-a", "iptables -t nat -S KUBE-SERVICES").splitlines()
    rule = next(r for r in rules if "kube-dns" in r and "-p tcp" in r)
    return [("node-a", "iptables -t nat " + rule.replace("-A ", "-D ", 1))]


def test_three_of_fifty(lab: Bench, file: str, tmp_path: Path) -> None:
    """Exit 0; with three faults exit 1, the three named with cause and repair; repaired so, exit 0 again."""
    healthy = lab.nettrace("check", file, "--lab", lab.name, "-o", "json", expect=(0,)).json
    assert healthy["counts"] == {"passed": 50, "failed": 0, "inconclusive": 0, "error": 0, "suppressed": 0}

    scene = kubernetes_scene(lab)
    for member, command in [*masquerade_missing(scene), *hairpin_off(scene), *dns_rule_absent(scene)]:
        lab.shell(member, command)
    files = {kind: tmp_path / f"report.{kind}" for kind in ("junit", "sarif", "json", "github", "html")}
    written = [f"-o{kind}={path}" for kind, path in files.items()]
    table = lab.nettrace("check", file, "--lab", lab.name, *written, "-o", "table", expect=(1,)).out
    assert "50 checks: 47 passed, 3 failed" in table

    commands = _named_in_junit(files["junit"])
    _named_in_sarif(files["sarif"], file)
    saved = json.loads(files["json"].read_text())
    failed = {one["name"]: one for one in saved["checks"] if one["status"] == "failed"}
    assert {name: one["findings"][0]["cause"] for name, one in failed.items()} == BROKEN
    assert all(one["findings"][0]["evidence"] for one in failed.values())
    for kind in ("junit", "sarif", "github", "html"):  # rendered later, it is the same
        assert lab.nettrace("render", str(files["json"]), "-o", kind).out == files[kind].read_text()

    for command in commands:
        program, *words = shlex.split(command)
        assert program == "nettrace"
        lab.nettrace(*words, "--yes", expect=(0,))
    after = lab.nettrace("check", file, "--lab", lab.name, "-o", "json", expect=(0,)).json
    assert after["counts"]["passed"] == 50
    seen = lab.connect("default/client-a", scene.outside_ip, 80, times=3)
    assert {one["outcome"] for one in seen} == {"connected"}


def _named_in_junit(path: Path) -> list[str]:
    """The three are failures with their cause and commands; returns the commands that repair them."""
    text = path.read_text()
    assert junit_errors(text) == []
    cases = {
        str(case.get("classname")): failure
        for case in ET.fromstring(text).iter("testcase")  # noqa: S314 - our own
        for failure in case.iter("failure")
    }
    assert {name: failure.get("type") for name, failure in cases.items()} == BROKEN
    commands = []
    for failure in cases.values():
        lines = str(failure.text).splitlines()
        assert any(line.startswith("repair:") for line in lines)
        commands += [line.removeprefix("apply:").strip() for line in lines if line.startswith("apply:")]
    assert len(commands) == len(BROKEN)
    return commands


def _named_in_sarif(path: Path, file: str) -> None:
    log: dict[str, Any] = json.loads(path.read_text())
    assert sarif_errors(log) == []
    results = log["runs"][0]["results"]
    assert sorted(result["ruleId"] for result in results) == sorted(BROKEN.values())
    lines = EXPECTATIONS.splitlines()
    for result in results:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == f"file://{file}"
        name = lines[place["region"]["startLine"] - 1].partition("name: ")[2]
        assert BROKEN[name] == result["ruleId"]
        assert "repair:" in result["message"]["text"]


def test_the_kernel_agrees(lab: Bench, tmp_path: Path) -> None:
    """Real connections come to what each word of `expect` says, and to what is owed."""
    path = tmp_path / "both.yaml"
    path.write_text(
        "expectations:\n"
        "  - {from: pod/default/client-a, to: 'svc/default/hostnames:80', expect: connected, via: both}\n"
        "  - {from: pod/default/client-a, to: 'pod/default/client-b:9', expect: refused, via: probe}\n"
        "  - {from: pod/default/client-b, to: 'pod/default/client-a:8080', via: probe}\n"
        "  - {from: node/node-a, to: 'pod/default/client-b:8088', expect: blocked, via: both}\n"
    )
    rule = "FORWARD -p tcp --dport 8088 -j DROP"
    lab.shell("node-a", f"iptables -I {rule.replace('FORWARD', 'OUTPUT')}")
    try:
        ran = lab.nettrace("check", str(path), "--lab", lab.name, "-o", "json", expect=(0,)).json
    finally:
        lab.shell("node-a", f"iptables -D {rule.replace('FORWARD', 'OUTPUT')}")
    assert [one["probed"] for one in ran["checks"]][1:3] == ["refused 1", "connected 1"]


def test_policies_are_owed(lab: Bench, tmp_path: Path) -> None:
    """A flow that a policy denies is owed a refusal; a file that wants it gets the policy to add."""
    policy = Path(lab.record()["manifests"]) / "networkpolicies.yaml"
    spec: dict[str, Any] = {"podSelector": {"matchLabels": {"app": "hostnames"}}, "policyTypes": ["Ingress"]}
    spec["ingress"] = [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]
    one: dict[str, Any] = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec}
    one["metadata"] = {"name": "only-clients", "namespace": "default"}
    record = find(lab.name)
    add_policies(record, [one])
    path = tmp_path / "policy.yaml"
    denied = "from: pod/default/hostnames-0, to: 'pod/default/hostnames-1:9376'"
    path.write_text(
        "expectations:\n"
        "- {name: owed, from: {pods: all}, to: {pods: {app: hostnames}}, port: 9376, via: both}\n"
        f"- {{name: blocked, {denied}, expect: blocked}}\n"
        f"- {{name: stated, {denied}, expect: connected}}\n"
    )
    try:
        ran = lab.nettrace("check", str(path), "--lab", lab.name, "-o", "json", expect=(1,)).json
    finally:
        policy.unlink()
        enforce(record)
    (failed,) = [one for one in ran["checks"] if one["status"] == "failed"]
    assert failed["name"] == "stated"
    assert failed["findings"][0]["cause"] == "netpol-default-deny"
    assert "kind: NetworkPolicy" in failed["findings"][0]["repairs"][0]["lasting"]
    assert any("blocked (denied" in one["expected"] for one in ran["checks"] if one["name"] == "owed")


def test_invariants_need_no_file(lab: Bench) -> None:
    """All seven invariants hold on a healthy lab, and what the sample leaves out is said."""
    ran = lab.nettrace("check", "--lab", lab.name, "-o", "json", expect=(0,)).json
    assert len({one["kind"] for one in ran["checks"]}) == 7
    assert any(words.startswith("pod-to-pod: asked 12 of 30") for words in ran["left_out"])
    everything = lab.nettrace("check", "--lab", lab.name, "--sample", "all", "-o", "json", expect=(0,)).json
    assert everything["left_out"] == []
    assert len(everything["checks"]) > len(ran["checks"])


def test_health_without_a_flow(lab: Bench) -> None:
    """A rule that is owed and gone is a finding of its node, with the command that brings it back."""
    line = lab.shell("node-b", "iptables -t nat -S KUBE-POSTROUTING | tail -1").strip()
    lab.shell("node-b", f"iptables -t nat -D {line.removeprefix('-A ')}")
    try:
        ran = lab.nettrace("check", "--lab", lab.name, "-o", "json", expect=(1,)).json
    finally:
        lab.shell("node-b", f"iptables -t nat {line}")
    (sick,) = [one for one in ran["checks"] if one["kind"] == "node-health" and one["status"] == "failed"]
    assert sick["source"] == "node/node-b"
    assert sick["findings"][0]["repairs"][0]["commands"]


@pytest.mark.parametrize("section", ["routes", "sysctls", "links"])
def test_unread_is_never_healthy(lab: Bench, file: str, tmp_path: Path, section: str) -> None:
    """A section of a node that could not be read makes what depends on it inconclusive: exit 3, not 0."""
    path = tmp_path / "snapshot.json"
    lab.nettrace("snapshot", "--lab", lab.name, "-o", str(path), expect=(0,))
    whole = json.loads(path.read_text())
    assert lab.nettrace("check", file, "--from", str(path), expect=(0,))
    whole["namespaces"]["node-b"][section] = {"type": "missing", "kind": "denied", "reason": "no privilege"}
    path.write_text(json.dumps(whole))
    ran = lab.nettrace("check", file, "--from", str(path), "-o", "json", expect=(3,)).json
    assert ran["counts"]["inconclusive"] > 0
    assert ran["counts"]["failed"] == 0
    assert any("no privilege" in one["reason"] for one in ran["checks"] if one["status"] == "inconclusive")
    lab.nettrace("check", file, "--from", str(path), "--fail-on", "problem", expect=(0,))


@pytest.mark.parametrize("section", ["pods", "services", "endpoint_slices"])
def test_unread_objects_are_never_healthy(lab: Bench, tmp_path: Path, section: str) -> None:
    """Objects that an API server refused make the invariants that need them inconclusive."""
    path = tmp_path / "snapshot.json"
    lab.nettrace("snapshot", "--lab", lab.name, "-o", str(path), expect=(0,))
    whole = json.loads(path.read_text())
    whole["kube"][section] = {"type": "missing", "kind": "denied", "reason": "403 Forbidden"}
    path.write_text(json.dumps(whole))
    ran = lab.nettrace("check", "--from", str(path), "-o", "json", expect=(3,)).json
    assert ran["counts"]["failed"] == 0
    assert any("403" in one["reason"] for one in ran["checks"] if one["status"] == "inconclusive")


def test_malformed_file(lab: Bench, tmp_path: Path) -> None:
    """A malformed file is exit 2, naming file, line, field and what is allowed."""
    path = tmp_path / "bad.yaml"
    path.write_text("expectations:\n  - from: pod/default/client-a\n    too: svc/default/hostnames:80\n")
    said = lab.nettrace("check", str(path), "--lab", lab.name, expect=(2,)).err
    assert f"{path}:3: expectations[0].too" in said
    assert "did you mean to?" in said
