"""What tests of found cases share: the networks, built once a module."""

from collections.abc import Iterator

import pytest

from tests.oracle.opened import Benches


@pytest.fixture(scope="module")
def benches() -> Iterator[Benches]:
    """Build networks as they are asked for."""
    found = Benches()
    with found.stack:
        yield found
