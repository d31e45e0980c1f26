"""
Many pairs: drawing, running, counting, and what is left at the end.

Lives here: chunks, each of one network and one seed, so that their result does not depend on how many
run at once; and the sum of all.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from msgspec import Struct, field

from nettrace.model.walk import Outcome
from tests.oracle import nft_coverage
from tests.oracle.case import Case
from tests.oracle.coverage import Coverage
from tests.oracle.generate import Generator
from tests.oracle.run import Bench, Broken, bench
from tests.oracle.shrink import shrink

__all__ = ["Report", "chunks", "run_chunk", "search"]

#: Pairs of one network before it is built anew, and of one state.
CHUNK = 250
PROBES = 12


class Report(Struct, kw_only=True):
    """What came of pairs: counts, coverage, and the disagreements as (case, sentences)."""

    pairs: int = 0
    unknown: int = 0
    broken: int = 0
    retried: int = 0
    met_rules: int = 0
    agreed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    found: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Add another part."""
        for name in ("pairs", "unknown", "broken", "retried", "met_rules", "agreed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons = dict(Counter(self.reasons) + Counter(other.reasons))
        self.rows = dict(Counter(self.rows) + Counter(other.rows))
        self.found += other.found


def chunks(pairs: int, seed: int, topology: str | None = None) -> Iterator[tuple[int, str, int]]:
    """(seed, network, pairs) of each chunk."""
    draw = Generator(seed)
    left, number = pairs, 0
    while left > 0:
        yield seed * 1_000_003 + number, topology or draw.topology(), min(CHUNK, left)
        left -= CHUNK
        number += 1


def search(
    pairs: int, seed: int, *, jobs: int = 1, topology: str | None = None, until_found: bool = False
) -> Iterator[Report]:
    """Run all chunks; yields the sum after each.  *until_found*: stop at the first disagreement."""
    whole = Report()
    parts = list(chunks(pairs, seed, topology))
    if jobs == 1:
        for part in parts:
            whole.add(run_chunk(*part, until_found=until_found))
            yield whole
            if until_found and whole.found:
                return
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(run_chunk, *part) for part in parts]:
            whole.add(future.result())
            yield whole


def run_chunk(seed: int, topology: str, pairs: int, *, until_found: bool = False) -> Report:
    """Run one chunk in a network of its own."""
    draw = Generator(seed)
    report, coverage = Report(), Coverage()
    with bench(topology) as one, coverage.watching(), nft_coverage.watching(coverage.note):
        while report.pairs < pairs:
            state = one.loadable(draw.state(topology))
            try:
                one.enter(state)
            except Broken:
                report.broken += 1
                continue
            try:
                for _ in range(min(PROBES, pairs - report.pairs)):
                    _one(one, Case(state=state, probe=draw.probe(topology)), report, coverage)
            finally:
                one.leave()
            if until_found and report.found:
                break
        cases = [(Case.of(text), sentences) for text, _, sentences in report.found]
        report.found = [(case.text(), _small(one, case, until_found), said) for case, said in cases]
    report.rows = dict(coverage.rows)
    report.agreed, report.met_rules = coverage.pairs, coverage.met_rules
    return report


def _one(one: Bench, case: Case, report: Report, coverage: Coverage) -> None:
    coverage.begin()
    try:
        pair = one.pair(case.probe)
    except Broken:
        report.broken += 1
        return
    report.pairs += 1
    report.retried += pair.tries > 1
    if pair.judgement.agrees is None:
        report.unknown += 1
        reason = next(path.reason for path in pair.walk.paths if path.outcome is Outcome.UNKNOWN)
        report.reasons[reason] = report.reasons.get(reason, 0) + 1
    elif pair.judgement.agrees:
        coverage.agreed(pair.walk, pair.judgement.path)
    else:
        report.found.append((case.text(), "", list(pair.judgement.differences)))


def _small(one: Bench, case: Case, skip: bool) -> str:
    """Shrink a case in the network that it was found in."""
    if skip:
        return case.text()

    def differs(smaller: Case) -> bool:
        try:
            one.enter(smaller.state)
        except Broken:
            return False
        try:
            return one.pair(smaller.probe, tries=2).judgement.agrees is False
        finally:
            one.leave()

    return shrink(case, differs).text()
