"""
From the model to the contract: what a front end has becomes a document that any format renders.

Lives here: the documents of traces, findings, plans and the journal.
Not here: those of ``nettrace show`` (nettrace.render.shown).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from nettrace.model.dropped import DropSeen
from nettrace.model.finding import Evidence, Finding, Repair
from nettrace.model.guide import Check, GuideReport, PodReport
from nettrace.model.lab import LabRecord
from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.model.report import RepairReport, TraceReport
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Walk
from nettrace.render.command import command
from nettrace.render.contract import (
    DiagnosisView,
    DropDocument,
    EvidenceView,
    FindingDocument,
    FindingView,
    GuideCheckView,
    GuideDocument,
    HistoryDocument,
    PodDebugDocument,
    PredictedView,
    RepairDocument,
    RepairPlanDocument,
    RepairView,
    WalkDocument,
    WalkedView,
)
from nettrace.render.contract_state import ExplanationDocument, LabsDocument
from nettrace.render.observed_views import agreement_view, observed_view, seen_view
from nettrace.render.undo_commands import undo_commands
from nettrace.render.walk_views import flow_view, packet_view, path_view, step_view

__all__ = [
    "drop_document",
    "explanation_document",
    "finding_document",
    "finding_view",
    "guide_check",
    "guide_document",
    "history_document",
    "labs_document",
    "plan_document",
    "pod_document",
    "repair_document",
    "walk_document",
]


def walk_document(report: TraceReport, snapshot: Snapshot | None = None) -> WalkDocument:
    """
    Make the document of a trace.

    With the *snapshot* that the findings were made from, every repair also tells how it is
    taken back.
    """
    walk = report.walk
    return WalkDocument(
        context=report.context,
        flow=flow_view(walk.flow),
        verdict=walk.verdict,
        outcome=walk.outcome,
        paths=tuple(path_view(path) for path in walk.paths),
        observed=observed_view(report.observed) if report.observed is not None else None,
        agreement=agreement_view(report.agreement) if report.agreement is not None else None,
        findings=tuple(finding_view(finding, snapshot) for finding in report.findings),
        diagnosis=DiagnosisView(goal=report.goal, met=report.goal_met, notes=report.notes),
        policies=report.policies,
        names=report.names,
    )


def guide_document(report: GuideReport, snapshot: Snapshot | None = None) -> GuideDocument:
    """Make the document of a guided flow."""
    return GuideDocument(
        service=report.service,
        client=report.client,
        context=report.context,
        live=report.live,
        state=report.state,
        leaf=report.leaf or None,
        checks=tuple(guide_check(check, snapshot) for check in report.checks),
        repairs=report.repairs,
    )


def pod_document(report: PodReport, snapshot: Snapshot | None = None) -> PodDebugDocument:
    """Make the document of a pod's guided flow."""
    return PodDebugDocument(
        pod=report.pod,
        node=report.node or None,
        context=report.context,
        live=report.live,
        state=report.state,
        leaf=report.leaf or None,
        checks=tuple(guide_check(check, snapshot) for check in report.checks),
    )


def guide_check(check: Check, snapshot: Snapshot | None = None) -> GuideCheckView:
    """Make the view of one check."""
    return GuideCheckView(
        id=check.id,
        axis=check.axis,
        title=check.title,
        state=check.state,
        checked=check.checked,
        seen=tuple(_evidence(piece) for piece in check.seen),
        conclusion=check.conclusion,
        findings=tuple(finding_view(finding, snapshot) for finding in check.findings),
        about=check.about or None,
        flow=check.flow,
    )


def finding_document(finding: Finding, snapshot: Snapshot | None = None) -> FindingDocument:
    """Make the document of one finding."""
    return FindingDocument(**asdict(finding_view(finding, snapshot)))


def plan_document(plan: RepairPlan) -> RepairPlanDocument:
    """Make the document of a plan; it holds the whole plan, so that it can be read back."""
    return RepairPlanDocument(**asdict(plan))


def history_document(entries: Sequence[JournalEntry]) -> HistoryDocument:
    """Make the document of the journal, in the order given."""
    return HistoryDocument(entries=tuple(entries))


def repair_document(report: RepairReport) -> RepairDocument:
    """Make the document of what became of a repair."""
    return RepairDocument(
        kept=report.kept,
        reason=report.reason,
        entry=report.entry,
        goal_met=report.goal_met,
        walked=_walked(report.walk) if report.walk is not None else None,
        observed=observed_view(report.observed) if report.observed is not None else None,
    )


def explanation_document(words: Mapping[str, Any]) -> ExplanationDocument:
    """Make the document of a cause from its words by name, as ``Cause.explanation`` has them."""
    return ExplanationDocument(**words)


def labs_document(labs: Sequence[LabRecord]) -> LabsDocument:
    """Make the document of all labs."""
    return LabsDocument(labs=tuple(labs))


def drop_document(seen: DropSeen) -> DropDocument:
    """Make the document of drops that are alike."""
    predicted, hit = seen.predicted, seen.confirmed
    return DropDocument(
        time=datetime.fromtimestamp(seen.time, UTC).isoformat(timespec="milliseconds"),
        netns=seen.netns or None,
        node=seen.node or None,
        device=seen.device,
        iif=seen.iif,
        sent=seen.sent,
        reason=seen.reason,
        function=seen.function or None,
        packet=packet_view(seen.packet) if seen.packet is not None else None,
        count=seen.count,
        repeated=seen.repeated,
        predicted=PredictedView(
            verdict=predicted.verdict,
            fits=predicted.fits,
            reason=predicted.reason,
            step=step_view(predicted.step) if predicted.step is not None else None,
        )
        if predicted is not None
        else None,
        confirmed=seen_view(0, "request", hit) if hit is not None else None,
    )


def _walked(walk: Walk) -> WalkedView:
    return WalkedView(
        verdict=walk.verdict, outcome=walk.outcome, paths=tuple(path_view(path) for path in walk.paths)
    )


def finding_view(finding: Finding, snapshot: Snapshot | None) -> FindingView:
    """Make the view of one finding."""
    return FindingView(
        cause=finding.cause,
        severity=finding.severity,
        message=finding.message,
        subject=finding.subject,
        where=finding.where,
        evidence=tuple(_evidence(piece) for piece in finding.evidence),
        alternatives=finding.alternatives,
        notes=finding.notes,
        repairs=tuple(_repair(repair, snapshot) for repair in finding.repairs),
    )


def _evidence(evidence: Evidence) -> EvidenceView:
    return EvidenceView(ref=evidence.ref, text=evidence.text, note=evidence.note)


def _repair(repair: Repair, snapshot: Snapshot | None) -> RepairView:
    inverse, undo = undo_commands(repair.changes, snapshot) if snapshot is not None else (None, None)
    return RepairView(
        id=repair.id,
        safety=repair.safety,
        commands=tuple(command(change) for change in repair.changes),
        inverse=inverse,
        undo=undo,
        changes=repair.changes,
        owner=repair.owner,
        overwritten=repair.overwritten,
        lasting=repair.lasting,
        effect=repair.effect,
    )
