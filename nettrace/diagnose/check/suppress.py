"""
Suppressions: failures that are known and accepted.

Lives here: which failure a suppression covers, until when, and which ones cover nothing.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec.structs import replace

from nettrace.model.check import Checked, Status, Suppressed, Suppression

__all__ = ["suppressed"]


def suppressed(
    checked: Sequence[Checked], suppressions: Sequence[Suppression], today: str
) -> tuple[tuple[Checked, ...], tuple[Suppressed, ...]]:
    """
    Return the checks with accepted failures marked, and each suppression with how often it was used.

    *today* is YYYY-MM-DD.  Only failures are covered: what could not be read or asked is nobody's to
    accept in advance.  With a cause, all findings have to be of a cause that is covered.
    """
    used = [0] * len(suppressions)
    expired = [bool(one.until) and one.until < today for one in suppressions]
    found: list[Checked] = []
    for one in checked:
        if one.status is not Status.FAILED:
            found.append(one)
            continue
        covering = [
            index
            for index, suppression in enumerate(suppressions)
            if not expired[index] and _names(suppression, one)
        ]
        covered = [index for index in covering if not suppressions[index].cause]
        if not covered and one.findings:
            by_cause = {
                finding.cause: index
                for finding in one.findings
                for index in reversed(covering)
                if fnmatchcase(finding.cause, suppressions[index].cause)
            }
            if all(finding.cause in by_cause for finding in one.findings):
                covered = list(dict.fromkeys(by_cause.values()))
        if not covered:
            found.append(one)
            continue
        for index in covered:
            used[index] += 1
        reasons = "; ".join(suppressions[index].reason for index in covered)
        found.append(replace(one, status=Status.SUPPRESSED, reason=f"{one.reason} (accepted: {reasons})"))
    states = tuple(
        Suppressed(suppression=one, used=count, expired=gone)
        for one, count, gone in zip(suppressions, used, expired, strict=True)
    )
    return tuple(found), states


def _names(suppression: Suppression, checked: Checked) -> bool:
    """Does all that it gives but the cause match?"""
    pairs = (
        (suppression.name, checked.name),
        (suppression.source, checked.source),
        (suppression.target, checked.target),
    )
    return all(not pattern or fnmatchcase(text, pattern) for pattern, text in pairs)
