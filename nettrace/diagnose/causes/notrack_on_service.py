"""notrack-on-service: a raw rule exempts the Service's packets from connection tracking."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import passed, rule_candidate
from nettrace.model.xt_target import Notrack

__all__ = ["NOTRACK_ON_SERVICE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for culprit in passed(context, "raw"):
        if culprit.rule is not None and isinstance(culprit.rule.target, Notrack):
            yield rule_candidate(
                context,
                culprit,
                "notrack-on-service",
                f"{culprit.place} does not track these packets, so nothing translates them: {culprit.words}",
                "take the rule away, or except the Service's address from it",
            )


NOTRACK_ON_SERVICE = Cause(
    id="notrack-on-service",
    title="a raw rule exempts the Service's packets from connection tracking",
    what=(
        "A rule of the raw table makes the packets untracked; without a connection there is no "
        "translation, so the Service's address is never replaced."
    ),
    shows="The Service's address times out, its pods' own addresses work.",
    dies="Past nat: the packet keeps the Service's address.",
    proof="`iptables -t raw -S` has NOTRACK or `CT --notrack` for the address.",
    repair="Take the rule away (node-local DNS needs its own ones).",
    owner="Whoever wrote the rule.",
    source="kubernetes/dns#318",
    candidates=_candidates,
)
