"""rules-flushed: somebody emptied a table, and an agent's rules went with it."""

from collections.abc import Iterator

from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedChain, OwedJump, OwedRule
from nettrace.model.section import Known
from nettrace.model.xt import BACKENDS

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
        made = owed_candidate(
            context,
            "rules-flushed",
            found,
            f"{owner}'s rules in table {table} of {place} are gone: all {len(gone)} jumps to its chains, "
            f"and {len(found) - len(gone)} chains or rules that this flow needs",
            safety=Safety.KICK,
            overwritten=f"{owner} writes the same again at its next full sync, or when it is restarted",
            lasting=(
                f"restart {owner}, which brings back the rules of everybody else too; then find what flushed "
                "the table (a firewall that was reloaded, iptables-restore without --noflush)"
            ),
        )
        yield replace(made, notes=(*made.notes, *_who_flushes(context, netns)))


def _who_flushes(context: Context, netns: str) -> Iterator[str]:
    """Name the firewalls of this node that take away the rules of others."""
    space = context.snapshot.namespaces.get(netns)
    native = space.nft.value.tables if space is not None and isinstance(space.nft, Known) else {}
    for owner in context.owners:
        if not owner.flushes:
            continue
        tables = [name for name in native if name in owner.tables]
        chains = any(
            context.owner(netns, backend, "filter", hook) is owner
            for backend in BACKENDS
            for hook in ("INPUT", "FORWARD")
        )
        if tables or chains:
            what = f"table {tables[0]}" if tables else "chains"
            yield f"{owner.name} is here (its {what}): {owner.flushes}"


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
