"""Prefixes and times as nft shows them."""

from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.kube.nft_prefixes import braced, duration


@pytest.mark.parametrize(
    ("given_prefixes", "shown"),
    [
        (["198.51.100.0/24"], "198.51.100.0/24"),
        (["203.0.113.10", "192.168.50.0/24"], "{ 192.168.50.0/24, 203.0.113.10 }"),
        (["10.0.0.0/24", "10.0.1.0/24"], "{ 10.0.0.0/23 }"),
        (["10.0.5.0/24", "10.0.6.0/24"], "{ 10.0.5.0-10.0.6.255 }"),
        (["0.0.0.0/0", "10.0.0.0/8"], "{ 0.0.0.0/0 }"),
        (["ffff::/16", "ff00::/8"], "{ ff00::/8 }"),
    ],
)
def test_elements(given_prefixes: list[str], shown: str) -> None:
    """What touches is merged as nft 1.0.6 was seen to do; only one alone stands without braces."""
    assert braced(given_prefixes) == shown


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), min_size=1, max_size=6))
def test_merging_keeps_the_addresses(nets: list[tuple[int, int]]) -> None:
    """Each prefix that was given lies in exactly one of the intervals that are shown."""
    prefixes = [ip_network((value, length), strict=False) for value, length in nets]
    shown = braced(map(str, prefixes)).strip("{} ").split(", ")
    spans = []
    for text in shown:
        low, _, high = text.partition("-")
        first, last = ip_network(low), ip_network(high or low)
        spans.append((int(first[0]), int(last[-1])))
    for one in prefixes:
        assert sum(low <= int(one[0]) and int(one[-1]) <= high for low, high in spans) == 1
    assert all(before[1] + 1 < after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(10800, "3h"), (600, "10m"), (90, "1m30s"), (93600, "1d2h"), (0, "0s")]
)
def test_durations(seconds: int, shown: str) -> None:
    """Each unit that is not zero is written."""
    assert duration(seconds) == shown
