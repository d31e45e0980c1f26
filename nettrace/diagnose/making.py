"""
Making candidates out of differences.

Lives here: what all causes that start from owed state share: the changes in one row, the
evidence on both sides.
"""

from collections.abc import Iterator, Sequence

from nettrace.diagnose.cause import Candidate, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import subject_of, where
from nettrace.model.change import Change
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedChain, OwedIpset, OwedJump, OwedRule
from nettrace.model.section import SectionKey
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Jump

__all__ = [
    "by_netns",
    "changes_of",
    "evidence_of",
    "jumps_to",
    "owed_candidate",
    "owed_rules",
    "owed_sets",
]


def by_netns(differences: Sequence[Difference]) -> dict[str, list[Difference]]:
    """Group differences by the namespace they are in."""
    found: dict[str, list[Difference]] = {}
    for difference in differences:
        found.setdefault(difference.owed.netns, []).append(difference)
    return found


def changes_of(differences: Sequence[Difference]) -> tuple[Change, ...]:
    """Return the changes of several differences, each once, in their order."""
    found: list[Change] = []
    for difference in differences:
        for change in difference.restored.changes:
            if change not in found:
                found.append(change)
    return tuple(found)


def evidence_of(differences: Sequence[Difference]) -> tuple[Evidence, ...]:
    """Return what stands there and what is owed instead, with who says so; of the first two."""
    found: list[Evidence] = []
    for difference in differences[:2]:
        restored = difference.restored
        found.append(Evidence(ref=restored.ref, text=restored.found, note="what is there"))
        owner = difference.owed.owner
        found.append(Evidence(ref="", text=restored.owed, note=f"owed by {owner}: {difference.source}"))
    return tuple(found)


def owed_candidate(
    context: Context,
    cause: str,
    differences: Sequence[Difference],
    message: str,
    *,
    safety: Safety,
    overwritten: str,
    lasting: str,
    subject: str = "",
    before: Sequence[Evidence] = (),
) -> Candidate:
    """Return the candidate that restores *differences*, which are all of one namespace."""
    first = differences[0].owed
    return Candidate(
        cause=cause,
        netns=first.netns,
        where=where(context.snapshot, first.netns),
        subject=subject or differences[0].subject or subject_of(context.snapshot, first.netns),
        message=message,
        changes=changes_of(differences),
        evidence=(*before, *evidence_of(differences)),
        safety=safety,
        owner=first.owner,
        overwritten=overwritten,
        lasting=lasting,
        from_owner=True,
    )


def owed_rules(difference: Difference) -> tuple[XtRule, ...]:
    """Return the rules that the owed item consists of; none where it is no rule."""
    match difference.owed:
        case OwedChain(rules=rules):
            return rules
        case OwedJump(rule=rule) | OwedRule(rule=rule):
            return (rule,)
    return ()


def owed_sets(context: Context) -> Iterator[SectionKey]:
    """Yield the sections with the sets of those namespaces on the way in which some are owed."""
    owing = {item.netns for item in context.owed if isinstance(item, OwedIpset)}
    yield from (SectionKey(netns, "ipsets") for netns in sorted(owing & set(context.visited)))


def jumps_to(difference: Difference, chain: str) -> bool:
    """Is the owed item a single rule that jumps to *chain*?"""
    owed = difference.owed
    if not isinstance(owed, OwedJump | OwedRule):
        return False
    return isinstance(owed.rule.target, Jump) and owed.rule.target.chain == chain
