"""
Who gets how many of the connections that reach a balancing chain.

Lives here: the arithmetic of ``-m statistic`` rules one after the other, and its words.

A rule decides only about what the rules before it left over: three rules of 1/3 each give 1/3,
2/9 and 4/27, and 8/27 match nothing (net/netfilter/xt_statistic.c).
"""

from collections.abc import Sequence
from fractions import Fraction

from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Recent, Statistic
from nettrace.model.xt_target import Jump

__all__ = ["chances", "fraction_text", "jumps_by_lot"]

#: The kernel draws a number of 31 bits.
_ONE = 1 << 31
#: Shares closer than this are the same: probabilities are rounded to 2^-31 each.
_CLOSE = 1e-6
_LARGEST_DENOMINATOR = 2000
_EXACT = 2e-8


def jumps_by_lot(rules: Sequence[XtRule]) -> list[tuple[str, float]]:
    """
    Return (chain, chance) of the rules that lead to endpoints by lot, in their order.

    Rules of session affinity and jumps that mark for masquerading are not among them.
    """
    found = []
    for rule in rules:
        if not isinstance(rule.target, Jump) or not rule.target.chain.startswith("KUBE-SEP-"):
            continue
        if any(isinstance(match, Recent) for match in rule.matches):
            continue
        chance = 1.0
        for match in rule.matches:
            if isinstance(match, Statistic):
                chance *= _chance(match)
        found.append((rule.target.chain, chance))
    return found


def _chance(match: Statistic) -> float:
    if match.mode == "random":
        share = (match.probability or 0) / _ONE
    else:
        share = 1 / (match.every or 1)
    return 1 - share if match.invert else share


def chances(lots: Sequence[tuple[str, float]]) -> tuple[dict[str, float], float]:
    """Return what each chain gets of all that comes, and what is left for none of them."""
    got: dict[str, float] = {}
    left = 1.0
    for chain, chance in lots:
        got[chain] = got.get(chain, 0.0) + left * chance
        left *= 1 - chance
    return got, 0.0 if left < _CLOSE else left


def fraction_text(share: float) -> str:
    """Write a share as the fraction that it is meant to be (``2/9``), or in decimals if it is none."""
    near = Fraction(share).limit_denominator(_LARGEST_DENOMINATOR)
    if abs(float(near) - share) > _EXACT:
        return f"{share:.4f}"
    return str(near)
