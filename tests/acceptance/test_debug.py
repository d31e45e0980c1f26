"""
The guided Service flow: every leaf that a lab of namespaces can have, made by the shell.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nettrace.app.context import open_context
from nettrace.app.debug import case_of, debug
from nettrace.app.repair import undo
from nettrace.app.snapshot import take
from nettrace.model.canonical import canonical_netns
from nettrace.model.guide import CheckState
from nettrace.model.object_source import ObjectSource
from tests.acceptance.bench import Bench, bench
from tests.acceptance.debug_tree import ALL_LEAVES, ANOTHER_NAME, ANOTHER_TEST, NO_LEAF, SAMPLE, TREE
from tests.acceptance.faults import Scene
from tests.acceptance.leaf import Leaf, edited
from tests.acceptance.leaf_objects import external_local
from tests.acceptance.scenes import kubernetes_scene
from tests.kernel.labs import a_lab

#: All leaves: ``NETTRACE_TEST_SWEEP=1 pytest tests/acceptance/test_debug.py`` (some minutes).
SWEEP = bool(os.environ.get("NETTRACE_TEST_SWEEP"))
CHOSEN = ALL_LEAVES if SWEEP else SAMPLE


def _name(leaf: Leaf) -> str:
    return f"{ALL_LEAVES.index(leaf):03}-{leaf.cause}"


def _options(leaf: Leaf, scene: Scene) -> dict[str, str | bool]:
    near = min(scene.client)
    if "--external" in leaf.call:
        return {"external": True}
    if "--from-node" in leaf.call:
        return {"from_node": near}
    return {"from_pod": scene.client[near]}


@pytest.mark.parametrize("leaf", CHOSEN, ids=[_name(leaf) for leaf in CHOSEN])
def test_the_flow_ends_at_the_leaf(leaf: Leaf, tmp_path: Path) -> None:
    """The fault is made, and the flow ends at its cause; repaired it goes to its end, and undo is undo."""
    with ExitStack() as stack:
        lab = Bench(stack.enter_context(a_lab(leaf.topology, proxy=leaf.proxy)).name)
        scene = kubernetes_scene(lab)
        manifests = edited(scene, leaf.edit, tmp_path / "objects") if leaf.edit is not None else None
        if leaf.rebuilt:
            built = a_lab(leaf.topology, proxy=leaf.proxy, manifests=manifests)
            lab = Bench(stack.enter_context(built).name)
            scene = scene._replace(bench=lab)
            manifests = None
        if leaf.before is not None:
            leaf.before(scene)
        for member, command in leaf.shell(scene) if leaf.shell is not None else ():
            lab.shell(member, command)
        before = _state(lab) if leaf.mended else None
        objects = ObjectSource(manifests=str(manifests)) if manifests is not None else None
        with open_context(lab=lab.name, objects=objects) as context:
            case = case_of(context, leaf.service or f"svc/{scene.service}", **_options(leaf, scene))  # type: ignore[arg-type]
            report = debug(context, case, decide=lambda check, planned: leaf.mended, consent=leaf.mended)
        told = [(one.id, one.state.value, one.conclusion) for one in report.checks]
        place = next(
            i for i, one in enumerate(report.checks) if one.state is not CheckState.SKIPPED and one.cause
        )
        found = report.checks[place]
        assert (found.cause, found.id) == (leaf.cause, leaf.at), told
        assert found.state is CheckState.PROBLEM
        around = (*report.checks[:place], *report.checks[place + 1 :])
        assert all(one.state in (CheckState.PASSED, CheckState.SKIPPED) for one in around), told
        assert found.findings[0].repairs, "a finding says what to do"
        if not leaf.mended:
            assert (report.leaf, report.state) == (leaf.cause, CheckState.PROBLEM)
            return
        assert [(done.cause, done.kept) for done in report.repairs] == [(leaf.cause, True)]
        assert report.state is CheckState.PASSED
        _connects(lab, leaf, scene)
        undo(label=context.label)
        assert _state(lab) == before


def _state(lab: Bench) -> dict[str, object]:
    """The lab's whole state in canonical form."""
    with open_context(lab=lab.name) as context:
        return {name: canonical_netns(netns) for name, netns in take(context).namespaces.items()}


