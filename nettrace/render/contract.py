"""
The contract of ``-o json``: what every kind of document holds.

Lives here: one frozen Struct a kind, from which the JSON Schemas are made and saved results
are read back: traces, findings, plans, repairs.  Every front end and every format renders these.
Not here: what lists and inspects (nettrace.render.contract_state), making them from the model
(nettrace.render.document), formats.
"""

from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType, field

from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.model.policy_verdict import Enforced
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.contract_expect import ExpectDiffDocument, ExpectedDocument
from nettrace.render.contract_finding import EvidenceView, FindingView, RepairView
from nettrace.render.contract_guide import GuideCheckView, GuideDocument, PodDebugDocument
from nettrace.render.contract_state import DoctorDocument, ExplanationDocument, LabsDocument, ShowDocument
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = [
    "AgreementView",
    "AttemptView",
    "DiagnosisView",
    "Document",
    "DropDocument",
    "DropView",
    "EndpointView",
    "EvidenceView",
    "FindingDocument",
    "FindingView",
    "FlowView",
    "FrameView",
    "GuideCheckView",
    "GuideDocument",
    "HistoryDocument",
    "IngressCheckView",
    "IngressDocument",
    "IngressPartView",
    "IngressRuleView",
    "LegView",
    "ObservedView",
    "PacketView",
    "PathView",
    "PodDebugDocument",
    "Port",
    "PredictedView",
    "RepairDocument",
    "RepairPlanDocument",
    "RepairView",
    "StepView",
    "WalkDocument",
    "WalkedView",
    "WhyView",
]

#: A port, or a range ``LO-HI`` in which the kernel chooses.
Port: TypeAlias = int | str


class PacketView(Struct, frozen=True, kw_only=True):
    """
    One IP packet.

    ``src`` is "" while the kernel has not chosen the source.  ``size`` counts the bytes of the
    IP packet.  ``inner`` is the packet that this one carries: in a tunnel, or in an ICMP error.
    """

    src: str
    dst: str
    proto: str
    sport: Port | None = None
    dport: Port | None = None
    mark: int = 0
    ttl: int = 64
    size: int = 60
    df: bool = True
    tos: int = 0
    tcp_flags: tuple[str, ...] | UnsetType = UNSET
    icmp_type: int | UnsetType = UNSET
    icmp_code: int | UnsetType = UNSET
    icmp_id: int | UnsetType = UNSET
    inner: "PacketView | UnsetType" = UNSET


class WhyView(Struct, frozen=True, kw_only=True):
    """The state that decided: a path into the snapshot, and what stands there."""

    ref: str
    text: str = ""


class StepView(Struct, frozen=True, kw_only=True):
    """
    One step of a leg.

    ``rule`` counts from 1.  ``before`` is the packet as it came to the step, ``after`` as it
    left, null where it left as it came.  ``stops`` marks the step that ended the leg.
    """

    node: str
    netns: str
    device: str | None
    stage: Stage
    hook: str | None
    backend: str | None
    table: str | None
    chain: str | None
    rule: int | None
    verdict: str
    before: PacketView | None
    after: PacketView | None
    why: WhyView | None
    note: str = ""
    stops: bool = False


class LegView(Struct, frozen=True, kw_only=True):
    """One packet's way.  ``kind``: ``request``, ``reply``, ``ack``, ``data``, ``reply-data``, ``error``."""

    kind: str
    verdict: Verdict
    reason: str
    steps: tuple[StepView, ...]


class EndpointView(Struct, frozen=True, kw_only=True):
    """Who took the request, and the source address that it saw."""

    netns: str
    address: str
    port: int | None
    source: str = ""
    source_port: Port | None = None


class PathView(Struct, frozen=True, kw_only=True):
    """
    One branch.

    ``draws`` tells what the kernel drew to get here.  ``reply`` is the leg of the answer (or
    of the ICMP error), null if the request was not answered.  ``legs`` are the further ones,
    in order: end of the handshake, full-size segments.  ``failed`` is the kind of the leg
    that failed, null if all arrived.  ``delay`` is in seconds until the client knows.
    ``redrawn``: TCP's next SYN, a second later, is a new draw.
    """

    probability: float
    draws: tuple[str, ...]
    verdict: Verdict
    outcome: Outcome
    errno: str | None
    delay: float | None
    reason: str
    redrawn: bool
    endpoint: EndpointView | None
    failed: str | None
    request: LegView
    reply: LegView | None
    legs: tuple[LegView, ...]


