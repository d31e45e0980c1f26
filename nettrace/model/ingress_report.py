"""
The report of a trace through an Ingress: two joined flows, and the rule between them.

Lives here: the types that nettrace.app hands to renderers.
"""

from msgspec import Struct

from nettrace.model.ingress import IngressRoute
from nettrace.model.report import TraceReport

__all__ = ["IngressPart", "IngressReport"]


class IngressPart(Struct, frozen=True, kw_only=True):
    """One flow of the way: from whom to whom, in words, and its trace."""

    source: str
    target: str
    report: TraceReport


class IngressReport(Struct, frozen=True, kw_only=True):
    """
    Everything that ``nettrace trace SRC ingress/NAMESPACE/NAME`` says.

    ``controller`` is the Service (namespace/name) by which the controller is reached.
    ``outcome`` is ``connected``; ``not_found`` or ``unavailable`` where the controller answers
    by itself, with 404 or 503; else that of the first part that does not connect.
    """

    ingress: str
    controller: str
    route: IngressRoute
    parts: tuple[IngressPart, ...]
    outcome: str
    context: str = ""
