"""
The answer of the walk: paths, legs, verdicts, what the client would see.

Lives here: types only.  nettrace.walk makes them.
"""

from enum import StrEnum

from msgspec import Struct

from nettrace.model.flow import Flow
from nettrace.model.packet import PortRange
from nettrace.model.section import SectionKey
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.step import Step, Verdict

__all__ = ["Endpoint", "Leg", "Needs", "Outcome", "Path", "Walk"]


class Outcome(StrEnum):
    """What the client sees."""

    CONNECTED = "connected"  # for UDP and ICMP: answered
    REFUSED = "refused"  # ECONNREFUSED
    RESET = "reset"  # ECONNRESET after connecting
    UNREACHABLE = "unreachable"  # EHOSTUNREACH or ENETUNREACH, see Path.errno
    DENIED = "denied"  # EPERM: the sender's own rules
    TIMEOUT = "timeout"
    STALLS = "stalls"  # connects, then larger segments do not pass
    WRONG_ENDPOINT = "wrong_endpoint"  # connected, to somebody the target does not name
    UNKNOWN = "unknown"
    MIXED = "mixed"  # branches differ


class Leg(Struct, frozen=True, kw_only=True):
    """One packet's way.  ``kind``: ``request``, ``reply``, ``ack``, ``data``, ``reply-data``, ``error``."""

    kind: str
    steps: tuple[Step, ...]
    verdict: Verdict
    reason: str = ""  # a sentence for people; for UNKNOWN: what is needed to decide

    @property
    def last(self) -> Step | None:
        """The step that ended the leg."""
        return self.steps[-1] if self.steps else None


class Endpoint(Struct, frozen=True, kw_only=True):
    """Who took the request: namespace, address, port, and the source address it saw."""

    netns: str
    address: str
    port: int | None = None
    source: str = ""
    source_port: PortRange | None = None


class Path(Struct, frozen=True, kw_only=True):
    """
    One branch of the walk.

    ``probability`` is the product of the kernel's draws, exact up to a double; ``draws``
    says which (31-bit numerators for ``statistic``).  ``verdict`` is that of the first leg
    that failed, else DELIVERED.  ``failed`` is the index into ``legs`` of that leg, None if
    all arrived; the ACK of a handshake counts for nothing where the data behind it decide.
    ``redrawn``: the request was lost before its connection was in the table where lots were
    drawn, so that TCP's next SYN, a second later, is a new draw.
    """

    probability: float
    draws: tuple[str, ...] = ()
    legs: tuple[Leg, ...]
    verdict: Verdict
    outcome: Outcome
    errno: str | None = None
    delay: float | None = None  # seconds until the client knows; None: at once
    endpoint: Endpoint | None = None
    failed: int | None = None
    reason: str = ""
    redrawn: bool = False
    learned: tuple[ConntrackEntry, ...] = ()  # the bindings the walk made

    @property
    def request(self) -> Leg:
        """The first packet's leg."""
        return self.legs[0]

    @property
    def reply(self) -> Leg | None:
        """The answer's leg, if the request was answered."""
        return next((leg for leg in self.legs[1:] if leg.kind in ("reply", "error")), None)

    @property
    def failing_step(self) -> Step | None:
        """The step at which this branch fails."""
        return self.legs[self.failed].last if self.failed is not None else None


class Walk(Struct, frozen=True, kw_only=True):
    """
    The whole answer.

    ``verdict`` and ``outcome`` are those of the branches if they agree; otherwise ``verdict``
    is that of the most probable failing branch and ``outcome`` is ``mixed``.
    """

    flow: Flow
    paths: tuple[Path, ...]
    verdict: Verdict
    outcome: Outcome

    @property
    def endpoints(self) -> dict[tuple[str, int | None], float]:
        """(address, port) of everybody who may take the request -> probability."""
        found: dict[tuple[str, int | None], float] = {}
        for path in self.paths:
            if path.endpoint is not None:
                key = (path.endpoint.address, path.endpoint.port)
                found[key] = found.get(key, 0.0) + path.probability
        return found


class Needs(Struct, frozen=True):
    """Sections that must be read before the walk can go on."""

    keys: tuple[SectionKey, ...]
