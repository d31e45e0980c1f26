"""
Observations: what the kernel did with a real probe.

Lives here: types.  nettrace.observe makes them, nettrace.align compares them with a walk.
"""

from msgspec import Struct

from nettrace.model.walk import Outcome

__all__ = ["Agreement", "Attempt", "Observed"]


class Attempt(Struct, frozen=True, kw_only=True):
    """
    One real connection.

    ``errno`` is the name (``ECONNREFUSED``) or None; ``delay`` in seconds until the client
    knew.  ``answer`` is the first line that the far end sent, ``answered_by`` the name in it.
    ``source`` and ``sport`` are what the client's socket was bound to.
    """

    outcome: Outcome
    errno: str | None = None
    delay: float
    answer: str | None = None
    answered_by: str | None = None
    source: str | None = None
    sport: int | None = None


class Observed(Struct, frozen=True, kw_only=True):
    """All attempts of one probe."""

    attempts: tuple[Attempt, ...]

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How often each outcome was seen."""
        found: dict[Outcome, int] = {}
        for attempt in self.attempts:
            found[attempt.outcome] = found.get(attempt.outcome, 0) + 1
        return found


class Agreement(Struct, frozen=True, kw_only=True):
    """
    Prediction beside observation.

    ``agrees`` is None where the walk said UNKNOWN or nothing was observed.  ``differences``
    are sentences, the first the most important.
    """

    agrees: bool | None
    predicted: Outcome
    differences: tuple[str, ...] = ()
