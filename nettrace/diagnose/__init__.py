"""
Why, and what to change: goals, causes, the counterfactual search, findings.

Pure: works on snapshots and walks only.  A cause is one file under causes/: id, words,
evidence, candidates.
Not here: applying anything (nettrace.apply).
"""
