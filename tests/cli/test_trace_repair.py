"""Trace, show, snapshot and repair, with their use cases replaced: what is passed on, what comes back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import Result
from msgspec.structs import replace

from nettrace.app.remember import Question
from nettrace.model.change import Exact, SysctlSet
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet
from nettrace.model.plan import JournalEntry, PlannedChange, RepairPlan
from nettrace.model.report import RepairReport, TraceReport
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Leg, Outcome, Walk
from nettrace.model.walk import Path as WalkPath

Run = Callable[..., Result]

REF = ObjectRef(kind="pod", name="client", namespace="default")
FLOW = Flow(
    origin=Origin(netns="client"),
    packet=Packet(src="10.0.0.1", dst="10.96.0.1", proto="tcp"),
    source=REF,
    target=REF,
)
LEG = Leg(kind="request", steps=(), verdict=Verdict.DELIVERED)
BRANCH = WalkPath(probability=1.0, legs=(LEG,), verdict=Verdict.DELIVERED, outcome=Outcome.CONNECTED)
WALK = Walk(flow=FLOW, paths=(BRANCH,), verdict=Verdict.DELIVERED, outcome=Outcome.CONNECTED)
CHANGE = SysctlSet(netns="n", name="net.ipv4.ip_forward", value="1")
PLAN = RepairPlan(
    id="7f3a0c11",
    cause="ip-forward-off",
    context="lab shop",
    flow=FLOW,
    changes=(
        PlannedChange(
            node="n",
            netns="n",
            change=CHANGE,
            command="sysctl -w x=1",
            undo=Exact((CHANGE,)),
            inverse=("sysctl -w x=0",),
        ),
    ),
    preconditions=(),
    safety=Safety.AUTO,
)
ENTRY = JournalEntry(plan=PLAN, state="applied", done=1, id="7f3a0c11")


class FakeContext:
    """A context that was opened, and how."""

    snapshot = Snapshot(namespaces={"n": Netns(name="n", node="n", routes=Known(()), rules=Known(()))})
    label = "lab shop"
    remarks: tuple[str, ...] = ()

    def __init__(self, opened: dict[str, Any]) -> None:
        self.opened = opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.opened["closed"] = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace opening a source; holds what it was opened with."""
    seen: dict[str, Any] = {}

    def fake(**options: Any) -> FakeContext:
        seen.update(options)
        return FakeContext(seen)

    monkeypatch.setattr("nettrace.app.context.open_context", fake)
    return seen


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, opened: dict[str, Any]) -> dict[str, Any]:
    """Replace the trace; holds the question and its options, and under "report" the answer."""
    seen: dict[str, Any] = {"report": TraceReport(walk=WALK, goal="it answers", goal_met=True)}

    def fake(context: FakeContext, question: Question, **options: Any) -> TraceReport:
        seen.update(question=question, **options)
        report: TraceReport = seen["report"]
        return report

    monkeypatch.setattr("nettrace.app.trace.trace", fake)
    return seen


