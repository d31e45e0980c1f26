"""masq-pod-to-pod: a rule masquerades traffic between pods."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import passed, rule_candidate
from nettrace.model.xt_target import Masquerade, Snat

__all__ = ["MASQ_POD_TO_POD"]


def _candidates(context: Context) -> Iterator[Candidate]:
    if context.goal.source != "kept":
        return
    for culprit in passed(context, "nat"):
        if culprit.chain.startswith("KUBE-") or culprit.step.hook != "postrouting":
            continue
        if culprit.rule is not None and isinstance(culprit.rule.target, Masquerade | Snat):
            yield rule_candidate(
                context,
                culprit,
                "masq-pod-to-pod",
                f"{culprit.place} rewrites the source of traffic between pods: {culprit.words}",
                "except the pods' network from the rule: ! -d PODNETWORK",
            )


MASQ_POD_TO_POD = Cause(
    id="masq-pod-to-pod",
    title="a rule masquerades traffic between pods",
    what="A MASQUERADE or SNAT rule that nobody owes rewrites the source of packets from one pod to another.",
    shows=(
        "Connections work, and the server sees a node's address; policies and logs by pod address go wrong."
    ),
    dies="Nowhere; the source is rewritten in POSTROUTING.",
    proof="`iptables -t nat -S POSTROUTING` has a MASQUERADE without `! -d PODNETWORK`.",
    repair="Take the rule away, or except the pods' network from it.",
    owner="Whoever wrote the rule; an old CNI configuration.",
    source="calico#3440, flannel#1604, kubespray#1012",
    candidates=_candidates,
)
