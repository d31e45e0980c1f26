"""
Goals: what a flow is held against.

Lives here: the predicate over all branches of a walk, three-valued, and its words.
Not here: which goal a flow has by default (default_goal.py), how it is reached (search.py).
"""

from enum import StrEnum

from msgspec import Struct

from nettrace.model.packet import Packet
from nettrace.model.step import Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path, Walk

__all__ = ["CERTAIN", "Goal", "Judgement", "innermost", "last_packet", "original_source"]

#: Probabilities are products of the kernel's 31-bit draws in doubles.
CERTAIN = 1 - 1e-9


class Judgement(StrEnum):
    """How a branch, or all of them, stand to a goal.  UNKNOWN never counts as met."""

    MET = "met"
    NOT_MET = "not-met"
    UNKNOWN = "unknown"


class Goal(Struct, frozen=True, kw_only=True):
    """
    A named predicate over a walk.

    ``because`` says in words who owes it.  ``endpoints`` are (address, port) pairs of which
    every branch has to reach one; a port of None leaves it open; None: whoever answers.
    ``source`` is ``kept`` or ``rewritten``, "" where it does not matter.  ``beyond`` are
    destinations that no namespace of the snapshot holds: leaving the snapshot on the way to one
    of them is all that can be asked here, by way of one of the devices that ``through`` names for
    it as (destination, namespace, device), if any.  ``owed`` False: nobody owes this flow anything but
    a refusal, so there is nothing to repair; ``denied`` then says that policies want it refused.
    ``stated``: the user says that the flow should pass, whatever policies say.
    """

    because: str
    outcome: Outcome = Outcome.CONNECTED
    endpoints: frozenset[tuple[str, int | None]] | None = None
    source: str = ""
    beyond: frozenset[str] = frozenset()
    through: frozenset[tuple[str, str, str]] = frozenset()
    owed: bool = True
    denied: bool = False
    stated: bool = False

    def judge(self, walk: Walk) -> Judgement:
        """Judge all branches: one that fails decides, then one that is unknown."""
        found = [self.judge_path(path) for path in walk.paths]
        if Judgement.NOT_MET in found:
            return Judgement.NOT_MET
        if Judgement.UNKNOWN in found or not found:
            return Judgement.UNKNOWN
        total = sum(path.probability for path in walk.paths)
        return Judgement.MET if total >= CERTAIN else Judgement.NOT_MET

    def judge_path(self, path: Path) -> Judgement:
        """Judge one branch."""
        if path.verdict is Verdict.LEFT_SNAPSHOT:
            return self._judge_departure(path)
        if path.outcome is Outcome.UNKNOWN:
            return Judgement.UNKNOWN
        arrived = path.outcome in (Outcome.CONNECTED, Outcome.WRONG_ENDPOINT)
        if self.outcome is not Outcome.CONNECTED:
            return Judgement.MET if path.outcome is self.outcome else Judgement.NOT_MET
        if not arrived or (path.outcome is Outcome.WRONG_ENDPOINT and self.endpoints is None):
            return Judgement.NOT_MET
        return self._judge_arrival(path)

    def _judge_arrival(self, path: Path) -> Judgement:
        end = path.endpoint
        if end is None:
            return Judgement.UNKNOWN if self.endpoints is not None or self.source else Judgement.MET
        if self.endpoints is not None:
            allowed = {(end.address, end.port), (end.address, None)}
            if not allowed & self.endpoints:
                return Judgement.NOT_MET
        return self._judge_source(path, end.source)

    def _judge_departure(self, path: Path) -> Judgement:
        """A branch that leaves the snapshot is as good as its packet's destination."""
        packet = last_packet(path.legs[-1]) if path.legs else None
        if len(path.legs) != 1 or packet is None:
            return Judgement.UNKNOWN
        inner = innermost(packet)
        if inner.dst not in self.beyond:
            return Judgement.UNKNOWN
        ways = {(netns, device) for dst, netns, device in self.through if dst == inner.dst}
        if ways and not any((step.netns, step.device) in ways for step in path.legs[0].steps):
            return Judgement.NOT_MET
        return self._judge_source(path, inner.src)

    def _judge_source(self, path: Path, seen: str) -> Judgement:
        if not self.source:
            return Judgement.MET
        sent = original_source(path)
        if not sent or not seen:
            return Judgement.UNKNOWN
        kept = sent == seen
        return Judgement.MET if kept == (self.source == "kept") else Judgement.NOT_MET

    def met_share(self, walk: Walk) -> float:
        """Return the probability that the goal is met."""
        return sum(path.probability for path in walk.paths if self.judge_path(path) is Judgement.MET)

    def describe(self) -> str:
        """Say the goal in words: ``connected to 10.244.1.5:80 or 10.244.2.3:80 (Service shop/api)``."""
        if self.denied:
            return f"a refusal ({self.because})"
        if not self.owed:
            return f"nothing is owed to this flow ({self.because})"
        words = [self.outcome.value]
        if self.endpoints is not None and self.outcome is Outcome.CONNECTED:
            ends = sorted(_end(address, port) for address, port in self.endpoints)
            shown = " or ".join(ends[:4]) + (f" or {len(ends) - 4} more" if len(ends) > 4 else "")
            words.append(f"to {shown}")
        elif self.beyond:
            words = [f"leaves for {' or '.join(sorted(self.beyond))}"]
        if self.source:
            words.append(f"with its source address {self.source}")
        return f"{' '.join(words)} ({self.because})"


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def innermost(packet: Packet) -> Packet:
    """Return the packet inside all tunnels; an ICMP error keeps what it reports to itself."""
    while packet.inner is not None and not packet.is_icmp_error:
        packet = packet.inner
    return packet


def last_packet(leg: Leg) -> Packet | None:
    """Return the packet as the leg last showed it."""
    return next((p for p in map(_shown, reversed(leg.steps)) if p is not None), None)


def original_source(path: Path) -> str:
    """Return the source address that the request left its sender with, "" if no step shows it."""
    shown = (_shown(step) for step in path.request.steps) if path.legs else iter(())
    return next((packet.src for packet in shown if packet is not None and packet.src), "")


def _shown(step: Step) -> Packet | None:
    return step.after if step.after is not None else step.before