def test_a_trace_passes_everything_on(run: Run, asked: dict[str, Any], opened: dict[str, Any]) -> None:
    """Targets, packet and source reach the use case as they were typed, and the source is closed."""
    result = run(
        *("trace", "pod/client", "svc/web:http", "--sport", "4000", "--size", "1400", "--mark", "0x4000"),
        *("--ttl", "3", "--no-df", "--probe", "--count", "9", "--lab", "shop", "-o", "json"),
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["kind"] == "Walk"
    assert asked["question"] == Question(
        source="pod/client", target="svc/web:http", sport=4000, size=1400, mark=0x4000, ttl=3, df=False
    )
    assert (asked["with_probe"], asked["count"]) == (True, 9)
    assert (opened["lab"], opened["closed"]) == ("shop", True)


@pytest.mark.parametrize(
    ("args", "lab", "files"),
    [
        ([], None, ()),
        (["--lab"], "", ()),
        (["--lab", "-o", "json"], "", ()),
        (["--lab=shop"], "shop", ()),
        (["--from", "a", "--from", "b"], None, (Path("a"), Path("b"))),
    ],
)
def test_sources(
    run: Run,
    asked: dict[str, Any],
    opened: dict[str, Any],
    args: list[str],
    lab: str | None,
    files: tuple[Path, ...],
) -> None:
    """The machine itself, the only lab, a lab by name, snapshots: each is told from the others."""
    assert run("trace", "a", "b", *args).exit_code == 0
    assert (opened["lab"], opened["from_files"]) == (lab, files)


def test_what_was_put_right_is_told(run: Run, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair that a killed process left half done, and that was taken back, is told on stderr."""
    monkeypatch.setattr(FakeContext, "remarks", ("repair 7f3a was left half done",))
    assert run("trace", "a", "b").stderr == "note: repair 7f3a was left half done\n"


def test_nothing_is_probed_unasked(run: Run, asked: dict[str, Any]) -> None:
    """Without --probe or --count no packet is sent."""
    run("trace", "a", "b")
    assert asked["with_probe"] is False
    run("trace", "a", "b", "--count", "3")
    assert asked["with_probe"] is True


@pytest.mark.parametrize(
    ("outcome", "met", "code"),
    [(Outcome.CONNECTED, True, 0), (Outcome.TIMEOUT, False, 1), (Outcome.UNKNOWN, None, 3)],
)
def test_a_trace_ends_with_its_verdict(
    run: Run, asked: dict[str, Any], outcome: Outcome, met: bool | None, code: int
) -> None:
    """0 as owed, 1 a problem, 3 undecided; the result is printed in every case."""
    walk = replace(WALK, outcome=outcome, paths=(replace(BRANCH, outcome=outcome),))
    asked["report"] = TraceReport(walk=walk, goal_met=met)
    result = run("trace", "a", "b")
    assert result.exit_code == code
    assert outcome.value in result.stdout


def test_show_lists_and_tells_what_is_missing(
    run: Run, opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete list ends with 0, one with a section that was not read with 3."""
    snapshot = FakeContext.snapshot
    monkeypatch.setattr("nettrace.app.show.show", lambda context, what, of=None: snapshot)
    assert run("show", "routes").exit_code == 0
    missing = Missing(MissingKind.DENIED, "no privilege")
    snapshot = Snapshot(namespaces={"n": Netns(name="n", node="n", rules=missing, routes=missing)})
    result = run("show", "routes", "n", "--lab")
    assert result.exit_code == 3
    assert "no privilege" in result.stdout


def test_snapshots_go_into_a_file_or_a_pipe(
    run: Run, opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """-o FILE writes the file and says so on stderr, -o - writes to standard output."""
    monkeypatch.setattr("nettrace.app.snapshot.take", lambda context, node=None: FakeContext.snapshot)
    file = tmp_path / "node.json"
    result = run("snapshot", "-o", str(file))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "1 namespaces" in result.stderr
    assert json.loads(file.read_text())["kind"] == "Snapshot"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(run("snapshot", "-o", "-").stdout)["kind"] == "Snapshot"


@pytest.fixture
def repaired(monkeypatch: pytest.MonkeyPatch, opened: dict[str, Any]) -> dict[str, Any]:
    """Replace the use cases of repair; holds what they were given, and under "report" the answer."""
    seen: dict[str, Any] = {"report": RepairReport(entry=ENTRY, kept=True)}

    def plan(context: FakeContext, cause: str, **options: Any) -> RepairPlan:
        seen.update(cause=cause, **options)
        return PLAN

    def apply(context: FakeContext, planned: RepairPlan, **options: Any) -> RepairReport:
        seen.update(planned=planned, **options)
        report: RepairReport = seen["report"]
        return report

    def undo(identity: str | None, *, label: str | None) -> JournalEntry:
        seen.update(undone=identity, label=label)
        return replace(ENTRY, state=seen.get("state", "undone"))

    monkeypatch.setattr("nettrace.app.repair.plan", plan)
    monkeypatch.setattr("nettrace.app.repair.apply", apply)
    monkeypatch.setattr("nettrace.app.repair.undo", undo)
    monkeypatch.setattr("nettrace.app.repair.confirm", lambda identity: replace(ENTRY, state="confirmed"))
    other = replace(ENTRY, plan=replace(PLAN, context="this machine"), id="other")
    monkeypatch.setattr("nettrace.app.repair.history", lambda: (ENTRY, other))
    return seen


def test_a_plan_changes_nothing_and_can_be_kept(run: Run, repaired: dict[str, Any], tmp_path: Path) -> None:
    """Plan prints the commands, and what it writes as JSON is what apply reads."""
    file = tmp_path / "fix.json"
    result = run("repair", "plan", "ip-forward-off", "--lab", "shop", "-o", "table", "-o", f"json={file}")
    assert result.exit_code == 0, result.stderr
    assert "+ sysctl -w x=1" in result.stdout
    assert "planned" not in repaired
    applied = run("repair", "apply", str(file), "--lab", "shop", "--yes")
    assert applied.exit_code == 0, applied.stderr
    assert repaired["planned"] == PLAN


def test_a_repair_passes_its_options_on(run: Run, repaired: dict[str, Any]) -> None:
    """Flow, choice, timer and consent reach the use case."""
    result = run(
        *("repair", "apply", "ip-forward-off", "--flow", "a", "b", "--ttl", "9", "--choice", "2", "--yes"),
        *("--confirm-within", "2m", "--no-probe", "--allow-no-undo", "-o", "json"),
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["kind"] == "Repair"
    assert repaired["question"] == Question(source="a", target="b", ttl=9)
    assert repaired["choice"] == 2
    assert repaired["confirm_within"] == 120.0
    assert (repaired["with_probe"], repaired["consent"]) == (False, True)


def test_a_repair_that_did_not_help_is_a_problem(run: Run, repaired: dict[str, Any]) -> None:
    """What was taken back at once ends with 1 and the reason."""
    repaired["report"] = RepairReport(entry=ENTRY, kept=False, reason="the goal is not met")
    result = run("repair", "apply", "ip-forward-off")
    assert result.exit_code == 1
    assert "the goal is not met" in result.stdout


def test_undo_names_the_source_or_the_repair(run: Run, repaired: dict[str, Any]) -> None:
    """Undo takes an id, or the last repair of a lab; what could not be taken back is a problem."""
    assert run("repair", "undo", "7f3a").exit_code == 0
    assert (repaired["undone"], repaired["label"]) == ("7f3a", None)
    assert run("repair", "undo", "--lab", "shop").exit_code == 0
    assert (repaired["undone"], repaired["label"]) == (None, "lab shop")
    repaired["state"] = "failed"
    assert run("repair", "undo").exit_code == 1


def test_history_is_newest_first_and_by_source(run: Run, repaired: dict[str, Any]) -> None:
    """All repairs, or those of one lab; confirm prints the entry it kept."""
    both = json.loads(run("repair", "history", "-o", "json").stdout)["entries"]
    assert [entry["id"] for entry in both] == ["other", "7f3a0c11"]
    one = json.loads(run("repair", "history", "--lab", "shop", "-o", "json").stdout)["entries"]
    assert [entry["id"] for entry in one] == ["7f3a0c11"]
    assert "confirmed" in run("repair", "confirm", "7f3a").stdout
