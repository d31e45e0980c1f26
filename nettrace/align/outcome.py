"""
Do the real connections end as the walk says, at the endpoints it names?

Lives here: comparing outcomes, errnos, endpoints and how often each was seen.
Not here: comparing single steps (nettrace.align.steps).
"""

from collections.abc import Collection

from nettrace.align.steps import compare_steps, parting_text
from nettrace.model.observation import Agreement, Attempt, Observed
from nettrace.model.walk import Outcome, Path, Walk

__all__ = ["compare", "seen_as"]

#: Below this chance, "it was never seen" is a contradiction rather than luck.
TOO_UNLIKELY = 1e-6

#: What a client that connects and reads a line sees of an outcome it cannot tell apart: the
#: stall comes with larger segments, and whoever gives up first may end it by an RST; the wrong
#: endpoint answers like the right one.
_SEEN_AS = {
    Outcome.STALLS: frozenset({Outcome.CONNECTED, Outcome.RESET}),
    Outcome.WRONG_ENDPOINT: frozenset({Outcome.CONNECTED}),
}


def compare(walk: Walk, observed: Observed, *, names: Collection[str] = ()) -> Agreement:
    """
    Compare *walk* with real connections.

    *names* are the namespaces of the snapshot: an answer that begins with one of them tells
    who answered; any other answer is somebody's own protocol and proves nothing.
    """
    unknown = any(path.outcome is Outcome.UNKNOWN for path in walk.paths)
    differences: list[str] = []
    for attempt in observed.attempts:
        said = _unpredicted(walk, attempt, names)
        if said and said not in differences:
            differences.append(said)
    if not unknown:
        differences.extend(_never_seen(walk, observed))
    comparisons = compare_steps(walk, observed)
    for comparison in comparisons:
        if comparison.parted is not None and (said := parting_text(comparison.parted)) not in differences:
            differences.append(said)
    agrees: bool | None = not differences
    if not observed.attempts or (unknown and differences):
        agrees = None
    if walk.outcome is Outcome.UNKNOWN:
        agrees = None
    return Agreement(
        agrees=agrees, predicted=walk.outcome, differences=tuple(differences), comparisons=comparisons
    )


def seen_as(path: Path) -> frozenset[Outcome]:
    """Return what a connecting client may see of a path's outcome."""
    return _SEEN_AS.get(path.outcome, frozenset({path.outcome}))


def _unpredicted(walk: Walk, attempt: Attempt, names: Collection[str]) -> str:
    """Return the sentence for an attempt that no branch predicts, "" if one does."""
    same = [path for path in walk.paths if attempt.outcome in seen_as(path)]
    if not same:
        wanted = " or ".join(sorted({one.value for path in walk.paths for one in seen_as(path)}))
        how = f" ({attempt.errno})" if attempt.errno else ""
        return f"the walk says {wanted}, the kernel {attempt.outcome.value}{how}"
    errnos = {path.errno for path in same}
    if attempt.errno and errnos and attempt.errno not in errnos and None not in errnos:
        return f"the walk says {' or '.join(sorted(e or '' for e in errnos))}, the kernel {attempt.errno}"
    endpoints = {path.endpoint.netns for path in same if path.endpoint is not None}
    if attempt.answered_by in names and endpoints and attempt.answered_by not in endpoints:
        return f"the walk ends at {' or '.join(sorted(endpoints))}, {attempt.answered_by} answered"
    return ""


def _never_seen(walk: Walk, observed: Observed) -> list[str]:
    """Return a sentence for each outcome that was predicted too often never to be seen."""
    tries = len(observed.attempts)
    shares: dict[frozenset[Outcome], float] = {}
    for path in walk.paths:
        shares[seen_as(path)] = shares.get(seen_as(path), 0.0) + path.probability
    return [
        f"the walk gives {' or '.join(sorted(outcomes))} {share:.0%}, {tries} connections never showed it"
        for outcomes, share in shares.items()
        if outcomes.isdisjoint(observed.outcomes) and share < 1 and (1 - share) ** tries < TOO_UNLIKELY
    ]
