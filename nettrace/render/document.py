"""
From the model to the contract: what a front end has becomes a document that any format renders.

Lives here: the documents of traces, findings, plans and the journal.
Not here: those of ``nettrace show`` (nettrace.render.shown).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from nettrace.model.change import Change, Exact, NoUndo
from nettrace.model.dropped import DropSeen
from nettrace.model.edit import edit
from nettrace.model.finding import Evidence, Finding, Repair
from nettrace.model.flow import Flow, ObjectRef
from nettrace.model.guide import Check, GuideReport, PodReport
from nettrace.model.lab import LabRecord
from nettrace.model.observation import Agreement, Attempt, Drop, Frame, Hit, Observed
from nettrace.model.packet import Packet, PortRange
from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.model.report import RepairReport, TraceReport
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step
from nettrace.model.undo import undo_of
from nettrace.model.walk import Leg, Path, Walk
from nettrace.render.command import command
from nettrace.render.contract import (
    AgreementView,
    AttemptView,
    ComparisonView,
    DiagnosisView,
    DropDocument,
    DropView,
    EndpointView,
    EvidenceView,
    FindingDocument,
    FindingView,
    FlowView,
    FrameView,
    GuideCheckView,
    GuideDocument,
    HistoryDocument,
    LegView,
    ObservedView,
    PacketView,
    PartingView,
    PathView,
    PodDebugDocument,
    Port,
    PredictedView,
    RepairDocument,
    RepairPlanDocument,
    RepairView,
    SeenStepView,
    StepView,
    WalkDocument,
    WalkedView,
    WhyView,
)
from nettrace.render.contract_state import ExplanationDocument, LabsDocument

__all__ = [
    "drop_document",
    "explanation_document",
    "finding_document",
    "finding_view",
    "guide_check",
    "guide_document",
    "history_document",
    "labs_document",
    "packet_view",
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
        flow=_flow(walk.flow),
        verdict=walk.verdict,
        outcome=walk.outcome,
        paths=tuple(_path(path) for path in walk.paths),
        observed=_observed(report.observed) if report.observed is not None else None,
        agreement=_agreement(report.agreement) if report.agreement is not None else None,
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
        observed=_observed(report.observed) if report.observed is not None else None,
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
            step=_step(predicted.step) if predicted.step is not None else None,
        )
        if predicted is not None
        else None,
        confirmed=_seen(0, "request", hit) if hit is not None else None,
    )


def packet_view(packet: Packet) -> PacketView:
    """Make the contract's view of a packet; what does not apply to its protocol is left out."""
    return PacketView(
        src=packet.src,
        dst=packet.dst,
        proto=packet.proto,
        sport=_port(packet.sport),
        dport=_port(packet.dport),
        mark=packet.mark,
        ttl=packet.ttl,
        size=packet.size,
        df=packet.df,
        tos=packet.tos,
        tcp_flags=tuple(sorted(packet.tcp_flags)) if packet.tcp_flags else UNSET,
        icmp_type=packet.icmp_type if packet.icmp_type is not None else UNSET,
        icmp_code=packet.icmp_code if packet.icmp_code is not None else UNSET,
        icmp_id=packet.icmp_id if packet.icmp_id is not None else UNSET,
        inner=packet_view(packet.inner) if packet.inner is not None else UNSET,
    )


def _port(port: PortRange | None) -> Port | None:
    if port is None:
        return None
    return port.single if port.single is not None else str(port)


def _flow(flow: Flow) -> FlowView:
    return FlowView(
        source=_name(flow.source),
        target=_name(flow.target),
        netns=flow.origin.netns,
        device=flow.origin.device,
        packet=packet_view(flow.packet),
        segment=flow.segment,
    )


def _name(ref: ObjectRef) -> str:
    """``internet`` is a kind and a name at once."""
    return ref.name if ref.kind == ref.name else str(ref)


def _walked(walk: Walk) -> WalkedView:
    return WalkedView(
        verdict=walk.verdict, outcome=walk.outcome, paths=tuple(_path(path) for path in walk.paths)
    )


def _path(path: Path) -> PathView:
    endpoint = path.endpoint
    request, reply = path.request, path.reply
    return PathView(
        probability=path.probability,
        draws=path.draws,
        verdict=path.verdict,
        outcome=path.outcome,
        errno=path.errno,
        delay=path.delay,
        reason=path.reason,
        redrawn=path.redrawn,
        endpoint=None
        if endpoint is None
        else EndpointView(
            netns=endpoint.netns,
            address=endpoint.address,
            port=endpoint.port,
            source=endpoint.source,
            source_port=_port(endpoint.source_port),
        ),
        failed=path.legs[path.failed].kind if path.failed is not None else None,
        request=_leg(request),
        reply=_leg(reply) if reply is not None else None,
        legs=tuple(_leg(leg) for leg in path.legs if leg is not request and leg is not reply),
    )


