"""``python -m tests.oracle.bugs [WORD ...]``: planted bugs are to be found, each within 2,000 pairs."""

import sys

from tests.oracle.planted import PLANTED
from tests.oracle.planting import planted
from tests.oracle.search import run_chunk

_CHUNKS = 8


def main() -> int:
    """Plant one after another; 1 if one is missed."""
    missed = 0
    wanted = sys.argv[1:]
    for bug in PLANTED:
        if wanted and not any(word in bug.name for word in wanted):
            continue
        pairs, found = 0, False
        with planted(bug):
            for number in range(_CHUNKS):
                report = run_chunk(100 + number, bug.topology, 250, until_found=True)
                pairs += report.pairs
                found = bool(report.found)
                if found:
                    break
        missed += not found
        print(f"{'found ' if found else 'MISSED'} within {pairs:>5} pairs: {bug.name}", flush=True)
    print(f"{len(PLANTED)} planted, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
