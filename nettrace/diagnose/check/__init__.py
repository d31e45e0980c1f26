"""
Checks: expectations and invariants, from what they say to what became of them.

Pure.  Expanding matrices and invariants into single questions (expand, invariants), holding walks
against them (judge), what differs on the nodes without any flow (health), suppressions.
Not here: reading and walking (nettrace.app.check), the file (nettrace.parse.checks).
"""
