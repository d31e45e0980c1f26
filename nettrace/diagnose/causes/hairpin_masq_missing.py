"""hairpin-masq-missing: the rule that masquerades a pod's call to itself is missing."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import where
from nettrace.diagnose.making import by_netns, owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedChain
from nettrace.model.xt_target import Jump

__all__ = ["HAIRPIN_MASQ_MISSING", "marks_itself"]

_MARK = "KUBE-MARK-MASQ"


def _candidates(context: Context) -> Iterator[Candidate]:
    lacking = [d for d in context.differences if marks_itself(d)]
    for netns, found in by_netns(lacking).items():
        place = where(context.snapshot, netns)
        yield owed_candidate(
            context,
            "hairpin-masq-missing",
            found,
            f"{place} does not masquerade what {found[0].about or 'an endpoint'} sends to itself",
            safety=Safety.KICK,
            overwritten="kube-proxy writes the same again at its next full sync",
            lasting="restart kube-proxy on this node and look at its log",
        )


def marks_itself(difference: Difference) -> bool:
    """Is it the rule of an endpoint's chain for packets from the endpoint?"""
    owed, rule = difference.owed, difference.restored.rule
    if not isinstance(owed, OwedChain) or owed.table != "nat" or not difference.restored.absent:
        return False
    return (
        rule is not None
        and rule.src is not None
        and not rule.src.invert
        and isinstance(rule.target, Jump)
        and rule.target.chain == _MARK
        and owed.chain.startswith("KUBE-SEP-")
    )


HAIRPIN_MASQ_MISSING = Cause(
    id="hairpin-masq-missing",
    title="the rule that masquerades a pod's call to itself is missing",
    what=(
        "An endpoint's chain lacks the rule that marks packets which come from the endpoint itself, so "
        "that a pod's call to its own Service comes back with its own address as source."
    ),
    shows="A pod that calls its own Service times out, in 1 of N connections, although hairpin mode is on.",
    dies="In the pod, which takes a packet from its own address for a martian.",
    proof="KUBE-SEP-... lacks `-s ENDPOINT -j KUBE-MARK-MASQ`.",
    repair="Restart kube-proxy; until then the rule that it owes.",
    owner="kube-proxy",
    source="moby#6810, kube-router#151",
    candidates=_candidates,
)
