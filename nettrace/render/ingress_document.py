"""From the report of a trace through an Ingress to its document."""

from nettrace.model.ingress_report import IngressReport
from nettrace.model.snapshot import Snapshot
from nettrace.render.contract import IngressCheckView, IngressDocument, IngressPartView, IngressRuleView
from nettrace.render.document import walk_document

__all__ = ["ingress_document"]


def ingress_document(report: IngressReport, snapshot: Snapshot | None = None) -> IngressDocument:
    """Make the document; with the *snapshot*, repairs tell how they are taken back."""
    route = report.route
    rule = route.rule
    return IngressDocument(
        context=report.context,
        ingress=report.ingress,
        controller=report.controller,
        host=route.host,
        path=route.path,
        rule=None
        if rule is None
        else IngressRuleView(host=rule.host, path=rule.path, path_type=rule.path_type),
        service=route.service,
        port=route.port,
        status=route.status or None,
        outcome=report.outcome,
        checks=tuple(IngressCheckView(ok=ok, message=message) for ok, message in route.checks),
        parts=tuple(
            IngressPartView(source=one.source, target=one.target, walk=walk_document(one.report, snapshot))
            for one in report.parts
        ),
    )
