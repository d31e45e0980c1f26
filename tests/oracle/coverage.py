"""
Which cases were compared: every match true and false, every target, verdict and stage.

Lives here: counting while the walk evaluates, and the table that is printed.
Only pairs on which walk and kernel agreed are counted: a case counts once, however often it occurs in it.
"""

import importlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome, Walk
from nettrace.walk.point import Unsure
from tests.oracle.pieces import set_kind

__all__ = ["Coverage", "expected_rows"]

#: What no network of the oracle can bring about, with the reason.
_ELSEWHERE = {
    Verdict.REFUSED: "the walk says NOT_LISTENING or REJECTED, which tell more",
    Verdict.INVALID: "only an ICMP error that quotes nothing",
    Verdict.UNKNOWN: "is not compared",
    Verdict.BAD_CHECKSUM: "takes a device's offload to be off: tests/kernel/test_walk_checksum.py",
}


#: Stages that are compared elsewhere.
_NO_STAGE = {Stage.IPVS: "few kernels have it; tests/vm starts one that does, and compares every scheduler"}

_NO_OUTCOME = {
    Outcome.UNKNOWN: "is not compared",
    Outcome.MIXED: "of several branches, of which one is compared",
    Outcome.WRONG_ENDPOINT: "is said of a target by name",
}


def _tag(one: Any) -> str:
    """Return the tag of a match or a target, or the name of what is kept as text."""
    tag = str(one.__struct_config__.tag)
    if tag == "icmp":
        return str(one.proto)  # one struct for icmp and icmp6
    return str(one.name) if tag == "extension" else tag


class Coverage:
    """Counts rows: ``match tcp true``, ``target DNAT``, ``verdict NO_ROUTE``, ``stage forward``."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.met_rules = 0
        self.pairs = 0
        self._now: set[str] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it lasts, the walk's tests of matches and its targets are noted."""
        walk_rules: Any = importlib.import_module("nettrace.walk.rules")
        match_matches, apply_target = walk_rules.match_matches, walk_rules.apply_target

        def matches(run: Any, skb: Any, point: Any, match: Any) -> Any:
            answer = match_matches(run, skb, point, match)
            if not isinstance(answer, Unsure):
                word = "true" if answer else "false"
                self._now.add(f"match {_tag(match)} {word}")
                if _tag(match) == "set":
                    self._now.add(f"match set {set_kind(match.name)} {word}")
            return answer

        def apply(run: Any, skb: Any, point: Any, place: Any, rule: Any) -> Any:
            effect = apply_target(run, skb, point, place, rule)
            self._now.add(f"target {_tag(rule.target)}")
            return effect

        def drawn(*arguments: Any, **options: Any) -> Any:
            answer = draws(*arguments, **options)
            self._now.add(f"match statistic {'true' if answer else 'false'}")
            return answer

        draws = walk_rules._drawn
        walk_rules.match_matches, walk_rules.apply_target, walk_rules._drawn = matches, apply, drawn
        try:
            yield
        finally:
            walk_rules.match_matches, walk_rules.apply_target = match_matches, apply_target
            walk_rules._drawn = draws

    def note(self, row: str) -> None:
        """Note a row of the pair that is walked."""
        self._now.add(row)

    def begin(self) -> None:
        """A new pair is walked."""
        self._now = set()

    def agreed(self, walk: Walk, path: int | None) -> None:
        """Count what was noted of the pair, and the branch that the kernel took."""
        self.pairs += 1
        met = False
        self._now.add(f"outcome {walk.paths[path or 0].outcome.value}")
        for leg in walk.paths[path or 0].legs:
            self._now.add(f"verdict {leg.verdict.value}")
            for step in leg.steps:
                self._now.add(f"stage {step.stage.value}")
                if step.stage is Stage.HOOK and step.rule:
                    met = True
                    if step.verdict in ("ACCEPT", "DROP", "RETURN"):
                        self._now.add(f"target {step.verdict}")
                    if step.backend is not None:
                        self._now.add(
                            f"rule set {step.backend}{'' if ' ' not in (step.table or '') else ' native'}"
                        )
        self.met_rules += met
        self.rows.update(self._now)

    def merge(self, rows: dict[str, int], pairs: int, met_rules: int) -> None:
        """Add what another process counted."""
        self.rows.update(rows)
        self.pairs += pairs
        self.met_rules += met_rules


#: Rows that cannot be.
_NEVER = {
    "match comment false": "it is always true",
    "match recent false": "--set is always true, and the others are in tests/kernel/test_recent.py",
    "match helper true": "no connection has a helper",
    **{
        f"match {name} true": "no packet has extension headers where rules see it"
        for name in ("dst", "frag", "hbh", "rt", "srh")
    },
    "match eui64 true": "no address is made of a MAC address",
}


def expected_rows(matches: frozenset[str], targets: frozenset[str]) -> list[str]:
    """Return the rows of the table, whether or not anything fell into them."""
    found = [f"match {name} {answer}" for name in sorted(matches) for answer in ("true", "false")]
    found = [row for row in found if row not in _NEVER]
    found += [f"target {name}" for name in sorted(targets)]
    found += [f"outcome {outcome.value}" for outcome in Outcome if outcome not in _NO_OUTCOME]
    found += [f"verdict {verdict.value}" for verdict in Verdict if verdict not in _ELSEWHERE]
    found += [f"stage {stage.value}" for stage in Stage if stage not in _NO_STAGE]
    return found
