"""
Checks: what is expected of a cluster, and what became of each expectation.

Lives here: types only.  nettrace.parse.checks reads the file, nettrace.diagnose.check expands and
judges, nettrace.app.check brings them together.
"""

from enum import StrEnum

from msgspec import Struct

from nettrace.model.finding import Finding, Severity
from nettrace.model.policy import LabelSelector

__all__ = [
    "INVARIANTS",
    "CheckReport",
    "Checked",
    "Checks",
    "Expect",
    "Expectation",
    "Group",
    "Side",
    "Status",
    "Suppressed",
    "Suppression",
    "Via",
]

#: The invariants of every cluster -> what each says: the three rules of the Kubernetes network model,
#: its four goals (the first is rule and goal at once), and the health of the nodes.
INVARIANTS = {
    "pod-to-pod": "every pod reaches every other, on any node, without NAT",
    "node-to-pod": "every node reaches the pods on it and on other nodes without NAT",
    "pod-sees-itself": "a pod has the address by which others know it",
    "container-to-container": "the containers of a pod reach each other by localhost",
    "pod-to-service": "pods reach every Service that has endpoints, and only its endpoints",
    "outside-to-service": "the outside reaches node ports and load balancer addresses",
    "node-health": "everything that owners owe a node is there",
}


class Expect(StrEnum):
    """What a flow is expected to come to.  docs/check.md defines each one."""

    OWED = "owed"  # what its Service, policies and listeners promise
    CONNECTED = "connected"
    REFUSED = "refused"  # ECONNREFUSED, by whomever
    BLOCKED = "blocked"  # a rule denies it
    UNREACHABLE = "unreachable"  # EHOSTUNREACH or ENETUNREACH


class Via(StrEnum):
    """How it is found out: walked on the model, by a real connection, or both, which have to agree."""

    MODEL = "model"
    PROBE = "probe"
    BOTH = "both"


class Group(Struct, frozen=True, kw_only=True):
    """
    All objects of a kind that a selector chooses.

    ``kind`` is ``pods``, ``services`` or ``nodes``; ``namespace`` "" for all of them.
    """

    kind: str
    selector: LabelSelector = LabelSelector()
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} of {self.namespace}" if self.namespace else self.kind


#: One side of an expectation: a target text, or a group.
Side = str | Group


class Expectation(Struct, frozen=True, kw_only=True):
    """
    One expectation of a check file; every source is held against every target and port.

    ``ports`` are written as in a target text (``80``, ``53/udp``, ``http``, ``icmp``), empty where the
    target itself says it.  Any of ``expect`` will do.  ``endpoints`` are target texts or addresses
    of which one has to answer, empty: whoever is owed.  ``source`` is ``kept`` or ``rewritten``.
    """

    name: str
    sources: tuple[Side, ...]
    targets: tuple[Side, ...]
    ports: tuple[str, ...] = ()
    expect: tuple[Expect, ...] = (Expect.OWED,)
    endpoints: tuple[str, ...] = ()
    source: str = ""
    via: Via = Via.MODEL
    line: int = 0


class Suppression(Struct, frozen=True, kw_only=True):
    """
    What is known and accepted: all of what is given has to match, with ``*`` for anything.

    ``until`` is the last day on which it holds, as YYYY-MM-DD.
    """

    reason: str
    name: str = ""
    cause: str = ""
    source: str = ""
    target: str = ""
    until: str = ""
    line: int = 0


class Checks(Struct, frozen=True, kw_only=True):
    """A check file.  ``file`` is its name, "" where there is none."""

    file: str = ""
    expectations: tuple[Expectation, ...] = ()
    invariants: tuple[str, ...] = ()
    suppressions: tuple[Suppression, ...] = ()


class Status(StrEnum):
    """What became of one check."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"  # what decides could not be read or told
    ERROR = "error"  # it could not be asked: there is no such pod
    SUPPRESSED = "suppressed"  # failed, and somebody said that it may


class Checked(Struct, frozen=True, kw_only=True):
    """
    One check that was made.

    ``kind`` is ``expectation`` or the name of an invariant.  ``walked`` and ``probed`` are what was
    seen, in the words of Outcome, "" where it was not asked so.  ``reason`` says why it is not
    passed, in a sentence; the reason of the suppression where it is suppressed.
    """

    name: str
    kind: str
    source: str
    target: str
    expected: str
    status: Status
    walked: str = ""
    probed: str = ""
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    line: int = 0
    stated: bool = False  # the file says that it should connect, whatever policies say

    @property
    def flow(self) -> str:
        """``SOURCE -> TARGET``, or what it is about."""
        return f"{self.source} -> {self.target}" if self.target else self.source


class Suppressed(Struct, frozen=True, kw_only=True):
    """A suppression and how many failures it covered.  ``expired``: its last day has passed."""

    suppression: Suppression
    used: int = 0
    expired: bool = False


class CheckReport(Struct, frozen=True, kw_only=True):
    """
    Everything that ``nettrace check`` says.

    ``taken`` is when (RFC 3339), ``seconds`` how long it took.  ``left_out`` are sentences about
    what was not checked.  ``titles``: id of each cause that was found -> (its title, severity).
    """

    context: str
    file: str
    taken: str
    seconds: float
    checked: tuple[Checked, ...]
    left_out: tuple[str, ...] = ()
    suppressions: tuple[Suppressed, ...] = ()
    titles: dict[str, tuple[str, Severity]] = {}
