"""Plans into real namespaces and back, killed at every step."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from nettrace.apply.confirm import arm
from nettrace.apply.repair import apply_plan, roll_back
from nettrace.apply.tool import Refused
from nettrace.journal import Journal
from nettrace.model.change import (
    ChainSet,
    Change,
    Exact,
    FdbAdd,
    LinkSet,
    NeighbourDelete,
    PolicySet,
    Rebuilds,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.errors import UserError
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.links import FdbEntry, Neighbour
from nettrace.model.packet import Packet
from nettrace.model.plan import PlannedChange, RepairPlan
from nettrace.model.routes import NextHop, Route
from nettrace.model.snapshot import Snapshot
from nettrace.model.undo import undo_of
from nettrace.render.command import command
from tests.kernel.bed import Bed, eventually
from tests.kernel.changing import DNAT, DROP, JUMP, Node

STATIC = Route(dst="10.50.0.0/16", nexthops=(NextHop(device="br0", via="10.1.0.2"),), protocol="static")


@pytest.fixture
def node(netns: Bed) -> Node:
    """A node to be repaired."""
    return Node(netns)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty journal."""
    return Journal(tmp_path / "journal")


def plan_of(before: Snapshot, *changes: Change) -> RepairPlan:
    """A plan of these changes, each with its undo in the state that those before it leave."""
    planned, state = [], before
    for change in changes:
        undo = undo_of(state, change)
        inverse = tuple(map(command, undo.changes)) if isinstance(undo, Exact | Rebuilds) else ()
        planned.append(
            PlannedChange(
                node="n",
                netns=change.netns,
                change=change,
                command=command(change),
                undo=undo,
                inverse=inverse,
            )
        )
        state = edit(state, change)
    flow = Flow(
        origin=Origin(netns="n"),
        packet=Packet(src="", dst="10.0.0.1", proto="tcp"),
        source=ObjectRef(kind="netns", name="n"),
        target=ObjectRef(kind="ip", name="10.0.0.1"),
    )
    return RepairPlan(
        id="0badcafe",
        cause="test",
        context="here",
        flow=flow,
        changes=tuple(planned),
        preconditions=(),
        safety=Safety.AUTO,
    )


def handles(plan: RepairPlan) -> dict[str, str]:
    """How this machine reaches the namespaces of a plan."""
    return {planned.netns: f"/run/netns/{planned.netns}" for planned in plan.changes}


def everything(node: Node) -> tuple[Change, ...]:
    """Changes of every kind that are hard to take back: twin rules, a device, a switch of many."""
    chain: dict[str, Any] = {"netns": node.name, "backend": "nft", "table": "filter", "chain": "FORWARD"}
    nat: dict[str, Any] = {"netns": node.name, "backend": "legacy", "table": "nat", "chain": "OUTPUT"}
    return (
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
        RuleInsert(**chain, position=2, rule=DROP),  # its twin stands there already
        RuleDelete(**chain, position=5, rule=DROP),  # and another one here
        RuleReplace(**chain, position=3, old=DROP, rule=JUMP),
        RuleInsert(**nat, position=1, rule=DNAT),
        ChainSet(netns=node.name, backend="nft", table="filter", chain="NEW", rules=(DROP,)),
        RouteAdd(netns=node.name, route=replace(STATIC, prefsrc="10.1.0.9"), replaces=STATIC),
        NeighbourDelete(
            netns=node.name,
            entry=Neighbour(device="br0", address="10.1.0.7", mac="02:00:00:00:00:07", state="permanent"),
        ),
        FdbAdd(
            netns=node.name,
            entry=FdbEntry(device="flannel.1", mac="02:00:00:00:01:09", dst="10.2.0.2", static=True),
        ),
        LinkSet(netns=node.name, device="br0", attribute="up", value="off"),
    )


