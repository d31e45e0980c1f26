"""owed-state-missing: what an owner put on the node is gone, and no cause has a name for it."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate, owed_sets
from nettrace.model.finding import Safety

__all__ = ["OWED_STATE_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if not difference.restored.changes:
            continue
        place = where(context.snapshot, owed.netns)
        about = f" ({difference.about})" if difference.about else ""
        yield owed_candidate(
            context,
            OWED_STATE_MISSING.id,
            [difference],
            f"{place} lacks what {owed.owner} has to have put there: {difference.restored.owed}{about}",
            safety=Safety.KICK,
            overwritten=f"{owed.owner} writes the same when it next syncs or starts",
            lasting=f"restart {owed.owner}, and find what removes it",
        )


OWED_STATE_MISSING = Cause(
    id="owed-state-missing",
    title="something that an owner put on the node is gone",
    what=(
        "An agent (kube-proxy, the CNI's, Docker) has to have put a rule, route or entry on the node, by "
        "the objects and files it works from; it is not there, or differs, and with it the flow works."
    ),
    shows="In many ways; this is said where no cause with a name of its own explains it.",
    dies="Where the missing piece would have led the packet on.",
    proof="What is owed beside what is there.",
    repair="What is owed, put back; the agent does the same when it restarts.",
    owner="The agent that the finding names.",
    source="the comparison of owed and found state, not a known failure",
    reads=owed_sets,
    candidates=_candidates,
)