def _leg(leg: Leg) -> LegView:
    return LegView(
        kind=leg.kind, verdict=leg.verdict, reason=leg.reason, steps=tuple(_step(step) for step in leg.steps)
    )


def _step(step: Step) -> StepView:
    return StepView(
        node=step.node,
        netns=step.netns,
        device=step.device,
        stage=step.stage,
        hook=step.hook,
        backend=step.backend,
        table=step.table,
        chain=step.chain,
        rule=step.rule,
        verdict=step.verdict,
        before=packet_view(step.before) if step.before is not None else None,
        after=packet_view(step.after) if step.after is not None else None,
        why=WhyView(ref=step.why.ref, text=step.why.text) if step.why is not None else None,
        note=step.note,
        stops=step.stops,
    )


def _observed(observed: Observed) -> ObservedView:
    return ObservedView(
        attempts=tuple(_attempt(attempt) for attempt in observed.attempts),
        outcomes={outcome.value: count for outcome, count in observed.outcomes.items()},
        steps=tuple(
            _seen(number, leg.kind, hit)
            for number, attempt in enumerate(observed.attempts)
            for leg in attempt.legs
            for hit in leg.hits
        ),
        watched=observed.watched,
        drops=tuple(
            _drop(number, drop) for number, attempt in enumerate(observed.attempts) for drop in attempt.drops
        ),
        drops_watched=observed.drops_watched,
        captured=observed.captured,
        frames=tuple(
            _frame(number, frame)
            for number, attempt in enumerate(observed.attempts)
            for frame in attempt.first_frames
        ),
        notes=observed.notes,
    )


def _attempt(attempt: Attempt) -> AttemptView:
    fields = asdict(attempt)
    del fields["legs"], fields["drops"], fields["frames"]  # told by the lists of all
    return AttemptView(**fields)


def _frame(number: int, frame: Frame) -> FrameView:
    return FrameView(
        attempt=number,
        leg=frame.leg,
        netns=frame.netns,
        device=frame.device,
        direction="out" if frame.outgoing else "in",
        time=frame.time,
        length=len(frame.data),
        packet=packet_view(frame.packet),
        tunnelled=frame.tunnelled,
        layers=frame.layers,
    )


def _seen(number: int, leg: str, hit: Hit) -> SeenStepView:
    return SeenStepView(
        attempt=number,
        leg=leg,
        netns=hit.netns,
        hook=hit.hook,
        family=hit.family or None,
        table=hit.table or None,
        chain=hit.chain or None,
        rule=hit.rule,
        handle=hit.handle,
        verdict=hit.verdict,
        iif=hit.iif,
        oif=hit.oif,
        mark=hit.mark,
        packet=packet_view(hit.packet) if hit.packet is not None else None,
        tunnelled=hit.tunnelled,
        backend=hit.backend,
    )


def _drop(number: int, drop: Drop) -> DropView:
    return DropView(
        attempt=number,
        leg=drop.leg,
        netns=drop.netns or None,
        device=drop.device,
        reason=drop.reason,
        function=drop.function or None,
        packet=packet_view(drop.packet) if drop.packet is not None else None,
        time=drop.time,
        tunnelled=drop.tunnelled,
        count=drop.count,
    )


def _agreement(agreement: Agreement) -> AgreementView:
    return AgreementView(
        agrees=agreement.agrees,
        predicted=agreement.predicted,
        differences=agreement.differences,
        comparisons=tuple(
            ComparisonView(
                attempt=one.attempt,
                path=one.path,
                agreed=one.agreed,
                compared=one.compared,
                checked=one.checked,
                parted=PartingView(**asdict(one.parted)) if one.parted is not None else None,
            )
            for one in agreement.comparisons
        ),
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
    inverse, undo = _undo(repair.changes, snapshot) if snapshot is not None else (None, None)
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


def _undo(changes: Sequence[Change], snapshot: Snapshot) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the commands that take *changes* back, the last change first, and how well they do."""
    commands: list[str] = []
    words = "exact"
    for change in changes:
        try:
            undo = undo_of(snapshot, change)
            snapshot = edit(snapshot, change)
        except ValueError:
            return None, None
        if isinstance(undo, NoUndo):
            words = f"none: {undo.reason}"
            continue
        if not isinstance(undo, Exact):
            words = f"rebuilds: {undo.differs}"
        commands = [command(back) for back in undo.changes] + commands
    return tuple(commands), words
