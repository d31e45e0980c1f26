"""
Repairs of a node, and processes that are killed while they make them.

Lives here: plans, and ways to die at a chosen step.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from nettrace.model.change import (
    ChainSet,
    Change,
    Exact,
    FdbAdd,
    LinkSet,
    NeighbourDelete,
    Rebuilds,
    RouteAdd,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.links import FdbEntry, Neighbour
from nettrace.model.packet import Packet
from nettrace.model.plan import PlannedChange, RepairPlan
from nettrace.model.routes import NextHop, Route
from nettrace.model.snapshot import Snapshot
from nettrace.model.undo import undo_of
from nettrace.render.command import command
from tests.kernel.changing import DNAT, DROP, JUMP, Node

STATIC = Route(dst="10.50.0.0/16", nexthops=(NextHop(device="br0", via="10.1.0.2"),), protocol="static")


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


def one_write(name: str) -> RepairPlan:
    """A plan that turns forwarding on in a namespace where it is off."""
    change = SysctlSet(netns=name, name="net.ipv4.ip_forward", value="1")
    undo = Exact((replace(change, value="0"),))
    planned = PlannedChange(node="n", netns=name, change=change, command=command(change), undo=undo)
    return replace(plan_of(Snapshot()), changes=(planned,))
