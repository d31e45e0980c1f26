"""
Any document on a page, for people.

Lives here: which page belongs to which kind, plain or with colours.
"""

from nettrace.render.check_text import check_page
from nettrace.render.contract import (
    Document,
    DropDocument,
    FindingDocument,
    GuideDocument,
    HistoryDocument,
    IngressDocument,
    PodDebugDocument,
    RepairDocument,
    RepairPlanDocument,
    WalkDocument,
)
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.contract_expect import ExpectDiffDocument, ExpectedDocument
from nettrace.render.contract_state import DoctorDocument, ExplanationDocument, LabsDocument, ShowDocument
from nettrace.render.expect_text import diff_page, expected_page
from nettrace.render.finding_text import finding_page
from nettrace.render.guide_text import guide_page, pod_page
from nettrace.render.ingress_text import ingress_page
from nettrace.render.page import Look, Page, plain
from nettrace.render.plan_text import history_page, plan_page
from nettrace.render.repair_text import repair_page
from nettrace.render.show_text import show_page
from nettrace.render.state_text import doctor_page, explanation_page, labs_page
from nettrace.render.walk_text import walk_page
from nettrace.render.watch_text import drop_page

__all__ = ["page", "render", "written"]


def page(document: Document, look: Look) -> Page:
    """Lay *document* out."""
    match document:
        case WalkDocument():
            return walk_page(document, look)
        case IngressDocument():
            return ingress_page(document, look)
        case FindingDocument():
            return finding_page(document, look)
        case RepairPlanDocument():
            return plan_page(document, look)
        case RepairDocument():
            return repair_page(document, look)
        case HistoryDocument():
            return history_page(document, look)
        case ShowDocument():
            return show_page(document, look)
        case ExplanationDocument():
            return explanation_page(document, look)
        case LabsDocument():
            return labs_page(document, look)
        case DoctorDocument():
            return doctor_page(document, look)
        case CheckReportDocument():
            return check_page(document, look)
        case DropDocument():
            return drop_page(document, look)
        case ExpectedDocument():
            return expected_page(document, look)
        case GuideDocument():
            return guide_page(document, look)
        case PodDebugDocument():
            return pod_page(document, look)
        case ExpectDiffDocument():
            return diff_page(document, look)


def render(document: Document, look: Look | None = None, *, colour: bool = False) -> str:
    """Return *document* as text, with a terminal's colours if *colour*."""
    return written(page(document, look or Look()), colour=colour)


def written(laid: Page, *, colour: bool = False) -> str:
    """Return a page as text, with a terminal's colours if *colour*."""
    if not colour:
        return plain(laid)
    from nettrace.render.colour import ansi  # noqa: PLC0415  (rich is not needed for plain text)

    return ansi(laid)
