"""``python -m tests.oracle.bugs [WORD ...]``: planted bugs are to be found, each within 2,000 pairs."""

import sys

from tests.oracle.case import Case
from tests.oracle.planted import PLANTED
from tests.oracle.planting import Bug, planted
from tests.oracle.run import explain
from tests.oracle.search import CHUNK, run_chunk

__all__ = ["MOST", "hunted"]

#: Pairs within which a bug has to be found.
MOST = 2000


def hunted(bug: Bug) -> tuple[int, bool]:
    """
    Plant a bug and look for it; return after how many pairs the search ended, and whether it was found.

    A case counts only if the walk as it is agrees with the kernel there.
    """
    pairs, seed = 0, 100
    while pairs < MOST:
        with planted(bug):
            report = run_chunk(seed, bug.topology, min(CHUNK, MOST - pairs), until_found=True)
        pairs, seed = pairs + report.pairs, seed + 1
        if any(explain(Case.of(whole))[1] for whole, _, _ in report.found):
            return pairs, True
    return pairs, False


def main() -> int:
    """Plant one after another; 1 if one is missed."""
    missed = 0
    wanted = sys.argv[1:]
    for bug in PLANTED:
        if wanted and not any(word in bug.name for word in wanted):
            continue
        pairs, found = hunted(bug)
        missed += not found
        print(f"{'found ' if found else 'MISSED'} within {pairs:>5} pairs: {bug.name}", flush=True)
    print(f"{len(PLANTED)} planted, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
