"""Which share of the connections each endpoint gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.diagnose.shares import chances, fraction_text, jumps_by_lot
from nettrace.kube.rules import probability
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Statistic
from nettrace.model.xt_target import Jump


@given(st.integers(2, 60))
def test_everybody_gets_the_same(number: int) -> None:
    """What kube-proxy writes for n endpoints comes to 1/n each, and nothing is left."""
    rules = [
        XtRule(
            matches=(Statistic(mode="random", probability=probability(number - n)),)
            if n < number - 1
            else (),
            target=Jump(f"KUBE-SEP-{n}"),
        )
        for n in range(number)
    ]
    got, unmatched = chances(jumps_by_lot(rules))
    assert unmatched == 0
    assert all(abs(share - 1 / number) < 1e-8 for share in got.values())
    assert {fraction_text(share) for share in got.values()} == {f"1/{number}"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_shares_and_the_rest_are_all(chance: list[float]) -> None:
    """Whatever the probabilities, what endpoints get and what is left make one."""
    got, unmatched = chances([(str(n), one) for n, one in enumerate(chance)])
    assert abs(sum(got.values()) + unmatched - 1) < 1e-5


def test_other_ways_to_draw() -> None:
    """Every n-th packet counts as its share, an inverted test as the rest; what is no fraction is decimal."""
    third = XtRule(matches=(Statistic(mode="nth", every=3, packet=0),), target=Jump("KUBE-SEP-A"))
    rest = XtRule(
        matches=(Statistic(mode="random", probability=1 << 30, invert=True),), target=Jump("KUBE-SEP-B")
    )
    assert jumps_by_lot([third, rest, XtRule(target=Jump("KUBE-MARK-MASQ"))]) == [
        ("KUBE-SEP-A", pytest.approx(1 / 3)),
        ("KUBE-SEP-B", 0.5),
    ]
    assert fraction_text(0.70710678) == "0.7071"
