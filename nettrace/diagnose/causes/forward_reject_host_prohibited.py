"""forward-reject-host-prohibited: a rule at the end of FORWARD rejects the pods' traffic."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import Culprit, culprits, rule_candidate
from nettrace.model.step import Verdict

__all__ = ["FORWARD_REJECT_HOST_PROHIBITED"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for culprit in culprits(context):
        if _fits(culprit):
            yield rule_candidate(
                context,
                culprit,
                "forward-reject-host-prohibited",
                f"{culprit.place} rejects what it forwards: {culprit.words}",
                "accept the pods' network before it; firewalld: put the pods' devices into zone trusted",
            )


def _fits(culprit: Culprit) -> bool:
    named = culprit.chain == "FORWARD" and "host-prohib" in culprit.words
    return named and not culprit.native and not culprit.tunnelled


FORWARD_REJECT_HOST_PROHIBITED = Cause(
    id="forward-reject-host-prohibited",
    title="a rule at the end of FORWARD rejects the pods' traffic",
    what=(
        "A firewall's last rule in FORWARD rejects what none of its own accept, before the rules of the "
        "CNI plugin and kube-proxy are met."
    ),
    shows="No route to host, at once.",
    dies="At that rule.",
    proof="The rule `REJECT --reject-with icmp-host-prohibited`, and its counter.",
    repair="Accept the pods' network before it, or put its devices into a trusted zone.",
    owner="The host's firewall (firewalld, an image's defaults).",
    source="kubeadm#1056, microk8s#3153, k3s#24, coredns#6996",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED}),
    candidates=_candidates,
)