def _connects(lab: Bench, leaf: Leaf, scene: Scene) -> None:
    """Real connections, by a client that shares no code with nettrace."""
    near = min(scene.client)
    who, address, port = scene.client[near], scene.cluster_ip, scene.port
    if "--external" in leaf.call:
        who, address, port = "internet", scene.node_ip[near], scene.node_port
        if leaf.address:
            address, port = leaf.address, scene.port
    elif "--from-node" in leaf.call:
        who = near
    assert {one["outcome"] for one in lab.connect(who, address, port, times=12)} == {"connected"}


@pytest.fixture(scope="module")
def healthy() -> Iterator[Bench]:
    """A lab that several tests look at."""
    with bench("flannel-vxlan") as lab:
        yield lab


@pytest.mark.parametrize("call", [(), ("--from-node", "node-b"), ("--external",)])
def test_nothing_is_wrong_with_a_healthy_lab(healthy: Bench, call: tuple[str, ...]) -> None:
    """Every client passes every check, for real."""
    ran = healthy.nettrace(
        "debug", "svc/default/hostnames", "--lab", healthy.name, "-o", "json", *call, expect=(0,)
    )
    assert ran.json["state"] == "passed"
    assert ran.json["leaf"] is None
    assert {one["state"] for one in ran.json["checks"]} <= {"passed", "skipped"}


def test_the_policy_local_does_not_bind_the_node_itself(healthy: Bench, tmp_path: Path) -> None:
    """A node without an endpoint is led to those of others where it calls its own entrances itself."""
    manifests = edited(kubernetes_scene(healthy), external_local, tmp_path / "objects")
    with a_lab("flannel-vxlan", manifests=manifests) as built:
        lab = Bench(built.name)
        call = ("debug", "svc/default/hostnames", "--lab", lab.name, "-o", "json")
        for node in ("node-a", "node-b"):
            ran = lab.nettrace(*call, "--from-node", node, expect=(0,))
            assert ran.json["state"] == "passed"
        assert lab.nettrace(*call, "--external", expect=(1,)).json["leaf"] == "etp-local-no-endpoint"


def test_a_snapshot_answers_without_sending(healthy: Bench, tmp_path: Path) -> None:
    """From a file, or without probes, the same checks are made on the model; what a name is stays unknown."""
    file = tmp_path / "state.json"
    healthy.nettrace("snapshot", "--lab", healthy.name, "-o", str(file), expect=(0,))
    for source in (("--from", str(file)), ("--lab", healthy.name, "--no-probe")):
        ran = healthy.nettrace("debug", "svc/default/hostnames", *source, "-o", "json", expect=(3,))
        assert ran.json["live"] is False
        assert ran.json["state"] == "unknown"
        assert [one["id"] for one in ran.json["checks"] if one["state"] == "unknown"] == ["dns"]
        assert ran.json["checks"][-1]["id"] == "source"


def test_repaired_on_the_way() -> None:
    """With --yes each cause is mended, and the flow goes on to the next one and to its end."""
    with bench("flannel-vxlan") as lab:
        lab.shell("node-a", "sysctl -qw net.ipv4.ip_forward=0")
        lab.shell("node-b", "iptables -P FORWARD DROP")
        ran = lab.nettrace(
            "debug", "svc/default/hostnames", "--lab", lab.name, "--yes", "-o", "json", expect=(0,)
        )
        mended = [done["cause"] for done in ran.json["repairs"] if done["kept"]]
        assert mended == ["ip-forward-off", "forward-policy-drop"]
        assert ran.json["state"] == "passed"
        again = lab.nettrace("debug", "svc/default/hostnames", "--lab", lab.name, expect=(0,))
        assert "Nothing is wrong with it" in again.out


