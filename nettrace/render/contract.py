"""
The contract of ``-o json``: what every kind of document holds.

Lives here: one frozen Struct a kind, from which the JSON Schemas are made and saved results
are read back: traces, findings, plans, repairs.  Every front end and every format renders these.
Not here: the parts of a flow (nettrace.render.contract_walk and contract_observed), what lists
and inspects (nettrace.render.contract_state), making them from the model
(nettrace.render.document), formats.
"""

from typing import TypeAlias

from msgspec import Struct, field

from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.model.policy_verdict import Enforced
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.contract_expect import ExpectDiffDocument, ExpectedDocument
from nettrace.render.contract_finding import EvidenceView, FindingView, RepairView
from nettrace.render.contract_guide import GuideCheckView, GuideDocument, PodDebugDocument
from nettrace.render.contract_observed import (
    AgreementView,
    ObservedView,
    SeenStepView,
)
from nettrace.render.contract_state import DoctorDocument, ExplanationDocument, LabsDocument, ShowDocument
from nettrace.render.contract_walk import (
    FlowView,
    PacketView,
    PathView,
    StepView,
)
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = [
    "DiagnosisView",
    "Document",
    "DropDocument",
    "EvidenceView",
    "FindingDocument",
    "FindingView",
    "GuideCheckView",
    "GuideDocument",
    "HistoryDocument",
    "IngressCheckView",
    "IngressDocument",
    "IngressPartView",
    "IngressRuleView",
    "PodDebugDocument",
    "PredictedView",
    "RepairDocument",
    "RepairPlanDocument",
    "RepairView",
    "WalkDocument",
    "WalkedView",
]


class DiagnosisView(Struct, frozen=True, kw_only=True):
    """What the flow was held against; ``met`` is null where nothing is owed or nothing is certain."""

    goal: str
    met: bool | None
    notes: tuple[str, ...]


class WalkDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Walk"):
    """The answer of ``nettrace trace``."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    context: str
    flow: FlowView
    verdict: Verdict
    outcome: Outcome
    paths: tuple[PathView, ...]
    observed: ObservedView | None
    agreement: AgreementView | None
    findings: tuple[FindingView, ...]
    diagnosis: DiagnosisView
    policies: tuple[Enforced, ...] = ()
    names: dict[str, str] = field(default_factory=dict)


class FindingDocument(FindingView, frozen=True, kw_only=True, tag_field="kind", tag="Finding"):
    """One finding by itself."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)


class RepairPlanDocument(RepairPlan, frozen=True, kw_only=True, tag_field="kind", tag="RepairPlan"):
    """The answer of ``nettrace repair plan``, which ``repair apply FILE`` takes."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)


class HistoryDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="History"):
    """The journal, newest first."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    entries: tuple[JournalEntry, ...]


class WalkedView(Struct, frozen=True, kw_only=True):
    """A walk by itself."""

    verdict: Verdict
    outcome: Outcome
    paths: tuple[PathView, ...]


class RepairDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Repair"):
    """
    The answer of ``nettrace repair apply``.

    ``walked`` and ``observed`` are of the same flow afterwards.  ``kept`` false: it was taken
    back at once, and ``reason`` says why.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    kept: bool
    reason: str
    entry: JournalEntry
    goal_met: bool | None
    walked: WalkedView | None
    observed: ObservedView | None


class PredictedView(Struct, frozen=True, kw_only=True):
    """
    What the walk of the dropped header says.

    ``fits``: it stops there for such a reason; false where it does not explain the drop, null
    where it cannot tell.  ``step`` is where it ends.
    """

    verdict: Verdict
    fits: bool | None
    reason: str
    step: StepView | None


class DropDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Drop"):
    """
    One line of ``nettrace watch``: drops that are alike.

    ``time`` is that of the latest, ``count`` how many there were since the last line about them;
    ``repeated`` where there was one.  ``device`` is where the packet was last, ``iif`` where it
    came in, null where it was ``sent`` from there.  ``predicted`` is null where nothing was
    walked, ``confirmed`` without ``--trace``.  Without BPF ``netns`` and ``packet`` are null.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    time: str
    netns: str | None
    node: str | None
    device: str | None
    iif: str | None
    sent: bool
    reason: str
    function: str | None
    packet: PacketView | None
    count: int
    repeated: bool
    predicted: PredictedView | None
    confirmed: SeenStepView | None


class IngressCheckView(Struct, frozen=True, kw_only=True):
    """One thing that was checked of the Ingress object."""

    ok: bool
    message: str


class IngressRuleView(Struct, frozen=True, kw_only=True):
    """The rule that takes the request; ``host`` "" is any."""

    host: str
    path: str
    path_type: str = field(name="pathType")


class IngressPartView(Struct, frozen=True, kw_only=True):
    """One of the joined flows."""

    source: str
    target: str
    walk: WalkDocument


class IngressDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="IngressTrace"):
    """
    The answer of ``nettrace trace SRC ingress/NAMESPACE/NAME``.

    ``rule`` is null where the default backend, or nobody, takes the request.  ``status`` is what the
    controller answers by itself, 404 or 503; null where it passes the request on.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    context: str
    ingress: str
    controller: str
    host: str
    path: str
    rule: IngressRuleView | None
    service: str | None
    port: int | None
    status: int | None
    outcome: str
    checks: tuple[IngressCheckView, ...]
    parts: tuple[IngressPartView, ...]


Document: TypeAlias = (
    WalkDocument
    | IngressDocument
    | GuideDocument
    | PodDebugDocument
    | FindingDocument
    | RepairPlanDocument
    | RepairDocument
    | HistoryDocument
    | ShowDocument
    | ExplanationDocument
    | LabsDocument
    | DoctorDocument
    | DropDocument
    | ExpectedDocument
    | ExpectDiffDocument
    | CheckReportDocument
)
