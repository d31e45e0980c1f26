"""
The contract's views of a walk, made from the model: packets, steps, legs, paths, flows.

Lives here: what every document of a flow is made of.
Not here: what a probe saw (nettrace.render.observed_views), whole documents
(nettrace.render.document).
"""

from msgspec import UNSET

from nettrace.model.flow import Flow, ObjectRef
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Step
from nettrace.model.walk import Leg, Path
from nettrace.render.contract_walk import (
    EndpointView,
    FlowView,
    LegView,
    PacketView,
    PathView,
    Port,
    StepView,
    WhyView,
)

__all__ = ["flow_view", "leg_view", "name_of", "packet_view", "path_view", "step_view"]


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


def flow_view(flow: Flow) -> FlowView:
    """Make the view of what was asked."""
    return FlowView(
        source=name_of(flow.source),
        target=name_of(flow.target),
        netns=flow.origin.netns,
        device=flow.origin.device,
        packet=packet_view(flow.packet),
        segment=flow.segment,
    )


def name_of(ref: ObjectRef) -> str:
    """``internet`` is a kind and a name at once."""
    return ref.name if ref.kind == ref.name else str(ref)


def path_view(path: Path) -> PathView:
    """Make the view of one branch; its probability is that of all its choices."""
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
        request=leg_view(request),
        reply=leg_view(reply) if reply is not None else None,
        legs=tuple(leg_view(leg) for leg in path.legs if leg is not request and leg is not reply),
    )


def leg_view(leg: Leg) -> LegView:
    """Make the view of one packet's way."""
    return LegView(
        kind=leg.kind,
        verdict=leg.verdict,
        reason=leg.reason,
        steps=tuple(step_view(step) for step in leg.steps),
    )


def step_view(step: Step) -> StepView:
    """Make the view of one step; a packet that was not changed has no ``after``."""
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
