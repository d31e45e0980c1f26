"""rules-flushed: somebody emptied a table, and an agent's rules went with it."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedChain, OwedJump, OwedRule

__all__ = ["RULES_FLUSHED"]

#: One jump may be deleted by hand; a table in which all of several are gone was flushed.
_JUMPS = 2


def _candidates(context: Context) -> Iterator[Candidate]:
    missing: dict[tuple[str, str, str], list[Difference]] = {}
    for difference in context.differences:
        owed = difference.owed
        if isinstance(owed, OwedChain | OwedJump | OwedRule):
            missing.setdefault((owed.netns, owed.owner, owed.table), []).append(difference)
    for (netns, owner, table), found in missing.items():
        jumps = [
            item
            for item in context.owed
            if isinstance(item, OwedJump) and (item.netns, item.owner, item.table) == (netns, owner, table)
        ]
        gone = [d for d in found if isinstance(d.owed, OwedJump)]
        if len(jumps) < _JUMPS or len(gone) < len(jumps) or len(found) == len(gone):
            continue
        place = where(context.snapshot, netns)
        yield owed_candidate(
            context,
            "rules-flushed",
            found,
            f"{owner}'s rules in table {table} of {place} are gone: all {len(gone)} jumps to its chains, "
            f"and {len(found) - len(gone)} chains or rules that this flow needs",
            safety=Safety.KICK,
            overwritten=f"{owner} writes the same again at its next full sync, or when it is restarted",
            lasting=(
                f"restart {owner}, which brings back the rules of everybody else too; then find what flushed "
                "the table (firewalld or ufw reloaded, iptables-restore without --noflush)"
            ),
        )


RULES_FLUSHED = Cause(
    id="rules-flushed",
    title="a table was flushed, and an agent's rules went with it",
    what=(
        "All jumps from the built-in chains to an agent's chains are gone, and the chains are empty or "
        "gone as well: something flushed the table (iptables -F, a firewall reload)."
    ),
    shows=(
        "All of a sudden every Service of one node times out and its NodePorts are refused. It heals "
        "within 30 s to an hour where kube-proxy looks after its rules; what other agents wrote stays away."
    ),
    dies="Where the first missing rule would have led the packet on.",
    proof="`iptables -t nat -S` shows the agent's chains empty or gone, its canary chain among them.",
    repair="Restart the agent, and stop what flushes; until then the rules that this flow needs.",
    owner="The agent that the finding names: kube-proxy, dockerd, the CNI's.",
    source="rke2#10469, kube-router#588, kubernetes#93091, moby#15254",
    candidates=_candidates,
)
