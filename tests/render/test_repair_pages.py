"""Findings, plans, the journal and finished repairs for people."""

import pytest
from msgspec.structs import replace

from nettrace.model.change import Exact, NoUndo, Rebuilds
from nettrace.model.finding import Finding, Safety
from nettrace.model.plan import JournalEntry, PlannedChange, RepairPlan
from nettrace.model.report import RepairReport, TraceReport
from nettrace.render.document import finding_document, history_document, plan_document, repair_document
from nettrace.render.page import Look
from nettrace.render.text import render


@pytest.fixture
def plan(report: TraceReport, finding: Finding) -> RepairPlan:
    """A plan of three changes in two namespaces, one of each kind of undo."""
    change = finding.repairs[0].changes[0]
    long = "iptables -t nat -I POSTROUTING 1 -m comment --comment " + "x" * 120
    first = PlannedChange(
        node="node-b", netns="node-b", change=change, command=long, undo=Exact((change,)), inverse=("undo-1",)
    )
    return RepairPlan(
        id="7f3a0c11",
        cause=finding.cause,
        context="lab shop",
        flow=report.walk.flow,
        changes=(
            first,
            replace(first, command="second", undo=Rebuilds((change,), "its counters"), inverse=("undo-2",)),
            replace(first, netns="pod", command="third", undo=NoUndo("it comes back by itself"), inverse=()),
        ),
        preconditions=(),
        safety=Safety.KICK,
        owner="kube-proxy",
        overwritten="at its next full sync",
        lasting="restart kube-proxy on node-b",
        effect="connected in 3 of 3",
        checks=("nothing else changes for 41 owed flows",),
    )


def test_a_plan_shows_commands_inverses_and_owners(plan: RepairPlan) -> None:
    """Each change stands as its whole command with its way back, then everything else there is to know."""
    lines = render(plan_document(plan)).splitlines()
    assert lines[0] == "plan 7f3a0c11   kube-postrouting-missing   lab shop"
    assert lines[1] == "  node-b"
    assert lines[2] == f"    + {plan.changes[0].command}"
    assert lines[3:5] == ["    - undo-1", "      undo: exact"]
    assert lines[5:8] == ["    + second", "    - undo-2", "      undo: but for its counters"]
    assert lines[8:11] == ["  pod  on node-b", "    + third", "      no undo: it comes back by itself"]
    rest = "\n".join(lines[11:])
    for words in (
        "kick: a stop-gap",
        "kube-proxy; at its next full sync",
        "restart kube-proxy on node-b",
        "connected in 3 of 3",
        "nothing else changes for 41 owed flows",
        "help: nettrace repair apply kube-postrouting-missing --lab shop",
    ):
        assert words in rest


def test_advice_is_not_offered_to_apply(plan: RepairPlan) -> None:
    """What only a person may decide has no command that applies it."""
    assert "repair apply" not in render(plan_document(replace(plan, safety=Safety.ADVICE)))


def test_a_finding_is_told_in_rustcs_manner(finding: Finding) -> None:
    """Cause in brackets, place after an arrow, evidence beside a bar, notes, help last."""
    lines = render(finding_document(finding), Look(ascii=True)).splitlines()
    assert lines[0] == "error[kube-postrouting-missing]: packets marked for masquerade leave without it"
    assert lines[1] == "  --> node-b nat POSTROUTING  svc/default/hostnames"
    assert lines[2] == "   | -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000  marked here"
    assert lines[4] == "   = with it: connected in 3 of 3"
    assert lines[6].startswith("help: nettrace repair plan kube-postrouting-missing   1 change")
    assert lines[7] == "      nettrace explain kube-postrouting-missing"


def test_alternatives_and_advice_are_told(finding: Finding) -> None:
    """Causes that look alike are named, and a lasting fix is told where nothing can be applied."""
    repair = replace(finding.repairs[0], safety=Safety.ADVICE, lasting="kubectl edit svc hostnames")
    told = replace(finding, alternatives=("other-cause",), repairs=(repair,), notes=("seen 3 times",))
    text = render(finding_document(told))
    assert "nothing here tells it apart from other-cause" in text
    assert "help: kubectl edit svc hostnames" in text
    assert "= seen 3 times" in text
    assert "repair plan" not in text


def test_the_journal_is_one_line_a_repair(plan: RepairPlan) -> None:
    """The history has a title and a row for each entry; in full, its changes too."""
    entry = JournalEntry(plan=plan, state="rolled-back", done=3, started="14:02:11", note="goal not met")
    lines = render(history_document([entry])).splitlines()
    assert lines[0].split() == ["ID", "CAUSE", "CONTEXT", "STATE", "CHANGES", "STARTED", "NOTE"]
    assert "rolled-back  3  " in lines[1]
    under_way = replace(entry, state="applying", done=1)
    assert "applying  1 of 3" in render(history_document([under_way]))
    assert "undo-1" in render(history_document([entry]), Look(wide=True))
    assert render(history_document([])) == "no repair has been made here\n"


def test_a_repair_that_stands_says_how_it_ends(plan: RepairPlan, report: TraceReport) -> None:
    """A repair under a timer asks for confirmation, another one tells its undo."""
    entry = JournalEntry(plan=plan, state="applied", done=3, started="14:02:11")
    kept = RepairReport(entry=entry, kept=True, walk=report.walk, goal_met=True, observed=report.observed)
    text = render(repair_document(kept))
    assert "applied   14:02:11" in text
    assert "walked    timeout in 2 of 3, connected in 1 of 3" in text
    assert "probed    connected in 1 of 2, timeout in 1 of 2, 2.0 s (hostnames-0)" in text
    assert "nettrace repair undo 7f3a0c11 --lab shop" in text
    timed = replace(kept, entry=replace(entry, deadline=1e9))
    assert "nettrace repair confirm 7f3a0c11   otherwise it is undone" in render(repair_document(timed))


def test_a_repair_that_was_taken_back_says_why(plan: RepairPlan) -> None:
    """A rollback is told with its reason, and offers nothing to undo."""
    entry = JournalEntry(plan=plan, state="rolled-back", done=3)
    report = RepairReport(entry=entry, kept=False, reason="real connections still end in timeout")
    text = render(repair_document(report))
    assert "taken back real connections still end in timeout" in text
    assert "repair undo" not in text
