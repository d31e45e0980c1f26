"""
Fixtures: namespaces that are gone after the test.

`netns` is a bed to make them in (tests.kernel.bed), `net` a network with listeners (tests.kernel.walkbed).
"""

import os
from collections.abc import Iterator

import pytest

from tests.kernel.bed import Bed
from tests.kernel.walkbed import Net


@pytest.fixture
def netns() -> Iterator[Bed]:
    """An empty bed; `netns.new()` makes a namespace in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    bed = Bed()
    try:
        yield bed
    finally:
        bed.close()


@pytest.fixture
def net(netns: Bed) -> Iterator[Net]:
    """A network that is being built."""
    found = Net(netns)
    try:
        yield found
    finally:
        found.close()
