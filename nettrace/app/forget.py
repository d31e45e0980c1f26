"""
Forget: one connection is taken out of the kernel's table, because somebody chose it.

Lives here: the plan for it, and applying it, in the journal like every change.  There is no goal
to prove and no undo: the next packet makes a new entry.
Not here: repairs of findings (nettrace.app.repair).
"""

import hashlib

import msgspec

from nettrace.app.context import Context
from nettrace.app.repair import journal
from nettrace.apply.repair import apply_plan
from nettrace.model.canonical import digest
from nettrace.model.change import ConntrackDelete
from nettrace.model.errors import UserError
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet, PortRange
from nettrace.model.plan import JournalEntry, PlannedChange, Precondition, RepairPlan
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.undo import undo_of
from nettrace.render.command import command

__all__ = ["BY_HAND", "forget", "plan_to_forget"]

#: What stands in the journal instead of a cause.
BY_HAND = "connection-deleted-by-hand"


def plan_to_forget(snapshot: Snapshot, label: str, netns: str, entry: ConntrackEntry) -> RepairPlan:
    """Plan the deletion of one connection of *snapshot*; ValueError if it does not have it."""
    change = ConntrackDelete(netns=netns, entry=entry)
    planned = PlannedChange(
        node=snapshot.namespaces[netns].node,
        netns=netns,
        change=change,
        command=command(change),
        undo=undo_of(snapshot, change),
    )
    key = SectionKey(netns, "conntrack")
    first = entry.original
    packet = Packet(
        src=first.src,
        dst=first.dst,
        proto=entry.proto,
        sport=PortRange(first.sport, first.sport) if first.sport is not None else None,
        dport=PortRange(first.dport, first.dport) if first.dport is not None else None,
    )
    body = msgspec.json.encode([label, change], order="deterministic")
    return RepairPlan(
        id=hashlib.sha256(body).hexdigest()[:8],
        cause=BY_HAND,
        context=label,
        flow=Flow(
            origin=Origin(netns=netns),
            packet=packet,
            source=ObjectRef(kind="ip", name=first.src),
            target=ObjectRef(kind="ip", name=first.dst),
        ),
        changes=(planned,),
        preconditions=(Precondition(key=key, digest=digest(key, snapshot.section(key))),),
        safety=Safety.GUARDED,
        owner="the kernel, for the connection's packets",
    )


def forget(context: Context, plan: RepairPlan) -> JournalEntry:
    """
    Apply a plan of ``plan_to_forget``; whoever calls this has the user's consent.

    The table of connections changes all the time: what has to be as it was is the entry only.
    UserError if the connection is gone, and on a source that is not live.
    """
    if not context.live:
        raise UserError("a snapshot file has no connections to delete", hint="run it on the node, or --lab")
    change = plan.changes[0].change
    if not isinstance(change, ConntrackDelete):
        raise TypeError(f"not a plan to forget: {change!r}")
    key = SectionKey(change.netns, "conntrack")
    context.read([key])
    section = context.snapshot.section(key)
    held = section.value if isinstance(section, Known) else ()
    gone = change.entry
    if not any(
        (one.proto, one.zone, one.original, one.reply) == (gone.proto, gone.zone, gone.original, gone.reply)
        for one in held
    ):
        raise UserError("the connection is gone by itself", where=change.netns)
    return apply_plan(plan, {change.netns: context.path(change.netns)}, journal())
