"""
Why, and what to change: goals, causes, the counterfactual search, findings.

Pure: works on snapshots and walks only.  A cause is one file under causes/: id, words,
evidence, candidates.  goal.py and default_goal.py say what a flow is owed, difference.py what
is not as its owner left it, search.py tries candidates on the model, safety.py asks whom they
would hurt, rank.py puts the answer into words.
Not here: applying anything (nettrace.apply).
"""

from nettrace.diagnose.cause import Candidate, Cause, Context, Explanation
from nettrace.diagnose.diagnosis import Diagnosis, Limits, diagnose
from nettrace.diagnose.goal import Goal, Judgement

__all__ = [
    "Candidate",
    "Cause",
    "Context",
    "Diagnosis",
    "Explanation",
    "Goal",
    "Judgement",
    "Limits",
    "diagnose",
]
