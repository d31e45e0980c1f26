"""
The contract's views of what a probe saw, made from the model.

Lives here: connections, rules, drops and frames that were seen, and the comparison with the walk.
Not here: the walk (nettrace.render.walk_views), whole documents (nettrace.render.document).
"""

from msgspec.structs import asdict

from nettrace.model.observation import Agreement, Attempt, Drop, Frame, Hit, Observed
from nettrace.render.contract_observed import (
    AgreementView,
    AttemptView,
    ComparisonView,
    DropView,
    FrameView,
    ObservedView,
    PartingView,
    SeenStepView,
)
from nettrace.render.walk_views import packet_view

__all__ = ["agreement_view", "observed_view", "seen_view"]


def observed_view(observed: Observed) -> ObservedView:
    """Make the view of one probe; what was seen stands in one list for all its connections."""
    return ObservedView(
        attempts=tuple(_attempt(attempt) for attempt in observed.attempts),
        outcomes={outcome.value: count for outcome, count in observed.outcomes.items()},
        steps=tuple(
            seen_view(number, leg.kind, hit)
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


def seen_view(number: int, leg: str, hit: Hit) -> SeenStepView:
    """Make the view of a rule that a packet of connection *number* met."""
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


def agreement_view(agreement: Agreement) -> AgreementView:
    """Make the view of the walk beside what was seen."""
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
