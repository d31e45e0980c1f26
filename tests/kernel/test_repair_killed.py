"""Repairs that are killed at every step, and what the next start makes of them."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.apply.repair import apply_plan, roll_back
from nettrace.journal import Journal
from nettrace.model.change import (
    Exact,
    LinkSet,
    SysctlSet,
)
from tests.kernel.bed import Bed
from tests.kernel.changing import Node
from tests.kernel.repairs import everything, handles, in_child, killer, lethal, one_write, plan_of


def test_killed_while_applying(node: Node, journal: Journal) -> None:
    """Killed at any step of applying, the next start finds the repair and restores the state before."""
    node.space.sysctl("net.ipv4.conf.br0.forwarding", 1)
    before = node.read()
    plan = plan_of(before, *everything(node))
    at = 0
    while in_child(partial(apply_plan, plan, handles(plan), journal, on_step=killer(at))) == signal.SIGKILL:
        finished = journal.find(plan.id).state == "applied"
        if finished:
            assert journal.recover() == []
            assert roll_back(journal.find(plan.id), journal).state == "undone"
        else:
            (left,) = journal.recover()
            assert roll_back(left, journal).state == "rolled-back"
        assert node.differs(before) == [], f"killed at step {at}"
        assert journal.recover() == []
        at += 1
    assert at == 3 * len(plan.changes) + 2
    assert roll_back(journal.find(plan.id), journal).state == "undone"
    assert node.differs(before) == []


def test_killed_while_rolling_back(node: Node, journal: Journal) -> None:
    """Killed at any step of taking back, doing so again restores the state before."""
    node.space.sysctl("net.ipv4.conf.br0.forwarding", 1)
    before = node.read()
    plan = plan_of(before, *everything(node))
    at, killed = 0, True
    while killed:
        entry = apply_plan(plan, handles(plan), journal)
        killed = in_child(partial(roll_back, entry, journal, on_step=killer(at))) == signal.SIGKILL
        for left in journal.recover():
            roll_back(left, journal)
        assert node.differs(before) == [], f"killed at step {at}"
        at += 1
    assert at - 1 == 2 * len(plan.changes) + 2


def test_killed_inside_one_undo(node: Node, journal: Journal, tmp_path: Path) -> None:
    """Bringing a device back takes several commands; killed after any of them, the rest is done again."""
    before = node.read()
    plan = plan_of(before, LinkSet(netns=node.name, device="br0", attribute="up", value="off"))
    assert isinstance(plan.changes[0].undo, Exact)
    number = len(plan.changes[0].undo.changes)
    assert number > 3
    for nth in range(1, number + 1):
        entry = apply_plan(plan, handles(plan), journal)
        path = lethal(tmp_path / str(nth), "ip", nth)

        def back(entry: Any = entry, path: str = path) -> None:
            os.environ["PATH"] = path
            roll_back(entry, journal)

        assert in_child(back) == signal.SIGKILL
        (left,) = journal.recover()
        assert roll_back(left, journal).state == "rolled-back"
        assert node.differs(before) == [], f"killed after command {nth}"


def test_a_tool_that_outlives_its_nettrace_is_waited_for(
    node: Node, journal: Journal, tmp_path: Path
) -> None:
    """The command of a killed process may still run: recovery waits for it, and so misses nothing."""
    before = node.read()
    plan = plan_of(before, SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"))
    path = lethal(tmp_path / "slow", "sysctl", 1, wait=1.0)

    def run() -> None:
        os.environ["PATH"] = path
        apply_plan(plan, handles(plan), journal)

    started = time.monotonic()
    assert in_child(run) == signal.SIGKILL
    (left,) = journal.recover()
    assert time.monotonic() - started > 1.0
    roll_back(left, journal)
    assert node.differs(before) == []
    time.sleep(0.5)
    assert node.differs(before) == []


def test_an_interruption_takes_everything_back(node: Node, journal: Journal) -> None:
    """Ctrl-C right after a change leaves the node as it was."""
    before = node.read()
    plan = plan_of(before, *everything(node))

    def interrupt(step: str) -> None:
        if step == "applied 4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_plan(plan, handles(plan), journal, on_step=interrupt)
    assert node.differs(before) == []
    assert journal.find(plan.id).state == "rolled-back"


def test_after_a_restart_of_the_machine(netns: Bed, journal: Journal) -> None:
    """A repair of an earlier start of the machine is finished without touching the kernel."""
    space = netns.new()
    plan = one_write(space.name)
    entry = apply_plan(plan, handles(plan), journal)
    with journal.lock():
        journal.mark(replace(entry, boot="another", state="applying"), done=0)
    (left,) = journal.recover()
    assert "started again" in roll_back(left, journal).note
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
