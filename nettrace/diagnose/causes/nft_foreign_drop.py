"""nft-foreign-drop: a chain of native nftables drops it."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.foreign_rules import Culprit, culprits, rule_candidate
from nettrace.model.step import Verdict

__all__ = ["NFT_FOREIGN_DROP"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for culprit in culprits(context):
        if _fits(culprit):
            yield rule_candidate(
                context,
                culprit,
                "nft-foreign-drop",
                f"table {culprit.table} on {culprit.place} drops it: {culprit.words}",
                "accept these packets in that table; an accept in another one does not count",
            )


def _fits(culprit: Culprit) -> bool:
    return culprit.native and not culprit.tunnelled


NFT_FOREIGN_DROP = Cause(
    id="nft-foreign-drop",
    title="a chain of native nftables drops it",
    what=(
        "A base chain of another table drops or rejects the packet. That iptables or another table "
        "accepted it does not count: each base chain of a hook decides for itself."
    ),
    shows="iptables' rules look right, and the packet dies at the same hook.",
    dies="At that rule or policy.",
    proof=(
        "`nft list ruleset` has a chain of the hook with `policy drop` or a rule that drops; `nft monitor "
        "trace`."
    ),
    repair="Accept the packets in that table.",
    owner="Whoever wrote the table: firewalld, netavark, a site's own.",
    source="podman#26044, firewalld#1235, kubeadm#1056",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED}),
    candidates=_candidates,
)
