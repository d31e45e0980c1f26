"""
Fixtures: namespaces that are gone after the test.

`netns` is a bed to make them in (tests.kernel.bed), `net` a network with listeners (tests.kernel.walkbed),
`node` one whose state is changed (tests.kernel.changing), with a `journal` for it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettrace.journal import Journal
from tests.kernel.bed import Bed
from tests.kernel.changing import Node
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


@pytest.fixture
def node(netns: Bed) -> Node:
    """A node to be changed."""
    return Node(netns)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty journal."""
    return Journal(tmp_path / "journal")