def in_child(call: Callable[[], object]) -> int:
    """Run *call* in a process of its own; returns the number of the signal that killed it, 0 if none did."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            call()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) * -1


def killer(at: int) -> Callable[[str], None]:
    """A listener to steps that ends its own process at step number *at*, from 0, as a crash would."""
    steps = iter(range(10**6))

    def on_step(_: str) -> None:
        if next(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_step


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


def lethal(directory: Path, tool: str, nth: int, *, wait: float | None = None) -> str:
    """
    Make a PATH in which the *nth* call of *tool* kills whoever started it, and return it.

    After the tool has done its work; with *wait*, that many seconds before it does.
    """
    directory.mkdir()
    count = directory / "count"
    count.write_text("0")
    real = next(path for path in (Path("/usr/sbin", tool), Path("/sbin", tool)) if path.exists())
    strike = (
        f'kill -9 $PPID; sleep {wait}; exec {real} "$@"' if wait else f'{real} "$@"; kill -9 $PPID; exit 0'
    )
    script = directory / tool
    script.write_text(
        f"#!/bin/sh\nn=$(($(cat {count}) + 1))\necho $n > {count}\nif [ $n -eq {nth} ]; then {strike}; fi\n"
        f'exec {real} "$@"\n'
    )
    script.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


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


def test_a_refused_change_takes_those_before_it_back(node: Node, journal: Journal) -> None:
    """If one change is refused, nothing of the plan stays, and what was there already is not touched."""
    before = node.read()
    route = Route(dst="10.60.0.0/16", nexthops=(NextHop(device="br0", via="10.1.0.2"),))
    plan = plan_of(
        before,
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
        RouteAdd(netns=node.name, route=route),
    )
    node.space.ip("route add 10.60.0.0/16 via 10.1.0.2")  # somebody was quicker
    now = node.read()
    with pytest.raises(Refused, match="File exists"):
        apply_plan(plan, handles(plan), journal)
    assert node.differs(now) == []
    entry = journal.find(plan.id)
    assert entry.state == "rolled-back"
    assert "File exists" in entry.note


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


def test_somebody_else_changed_the_chain(node: Node, journal: Journal) -> None:
    """If others changed the chain meanwhile, our rule is taken back and theirs stay."""
    before = node.read()
    place: dict[str, Any] = {"netns": node.name, "backend": "nft", "table": "filter", "chain": "FORWARD"}
    plan = plan_of(
        before,
        RuleInsert(**place, position=2, rule=DNAT_FILTER),
        RuleDelete(**place, position=5, rule=DROP),
        RuleReplace(**place, position=3, old=DROP, rule=JUMP),
    )
    entry = apply_plan(plan, handles(plan), journal)
    node.space.run("iptables-nft", "-I", "FORWARD", "1", "-s", "192.0.2.1", "-j", "ACCEPT")
    entry = roll_back(entry, journal)
    assert entry.state == "undone"
    assert "somebody else changed chain FORWARD" in entry.note
    rules = node.space.run("iptables-nft", "-S", "FORWARD").splitlines()[1:]
    assert rules == [
        "-A FORWARD -s 192.0.2.1/32 -j ACCEPT",
        "-A FORWARD -j USED",
        "-A FORWARD -s 10.9.0.0/16 -j DROP",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -s 10.9.0.0/16 -j DROP",
    ]


DNAT_FILTER = replace(DNAT, target=DROP.target)


def test_a_policy_in_two_namespaces(node: Node, journal: Journal) -> None:
    """A plan may change several namespaces; each is restored."""
    before = node.read()
    plan = plan_of(
        before,
        PolicySet(netns=node.name, backend="nft", table="filter", chain="FORWARD", policy="DROP"),
        SysctlSet(netns=node.pod.name, name="net.ipv4.conf.eth0.rp_filter", value="1"),
        RouteDelete(netns=node.name, route=STATIC),
    )
    entry = apply_plan(plan, handles(plan), journal)
    assert node.differs(before) != []
    roll_back(entry, journal)
    assert node.differs(before) == []
    with pytest.raises(UserError, match="undone already"):
        roll_back(entry, journal)


def test_what_is_gone_needs_no_way_back(netns: Bed, node: Node, journal: Journal) -> None:
    """State that went with its device or its namespace is said to be gone, and the rest is restored."""
    plan = plan_of(
        node.read(),
        SysctlSet(netns=node.name, name="net.ipv4.conf.v1.rp_filter", value="1"),
        LinkSet(netns=node.name, device="v1", attribute="mtu", value="1400"),
        SysctlSet(netns=node.pod.name, name="net.ipv4.ip_forward", value="1"),
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
    )
    entry = apply_plan(plan, handles(plan), journal)
    netns.delete(node.pod)
    eventually(lambda: "v1" not in node.space.ip("link show"))
    entry = roll_back(entry, journal)
    assert entry.state == "undone"
    assert f"namespace {node.pod.name} is gone" in entry.note
    assert "device v1 is gone" in entry.note
    assert node.space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def test_another_namespace_of_the_same_name_is_not_touched(netns: Bed, journal: Journal) -> None:
    """A namespace that took the name of one that was changed is left alone."""
    space = netns.new()
    changed = SysctlSet(netns=space.name, name="net.ipv4.ip_forward", value="1")
    planned = PlannedChange(
        node="n",
        netns=space.name,
        change=changed,
        command=command(changed),
        undo=Exact((replace(changed, value="0"),)),
    )
    plan = replace(plan_of(Snapshot()), changes=(planned,))
    entry = apply_plan(plan, handles(plan), journal)
    keep = os.open(space.path, os.O_RDONLY)  # the old one lives on, so that its inode is not used again
    try:
        netns.delete(space)
        again = netns.new()
        assert again.path == space.path
        again.sysctl("net.ipv4.ip_forward", 1)
        entry = roll_back(entry, journal)
    finally:
        os.close(keep)
    assert "gone" in entry.note
    assert again.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


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


def test_what_has_no_undo_is_said(node: Node, journal: Journal) -> None:
    """A change without an undo stays, and the journal says so."""
    node.space.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev br0 nud stale")
    entry = next(n for n in node.section("neighbours") if n.address == "10.1.0.2")
    plan = plan_of(node.read(), NeighbourDelete(netns=node.name, entry=entry))
    done = roll_back(apply_plan(plan, handles(plan), journal), journal)
    assert "not taken back: ip neigh del 10.1.0.2" in done.note


def test_one_at_a_time(netns: Bed, journal: Journal) -> None:
    """While one nettrace repairs, another is refused with the process that does."""
    space = netns.new()
    plan = one_write(space.name)
    with journal.lock(), pytest.raises(UserError, match=f"process {os.getpid()}") as refused:
        Journal(journal.directory).lock(wait=0).__enter__()
    assert "wait" in refused.value.hint
    with journal.lock():
        assert journal.recover() == []
    apply_plan(plan, handles(plan), journal)


def test_nothing_new_before_the_old_is_settled(netns: Bed, journal: Journal) -> None:
    """A repair is refused while another one lies half done in the journal."""
    space = netns.new()
    plan = one_write(space.name)
    assert in_child(lambda: apply_plan(plan, handles(plan), journal, on_step=killer(1))) == signal.SIGKILL
    with pytest.raises(UserError, match="left in the middle") as refused:
        apply_plan(plan, handles(plan), journal)
    assert "repair undo 0badcafe" in refused.value.hint


def test_a_rollback_that_fails_can_be_tried_again(node: Node, journal: Journal) -> None:
    """What cannot be taken back is kept as failed, the rest is restored, and a second try finishes."""
    before = node.read()
    place: dict[str, Any] = {"netns": node.name, "backend": "nft", "table": "filter"}
    plan = plan_of(
        before,
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
        ChainSet(**place, chain="NEW", rules=(DROP,)),
    )
    entry = apply_plan(plan, handles(plan), journal)
    node.space.run("iptables-nft", "-A", "INPUT", "-j", "NEW")  # now it cannot be deleted
    with pytest.raises(UserError, match="could not be taken back whole") as refused:
        roll_back(entry, journal)
    assert "repair undo 0badcafe" in refused.value.hint
    failed = journal.find(plan.id)
    assert failed.state == "failed"
    assert node.section("sysctls")["net.ipv4.ip_forward"] == "0"
    node.space.run("iptables-nft", "-D", "INPUT", "-j", "NEW")
    assert roll_back(failed, journal).state == "rolled-back"
    assert node.differs(before) == []


def test_a_full_disk_does_not_keep_the_node_changed(
    node: Node, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the journal cannot be written any more, what was done is taken back all the same."""
    before = node.read()
    plan = plan_of(before, *everything(node))
    full = UserError("cannot write the journal: no space left on device")

    def fill(step: str) -> None:
        if step == "applied 6":
            monkeypatch.setattr("nettrace.journal.book.write_entry", Mock(side_effect=full))

    with pytest.raises(UserError, match="no space left"):
        apply_plan(plan, handles(plan), journal, on_step=fill)
    assert node.differs(before) == []
    monkeypatch.undo()
    (left,) = journal.recover()  # its file still says so; taking back again does no harm
    roll_back(left, journal)
    assert node.differs(before) == []


