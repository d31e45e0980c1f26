"""
The guided flows, of a Service and of a pod: their steps, what each checked and saw, where they ended.

Lives here: types.  nettrace.diagnose.guide decides, nettrace.app.debug drives it.
"""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from nettrace.model.finding import Evidence, Finding

__all__ = ["Axis", "Check", "CheckState", "GuideReport", "PodReport", "RepairDone"]


class Axis(StrEnum):
    """Which of the three questions of a Service a check is about, and what lies around them."""

    SCOPE = "scope"  # who calls whom
    DNS = "dns"
    ENDPOINTS = "endpoints"  # the objects, and the pods behind them
    RULES = "rules"  # kube-proxy and what the node does
    NODE = "node"  # a pod's node: its share of the network, its CNI configuration
    ADDRESS = "address"  # a pod's address: lease, sandbox, status


class CheckState(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    PROBLEM = "problem"
    UNKNOWN = "unknown"  # what it needs could not be read
    SKIPPED = "skipped"  # it does not apply


class Check(Struct, frozen=True, kw_only=True):
    """
    One check of the guided flow.

    ``id`` is its word (``dns``, ``endpoints``, ``hairpin`` ...), ``title`` what it asks.
    ``checked`` are sentences of what was looked at, ``seen`` what stands there, ``conclusion`` what
    follows.  ``findings`` are its causes, the first one is the leaf that the flow ends at.
    ``about`` is the Service under test where it is not the one that was asked for.  ``flow`` is
    the source and the target of the packets it is about, as for ``nettrace trace``; None for none.  ``sport``
    is their source port, if it matters.
    """

    id: str
    axis: Axis
    title: str
    state: CheckState
    checked: tuple[str, ...] = ()
    seen: tuple[Evidence, ...] = ()
    conclusion: str = ""
    findings: tuple[Finding, ...] = ()
    about: str = ""
    flow: tuple[str, str] | None = None
    sport: int | None = None

    @property
    def cause(self) -> str:
        """The id of its first finding, "" if it has none."""
        return self.findings[0].cause if self.findings else ""


class RepairDone(Struct, frozen=True, kw_only=True):
    """A repair that was applied on the way: of which cause, the journal's entry, whether it was kept."""

    cause: str
    entry: str
    kept: bool
    reason: str = ""


class GuideReport(Struct, frozen=True, kw_only=True):
    """
    The whole of it.

    ``service`` is namespace/name, ``client`` who calls.  ``leaf`` is the cause that it ended at,
    "" if every check passed.  ``live``: were real queries and connections made?
    """

    service: str
    client: str
    context: str
    checks: tuple[Check, ...]
    leaf: str = ""
    live: bool = False
    repairs: tuple[RepairDone, ...] = ()

    @property
    def state(self) -> CheckState:
        """Problem where one is left, else unknown where something could not be decided, else passed."""
        return _summed(check for check in self.checks if check.cause not in self._mended)

    @property
    def _mended(self) -> set[str]:
        return {done.cause for done in self.repairs if done.kept}


class PodReport(Struct, frozen=True, kw_only=True):
    """
    The whole of a pod's flow.

    ``pod`` is namespace/name, ``node`` the node it is on, "" for none.  ``leaf`` and ``live`` are as
    in the report of a Service.
    """

    pod: str
    node: str
    context: str
    checks: tuple[Check, ...]
    leaf: str = ""
    live: bool = False

    @property
    def state(self) -> CheckState:
        """Problem, else unknown where something could not be decided, else passed."""
        return _summed(self.checks)


def _summed(checks: Iterable[Check]) -> CheckState:
    states = {check.state for check in checks}
    for one in (CheckState.PROBLEM, CheckState.UNKNOWN):
        if one in states:
            return one
    return CheckState.PASSED
