"""The fixture `netns`: a bed of namespaces (tests.kernel.bed) that are gone after the test."""

import os
from collections.abc import Iterator

import pytest

from tests.kernel.bed import Bed


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
