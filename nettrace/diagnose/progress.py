"""
How far a walk gets: what makes one state better than another on the way to a goal.

Lives here: the measure by which the search decides whether a set of changes is worth
extending.
"""

from msgspec import Struct

from nettrace.diagnose.goal import Goal, Judgement
from nettrace.model.walk import Path, Walk

__all__ = ["Progress", "progress"]


class Progress(Struct, frozen=True):
    """
    How far a walk gets.

    ``share`` is the probability that the goal is met, ``depth`` how many places the branches that
    miss it pass on average.
    """

    share: float
    depth: float

    def beats(self, other: "Progress") -> bool:
        """Does it get further: a larger share, or failing later with no smaller one?"""
        if self.share > other.share + 1e-9:
            return True
        return self.share > other.share - 1e-9 and self.depth > other.depth + 1e-9


def progress(goal: Goal, walk: Walk) -> Progress:
    """Measure *walk* against *goal*."""
    missing = [path for path in walk.paths if goal.judge_path(path) is not Judgement.MET]
    weight = sum(path.probability for path in missing)
    depth = sum(path.probability * _places(path) for path in missing) / weight if weight else 0.0
    return Progress(goal.met_share(walk), depth)


def _places(path: Path) -> int:
    """
    Count the places a branch passes: a stage or hook of a namespace, however many rules it has.

    So a rule more that matches and decides nothing is no step forward.
    """
    count, last = 0, None
    for leg in path.legs:
        for step in leg.steps:
            place = (leg.kind, step.netns, step.stage, step.hook)
            count += place != last
            last = place
    return count
