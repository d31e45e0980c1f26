"""
Tests that need a kernel with IPVS, IPIP and dummy devices: they run in user-mode Linux.

`pytest tests/vm` boots it once, has it run the tests that were asked for, and tells their results
as if they had run here.  Inside (`scripts/vm python -m pytest tests/vm`) they are tests like others.
"""

import os
from collections.abc import Iterator

import pytest

from tests.kernel.bed import Bed
from tests.vm.machine import IN_GUEST, Machine, write_report

#: How the node ids of this folder begin; the hooks of a run are called for all tests of it.
_HERE = "tests/vm/"

_MACHINE = pytest.StashKey[Machine]()


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Outside, tell what the guest found instead of running the test."""
    if IN_GUEST or not item.nodeid.startswith(_HERE):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _machine(item).reports(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _machine(item: pytest.Item) -> Machine:
    config = item.config
    if _MACHINE not in config.stash:
        wanted = [one.nodeid for one in item.session.items if one.nodeid.startswith(_HERE)]
        base = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        config.stash[_MACHINE] = Machine(config, shared / "vm", wanted)
    return config.stash[_MACHINE]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no guest behind."""
    machine = session.config.stash.get(_MACHINE, None)
    if machine is not None:
        machine.close(at_once=bool(session.shouldstop or session.shouldfail))


class _Guest:
    """Inside: hands every report out."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write it at once: the kernel may die in the next test."""
        write_report(self.config, report)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Inside, watch the reports."""
    if IN_GUEST:
        session.config.pluginmanager.register(_Guest(session.config))


@pytest.fixture
def netns() -> Iterator[Bed]:
    """An empty bed, on the guest's kernel; `netns.new()` makes a namespace in it."""
    bed = Bed()
    try:
        yield bed
    finally:
        bed.close()
