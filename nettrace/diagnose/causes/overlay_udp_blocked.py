"""overlay-udp-blocked: a rule drops the overlay's packets."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import Culprit, culprits, rule_candidate
from nettrace.model.step import Verdict

__all__ = ["OVERLAY_UDP_BLOCKED"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for culprit in culprits(context):
        if _fits(culprit):
            yield rule_candidate(
                context,
                culprit,
                "overlay-udp-blocked",
                f"{culprit.place} drops the overlay's packets: {culprit.words}",
                "accept the overlay's port from the other nodes, before this rule",
            )


def _fits(culprit: Culprit) -> bool:
    return culprit.tunnelled


OVERLAY_UDP_BLOCKED = Cause(
    id="overlay-udp-blocked",
    title="a rule drops the overlay's packets",
    what=(
        "A rule of the node drops the packets that carry the pods' traffic between nodes: UDP of VXLAN, "
        "flannel, WireGuard, or IP protocol 4."
    ),
    shows="Pods of other nodes, and Services with endpoints there, time out; those of the same node work.",
    dies="In INPUT of the node that the tunnel ends at, or in OUTPUT of the one that sends.",
    proof="The rule's counter rises; the sender's tunnel device sends, the receiver's receives nothing.",
    repair="Allow the overlay's port between the nodes.",
    owner="Whoever wrote the rule: a firewall of the host.",
    source="flannel#871, flannel#1379, kubernetes#58908, k3s#1539",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED}),
    candidates=_candidates,
)