class FlowView(Struct, frozen=True, kw_only=True):
    """What is asked: the names as resolved, where the first packet enters, and the packet."""

    source: str
    target: str
    netns: str
    device: str | None
    packet: PacketView
    segment: int | None = None


class AttemptView(Struct, frozen=True, kw_only=True):
    """One real connection; ``delay`` in seconds."""

    outcome: Outcome
    errno: str | None
    delay: float
    answer: str | None
    answered_by: str | None
    source: str | None
    sport: int | None


class SeenStepView(Struct, frozen=True, kw_only=True):
    """
    A rule that a packet of a real connection met, the end of a chain, or a hook that it passed.

    ``attempt`` is an index into ``attempts``; ``leg`` is ``request``, ``reply``, ``ack`` or
    ``error``.  ``rule`` counts from 1, 0 is the policy, null a rule that is gone; ``handle`` is
    the kernel's.  A hook that was passed has no table and the verdict ``seen``.  ``packet`` and
    the devices are given where a packet enters a chain; ``tunnelled`` where it carries the probe.
    ``backend`` is ``legacy`` for rules of iptables-legacy, whose order among the others is known
    by hook only, and whose verdict is ``met`` where the target's is not known.
    """

    attempt: int
    leg: str
    netns: str
    hook: str
    family: str | None
    table: str | None
    chain: str | None
    rule: int | None
    handle: int | None
    verdict: str
    iif: str | None
    oif: str | None
    mark: int
    packet: PacketView | None
    tunnelled: bool
    backend: str = "nft"


class DropView(Struct, frozen=True, kw_only=True):
    """
    A packet of a real connection that the kernel dropped, and the reason that it gave.

    ``attempt`` is an index into ``attempts``; ``leg`` as in a seen step, or ``data`` and
    ``reply-data``; ``netns`` is null where it cannot be told, ``function`` is the kernel's;
    ``time`` in seconds from when the probe began; ``count``: so many alike.
    """

    attempt: int
    leg: str
    netns: str | None
    device: str | None
    reason: str
    function: str | None
    packet: PacketView | None
    time: float
    tunnelled: bool
    count: int


class FrameView(Struct, frozen=True, kw_only=True):
    """
    The first packet of a leg on one device.

    ``attempt`` is an index into ``attempts``; ``direction`` is ``in`` or ``out``; ``time`` is in
    seconds since the epoch, ``length`` in bytes with the link's header.  ``layers`` are what
    dissectors say of it, a line each, with --frames.
    """

    attempt: int
    leg: str
    netns: str
    device: str
    direction: str
    time: float
    length: int
    packet: PacketView
    tunnelled: bool
    layers: tuple[str, ...] = ()


class ObservedView(Struct, frozen=True, kw_only=True):
    """
    All real connections of one probe, and how often each outcome was seen.

    ``steps`` are the rules that their packets met in the namespaces ``watched``, in the
    kernel's order within each; ``drops`` are those packets that it dropped, where
    ``drops_watched``; ``frames`` what packets were like on the devices of the namespaces
    ``captured``.  ``notes`` tell what could not be watched.
    """

    attempts: tuple[AttemptView, ...]
    outcomes: dict[str, int]
    steps: tuple[SeenStepView, ...] = ()
    watched: tuple[str, ...] = ()
    drops: tuple[DropView, ...] = ()
    drops_watched: bool = False
    captured: tuple[str, ...] = ()
    frames: tuple[FrameView, ...] = ()
    notes: tuple[str, ...] = ()


class PartingView(Struct, frozen=True, kw_only=True):
    """The first step where walk and kernel part; ``step`` is an index into the leg's steps."""

    leg: str
    step: int
    netns: str
    predicted: str
    observed: str


class ComparisonView(Struct, frozen=True, kw_only=True):
    """
    One real connection beside the branch that it took.

    ``attempt`` and ``path`` are indexes into ``observed.attempts`` and ``paths``.  ``checked``
    has for each kind of leg one entry a step: true, false, or null where nothing is seen of
    such a step.  ``agreed`` of ``compared`` steps agree.
    """

    attempt: int
    path: int
    agreed: int
    compared: int
    checked: dict[str, tuple[bool | None, ...]]
    parted: PartingView | None


class AgreementView(Struct, frozen=True, kw_only=True):
    """
    Prediction beside observation; ``agrees`` is null where one of them could not tell.

    ``comparisons`` are those of the connections whose steps were watched.
    """

    agrees: bool | None
    predicted: Outcome
    differences: tuple[str, ...]
    comparisons: tuple[ComparisonView, ...] = ()


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
