"""firewall-rule-drop: a rule of somebody else's drops it."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import Culprit, culprits, rule_candidate
from nettrace.model.step import Verdict

__all__ = ["FIREWALL_RULE_DROP"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for culprit in culprits(context):
        if _fits(culprit):
            yield rule_candidate(
                context,
                culprit,
                "firewall-rule-drop",
                f"{culprit.place} drops it: {culprit.words}",
                "find out whose rule it is; accept these packets before it, or take it away",
            )


def _fits(culprit: Culprit) -> bool:
    return not culprit.tunnelled and not culprit.is_named


FIREWALL_RULE_DROP = Cause(
    id="firewall-rule-drop",
    title="a rule of somebody else's drops it",
    what="A rule or a policy that neither kube-proxy nor the CNI plugin owes drops or rejects the packet.",
    shows="A timeout for DROP, refused or unreachable at once for REJECT.",
    dies="At that rule.",
    proof="The rule, and its counter that rises with every try.",
    repair="Accept the packets before it, or take the rule away, if nobody needs it.",
    owner="Whoever wrote the rule.",
    source="every firewall",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED}),
    candidates=_candidates,
)
