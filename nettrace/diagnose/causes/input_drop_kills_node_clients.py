"""input-drop-kills-node-clients: INPUT drops the answers to the node's own calls."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import Culprit, culprits, rule_candidate
from nettrace.model.step import Verdict

__all__ = ["INPUT_DROP_KILLS_NODE_CLIENTS"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for culprit in culprits(context):
        if _fits(culprit):
            yield rule_candidate(
                context,
                culprit,
                "input-drop-kills-node-clients",
                f"{culprit.place} drops the answers to its own calls: {culprit.words}",
                "iptables -I INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            )


def _fits(culprit: Culprit) -> bool:
    answers = culprit.chain == "INPUT" and culprit.leg in ("reply", "reply-data")
    return answers and not culprit.native and not culprit.tunnelled


INPUT_DROP_KILLS_NODE_CLIENTS = Cause(
    id="input-drop-kills-node-clients",
    title="INPUT drops the answers to the node's own calls",
    what="INPUT drops what it does not know, and no rule accepts what belongs to established connections.",
    shows="The node's own calls to Services and pods time out; pods' calls work.",
    dies="In INPUT of the node that called, on the way back.",
    proof="The policy or last rule of INPUT drops, without `ctstate ESTABLISHED` accepted before.",
    repair="iptables -I INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    owner="The host's firewall.",
    source="moby#27817",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED}),
    candidates=_candidates,
)
