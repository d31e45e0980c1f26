"""
The contract of ``-o json``, third part: checks.

Lives here: the document of ``nettrace check``.
"""

from msgspec import Struct, field

from nettrace.model.check import Status
from nettrace.model.finding import Severity
from nettrace.render.contract_finding import FindingView
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = ["CheckReportDocument", "CheckView", "CountsView", "RuleView", "SuppressionView"]


class CountsView(Struct, frozen=True, kw_only=True):
    """How many checks came to what."""

    passed: int
    failed: int
    inconclusive: int
    error: int
    suppressed: int


class CheckView(Struct, frozen=True, kw_only=True):
    """
    One check.

    ``kind`` is ``expectation`` or the name of an invariant.  ``target`` is "" where it is about one
    thing, as a node.  ``walked`` and ``probed`` are "" where it was not asked so.  ``line`` is that of
    the check file, 0 for invariants.  ``stated``: the file says that it should connect, whatever
    policies say.
    """

    name: str
    kind: str
    source: str
    target: str
    expected: str
    status: Status
    walked: str
    probed: str
    reason: str
    findings: tuple[FindingView, ...]
    notes: tuple[str, ...]
    line: int
    stated: bool

    @property
    def flow(self) -> str:
        """``SOURCE -> TARGET``, or what it is about."""
        return f"{self.source} -> {self.target}" if self.target else self.source


class SuppressionView(Struct, frozen=True, kw_only=True):
    """One suppression of the check file, and how many failures it covered."""

    reason: str
    name: str
    cause: str
    source: str
    target: str
    until: str
    line: int
    used: int
    expired: bool


class RuleView(Struct, frozen=True, kw_only=True):
    """A cause that was found."""

    id: str
    title: str
    severity: Severity


class CheckReportDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="CheckReport"):
    """
    The answer of ``nettrace check``.

    ``taken`` is RFC 3339, in UTC.  ``left_out`` are sentences about what was not checked.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    context: str
    file: str
    taken: str
    seconds: float
    counts: CountsView
    checks: tuple[CheckView, ...]
    left_out: tuple[str, ...]
    suppressions: tuple[SuppressionView, ...]
    causes: tuple[RuleView, ...]
