"""``python -m tests.oracle``: random states and packets, the walk against the kernel."""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.oracle import nft_coverage
from tests.oracle.case import Case
from tests.oracle.coverage import expected_rows
from tests.oracle.generate import MATCHES, TARGETS
from tests.oracle.run import Broken, explain
from tests.oracle.search import Report, search
from tests.oracle.shrink import as_test

#: From so many pairs on, each row of the table has to have so many cases, and at most these shares of
#: the pairs may meet no rule, or be UNKNOWN.
_MANY, _CASES, _NO_RULE, _UNKNOWN = 10_000, 50, 0.2, 0.02
#: Where nobody watches, a line is written every so many pairs.
_TELL = 1000


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--topology", help="only this network")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="show one case as it was printed, in full"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="write disagreements there, for --replay"
    )
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it builds network namespaces: run it as root")
    if chosen.replay is not None:
        try:
            text, agrees = explain(Case.of(chosen.replay.read_text()))
        except Broken as broken:
            print(f"{chosen.replay}: this state cannot be made, or this frame not sent: {broken}")
            return 2
        print(text)
        return 0 if agrees is not False else 1
    began = time.monotonic()
    report = Report()
    kept = 0
    for report in search(chosen.pairs, chosen.seed, jobs=chosen.jobs, topology=chosen.topology):
        for number in range(kept, len(report.found) if chosen.keep is not None else 0):
            _keep(chosen.keep, chosen.seed, number + 1, report.found[number])
        kept = len(report.found)
        if sys.stderr.isatty():
            print(f"\r{report.pairs} pairs, {len(report.found)} disagreed", end="", file=sys.stderr)
        elif report.pairs % _TELL == 0:
            print(f"{report.pairs} pairs, {len(report.found)} disagreed", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    thin = _table(report)
    _reasons(report)
    for whole, small, sentences in report.found:
        print("\n# " + "\n# ".join(sentences))
        print(as_test(Case.of(small or whole)))
    share = 1 - report.met_rules / report.agreed if report.agreed else 1.0
    print(
        f"{report.broken} states that the kernel refused, {report.retried} pairs tried again, "
        f"{share:.1%} of the pairs met no rule, {time.monotonic() - began:.0f} s"
    )
    failed = bool(report.found)
    if chosen.pairs >= _MANY and not chosen.topology:
        for row in thin:
            print(f"fewer than {_CASES} cases: {row}")
        unknown = report.unknown / max(1, report.pairs)
        failed = failed or bool(thin) or share > _NO_RULE or unknown > _UNKNOWN
    print(
        f"seed {chosen.seed}: {report.pairs} pairs compared, {len(report.found)} disagreed, "
        f"{report.unknown} UNKNOWN ({report.unknown / max(1, report.pairs):.2%})"
    )
    return 1 if failed else 0


def _keep(directory: Path, seed: int, number: int, found: tuple[str, str, list[str]]) -> None:
    """Write a disagreement at once: a long run may be broken off."""
    whole, small, sentences = found
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{seed}-{number}.json").write_text(small or whole)
    (directory / f"{seed}-{number}.whole.json").write_text(whole)
    (directory / f"{seed}-{number}.txt").write_text("".join(f"{line}\n" for line in sentences))


def _table(report: Report) -> list[str]:
    """Print the coverage table; return its thin rows."""
    expected = expected_rows(MATCHES, TARGETS) + nft_coverage.expected()
    rows = list(expected)
    rows += [row for row in sorted(report.rows) if row not in rows]
    for row in rows:
        print(f"{row:<40} {report.rows.get(row, 0):>7}")
    return [row for row in expected if report.rows.get(row, 0) < _CASES]


def _reasons(report: Report) -> None:
    for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1])[:15]:
        print(f"UNKNOWN {count:>5}  {reason}")


if __name__ == "__main__":
    sys.exit(main())