def test_a_plan_takes_the_objects_that_the_flow_was_debugged_with(tmp_path: Path) -> None:
    """A pod that only --manifests know: the repair on the way looks there, and so does a plan after it."""
    with bench("flannel-vxlan") as lab:
        scene = kubernetes_scene(lab)
        near = min(scene.client)
        folder = edited(scene, _renamed(scene.client[near]), tmp_path / "objects")
        call = ("debug", "svc/default/hostnames", "--from-pod", "caller", "--lab", lab.name, "-o", "json")
        objects = ("--manifests", str(folder))
        assert "caller" in lab.nettrace(*call, expect=(2,)).err
        before = lab.shell(near, "iptables-save | grep ^-A; sysctl net.ipv4.ip_forward")
        broken = "sysctl -qw net.ipv4.ip_forward=0"
        lab.shell(near, broken)
        found = lab.nettrace(*call, *objects, expect=(1,)).json
        assert (found["leaf"], found["repairs"]) == ("ip-forward-off", [])
        planned = lab.nettrace(
            "repair", "plan", "ip-forward-off", "--lab", lab.name, "-o", "json", expect=(0,)
        )
        assert planned.json["flow"]["source"]["name"] == "caller"
        done = lab.nettrace("repair", "apply", "ip-forward-off", "--lab", lab.name, "-o", "json", expect=(0,))
        assert done.json["kept"] is True
        lab.shell(near, broken)
        ran = lab.nettrace(*call, *objects, "--yes", expect=(0,)).json
        assert [(one["cause"], one["kept"]) for one in ran["repairs"]] == [("ip-forward-off", True)]
        assert ran["state"] == "passed"
        assert lab.shell(near, "iptables-save | grep ^-A; sysctl net.ipv4.ip_forward") == before
        gone = folder.rename(tmp_path / "elsewhere")
        told = lab.nettrace("repair", "plan", "ip-forward-off", "--lab", lab.name, expect=(2,)).err
        assert str(folder) in told
        assert gone.is_dir()


def _renamed(pod: str) -> Callable[[Scene, list[dict[str, Any]]], None]:
    """The lab's objects, with another name for a pod."""

    def edit(scene: Scene, objects: list[dict[str, Any]]) -> None:
        for one in objects:
            if one["kind"] == "Pod" and one["metadata"]["name"] == pod.rpartition("/")[2]:
                one["metadata"]["name"] = "caller"

    return edit


def test_a_rule_in_input_says_nothing_about_node_ports(healthy: Bench) -> None:
    """What is translated goes to FORWARD: a rule of INPUT for the port is passed by, and nothing is wrong."""
    rule = "INPUT -p tcp --dport 30080 -j DROP"
    healthy.shell("node-a", f"iptables -I {rule}")
    try:
        ran = healthy.nettrace(
            "debug", "svc/default/hostnames", "--lab", healthy.name, "--external", "-o", "json", expect=(0,)
        )
        assert ran.json["state"] == "passed"
    finally:
        healthy.shell("node-a", f"iptables -D {rule}")


def test_without_objects_it_is_unknown() -> None:
    """Without any Kubernetes object nothing is called healthy."""
    with bench("docker") as lab:
        ran = lab.nettrace("debug", "svc/default/web", "--lab", lab.name, "-o", "json", expect=(3,))
        assert ran.json["checks"][0]["state"] == "unknown"
        assert json.dumps(ran.json["checks"]).count('"passed"') == 0


def test_a_client_that_is_not_there(healthy: Bench) -> None:
    """A pod or node of no such name is an error that names those there are."""
    for option, word in (("--from-pod", "pods:"), ("--from-node", "nodes:")):
        ran = healthy.nettrace(
            "debug", "svc/default/hostnames", "--lab", healthy.name, option, "nobody", expect=(2,)
        )
        assert word in ran.err


def test_every_leaf_of_the_tree_is_accounted_for() -> None:
    """Each leaf of the tree is a test, or has one reason why it is none; no reason is left over."""
    tree = {leaf for step in TREE.values() for leaf in step.split()}
    made = {leaf.cause for leaf in ALL_LEAVES}
    told = [*ANOTHER_NAME, *ANOTHER_TEST, *NO_LEAF]
    assert len(told) == len(set(told))
    assert tree - made == set(told)
    assert set(ANOTHER_NAME.values()) <= made
    assert set(SAMPLE) <= set(ALL_LEAVES)
