"""
The contract of a walk: its packets, steps, legs and paths.

Lives here: the views that every document of a flow is made of.
Not here: what a probe saw (nettrace.render.contract_observed), whole documents
(nettrace.render.contract).
"""

from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType

from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome

__all__ = ["EndpointView", "FlowView", "LegView", "PacketView", "PathView", "Port", "StepView", "WhyView"]

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