# --- the timer -------------------------------------------------------------------------


def one_write(name: str) -> RepairPlan:
    """A plan that turns forwarding on in a namespace where it is off."""
    change = SysctlSet(netns=name, name="net.ipv4.ip_forward", value="1")
    undo = Exact((replace(change, value="0"),))
    planned = PlannedChange(node="n", netns=name, change=change, command=command(change), undo=undo)
    return replace(plan_of(Snapshot()), changes=(planned,))


def timers(journal: Journal) -> list[int]:
    """The processes that wait for a repair of this journal."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"nettrace.apply.timer" in words and str(journal.directory).encode() in words:
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def timed(journal: Journal) -> Iterator[Journal]:
    """A journal whose timers are ended with the test."""
    yield journal
    for pid in timers(journal):
        os.kill(pid, signal.SIGKILL)


def test_not_confirmed_in_time(netns: Bed, timed: Journal) -> None:
    """A repair that nobody confirms is taken back, although the process that made it was killed."""
    space = netns.new()
    plan = one_write(space.name)

    def run() -> None:
        apply_plan(plan, handles(plan), timed, confirm_within=2.0)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(run) == signal.SIGKILL
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    assert timed.find(plan.id).state == "applied"
    assert len(timers(timed)) == 1
    eventually(lambda: timed.find(plan.id).state == "rolled-back", 10)
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    assert timed.find(plan.id).note == "not confirmed in time"
    eventually(lambda: not timers(timed))


def test_killed_between_arming_and_the_end(node: Node, timed: Journal) -> None:
    """The timer stands before the first change: killed right after that, nobody needs to come back."""
    before = node.read()
    plan = plan_of(before, *everything(node))

    def run() -> None:
        apply_plan(plan, handles(plan), timed, confirm_within=1.0, on_step=killer(12))

    assert in_child(run) == signal.SIGKILL
    eventually(lambda: timed.find(plan.id).state == "rolled-back", 15)
    assert node.differs(before) == []


def test_confirmed(netns: Bed, timed: Journal) -> None:
    """A confirmed repair stays, and its timer ends."""
    space = netns.new()
    plan = one_write(space.name)
    entry = arm(apply_plan(plan, handles(plan), timed), timed, 1.5)
    assert entry.deadline is not None
    assert abs(entry.deadline - time.time() - 1.5) < 5
    assert timed.confirm(plan.id).state == "confirmed"
    eventually(lambda: not timers(timed))
    time.sleep(1.5)
    assert timed.find(plan.id).state == "confirmed"
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


def test_undone_before_the_deadline(netns: Bed, timed: Journal) -> None:
    """A timer whose repair was taken back by hand ends without doing anything; it is too late to confirm."""
    space = netns.new()
    plan = one_write(space.name)
    entry = apply_plan(plan, handles(plan), timed, confirm_within=30)
    roll_back(entry, timed)
    eventually(lambda: not timers(timed))
    with pytest.raises(UserError, match="undone, so there is nothing to confirm"):
        timed.confirm(plan.id)


def test_hangup_does_not_end_the_timer(netns: Bed, timed: Journal) -> None:
    """The timer is in a session of its own, a child of init, and ignores the end of the terminal."""
    space = netns.new()
    plan = one_write(space.name)
    apply_plan(plan, handles(plan), timed, confirm_within=60)
    (pid,) = timers(timed)
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    for number in (signal.SIGHUP, signal.SIGINT):
        os.kill(pid, number)
    time.sleep(0.3)
    assert timers(timed) == [pid]
    assert not [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if ".lock" in str(fd.readlink())]
    timed.confirm(plan.id)
    eventually(lambda: not timers(timed))


def test_a_timer_that_was_killed(netns: Bed, timed: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the timer itself is killed, the next start after the deadline takes the repair back."""
    space = netns.new()
    plan = one_write(space.name)
    apply_plan(plan, handles(plan), timed, confirm_within=60)
    (pid,) = timers(timed)
    os.kill(pid, signal.SIGKILL)
    assert timed.recover() == []
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)
    (late,) = timed.recover()
    roll_back(late, timed, final="rolled-back")
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def test_a_timer_that_does_not_start(netns: Bed, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a timer nothing is changed."""
    space = netns.new()
    plan = one_write(space.name)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(UserError, match="could not be started"):
        apply_plan(plan, handles(plan), journal, confirm_within=60)
    assert space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    assert journal.find(plan.id).state == "rolled-back"
