"""
The checks of the guided flow, in their order.

The order is that of the Debug Services page of Kubernetes: the object and its name first, then who
stands behind it, then the node's rules and the way there, then the odd ends (a pod that calls
itself, callers from outside,
what becomes of the caller's address).
"""

from collections.abc import Callable
from typing import NamedTuple

from nettrace.diagnose.guide.case import Case
from nettrace.diagnose.guide.dns import named
from nettrace.diagnose.guide.endpoints import selected
from nettrace.diagnose.guide.outside import answered
from nettrace.diagnose.guide.paths import hairpin, reached, serving, translated
from nettrace.diagnose.guide.proxy import alive
from nettrace.diagnose.guide.request import Asking
from nettrace.diagnose.guide.service import definition, exists
from nettrace.diagnose.guide.source import kept
from nettrace.model.guide import Check

__all__ = ["CHECKS", "GuideCheck", "checks_for"]


class GuideCheck(NamedTuple):
    """One check: its word, and what it does."""

    id: str
    run: Callable[[Case], Asking[Check]]


CHECKS = (
    GuideCheck("service", exists),
    GuideCheck("definition", definition),
    GuideCheck("dns", named),
    GuideCheck("endpoints", selected),
    GuideCheck("pods", serving),
    GuideCheck("path", reached),
    GuideCheck("kube-proxy", alive),
    GuideCheck("rules", translated),
    GuideCheck("hairpin", hairpin),
    GuideCheck("outside", answered),
    GuideCheck("source", kept),
)


def checks_for(case: Case) -> tuple[GuideCheck, ...]:
    """Return the checks in the order for this case: for a caller from outside the entrances come first."""
    if not case.external:
        return CHECKS
    late = tuple(one for one in CHECKS if one.id in ("hairpin", "source"))
    return (*(one for one in CHECKS if one not in late), *late)
