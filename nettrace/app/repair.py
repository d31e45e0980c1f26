"""
Repair: from a finding to a plan, from a plan to a changed node, and back.

Lives here: plan, apply (preconditions, journal, changes, re-walk, re-probe, rollback), undo,
confirm, history.
Not here: single changes (nettrace.apply.kernel), the journal's files (nettrace.journal).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.explain import explain
from nettrace.app.owed import owed_state
from nettrace.app.remember import CONNECTED, Question, recall, state_directory
from nettrace.app.trace import diagnosis_of, probe, walk_of
from nettrace.apply.repair import apply_plan, roll_back
from nettrace.diagnose import diagnose
from nettrace.journal import Journal
from nettrace.journal.book import IN_FORCE, OPEN
from nettrace.model.canonical import digest
from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    Change,
    ConntrackDelete,
    Exact,
    FdbAdd,
    FdbDelete,
    IpsetCreate,
    IpsetDestroy,
    IpsetEntryAdd,
    IpsetEntryDelete,
    IpvsDestAdd,
    IpvsDestDelete,
    IpvsDestSet,
    IpvsServiceAdd,
    IpvsServiceDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    NoUndo,
    Rebuilds,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.errors import UserError
from nettrace.model.finding import Finding, Repair, Safety
from nettrace.model.plan import JournalEntry, PlannedChange, Precondition, RepairPlan
from nettrace.model.report import RepairReport
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.undo import undo_of
from nettrace.model.walk import Outcome, Walk
from nettrace.model.xt import XT_SECTIONS
from nettrace.render.command import command
from nettrace.walk import walk

__all__ = ["apply", "confirm", "history", "load_plan", "plan", "undo"]

#: Real connections made after a repair: enough that a branch of one third is missed only once in 10^4.
PROBES = 24


def journal() -> Journal:
    """Return the journal of this machine."""
    return Journal(state_directory() / "journal")


# --- plan ------------------------------------------------------------------------------


def plan(context: Context, cause: str, *, question: Question | None = None, choice: int = 1) -> RepairPlan:
    """
    Plan the repair of *cause* for the flow last traced on this context, or for *question*.

    *choice* picks among several repairs, from 1.  The flow last traced is looked at with the objects that
    it was traced with, unless *context* was given others.  UserError if the flow has no such finding
    or the finding nothing that nettrace may change.
    """
    explain(context.plugins, cause)  # a word that is no cause's is refused before anything is read
    asked = question or recall(context.label)
    if question is None and asked.objects is not None:
        context.take_objects(asked.objects)
    walked = walk_of(context, asked)
    diagnosis = diagnosis_of(context, walked, connected=asked.goal == CONNECTED)
    finding = _finding(diagnosis.findings, cause, asked, context.label)
    if not finding.repairs:
        raise UserError(
            f"{cause}: nothing on the node is to be changed for this",
            where=finding.where,
            hint="; ".join(finding.notes) or f"nettrace explain {cause}",
        )
    if not 1 <= choice <= len(finding.repairs):
        raise UserError(f"there is no repair {choice} for {cause}", hint=f"it has {len(finding.repairs)}")
    return _planned(
        context.snapshot, context.label, walked, finding, finding.repairs[choice - 1], goal=asked.goal
    )


def _finding(findings: Sequence[Finding], cause: str, asked: Question, label: str) -> Finding:
    for finding in findings:
        if finding.cause == cause:
            return finding
    flow = f"{asked.source} to {asked.target}"
    if not findings:
        raise UserError(
            f"{cause} was not found",
            where=f"{flow} on {label}",
            hint="this flow has no finding: trace the one that fails",
        )
    listed = ", ".join(finding.cause for finding in findings)
    raise UserError(f"{cause} was not found", where=f"{flow} on {label}", hint=f"found: {listed}")


def _planned(
    snapshot: Snapshot, label: str, walked: Walk, finding: Finding, repair: Repair, *, goal: str = ""
) -> RepairPlan:
    """Give each change its command and its inverse, in the state that the changes before it leave."""
    state = snapshot
    planned: list[PlannedChange] = []
    keys: list[SectionKey] = []
    for change in repair.changes:
        undo = undo_of(state, change)
        inverse = tuple(command(back) for back in undo.changes) if isinstance(undo, Exact | Rebuilds) else ()
        node = snapshot.namespaces[change.netns].node
        planned.append(
            PlannedChange(
                node=node,
                netns=change.netns,
                change=change,
                command=command(change),
                undo=undo,
                inverse=inverse,
            )
        )
        keys.append(_touched(change))
        state = edit(state, change)
    unique = tuple(dict.fromkeys(keys))
    body = msgspec.json.encode([label, walked.flow, repair.changes], order="deterministic")
    return RepairPlan(
        id=hashlib.sha256(body).hexdigest()[:8],
        cause=finding.cause,
        context=label,
        flow=walked.flow,
        goal=goal,
        changes=tuple(planned),
        preconditions=tuple(
            Precondition(key=key, digest=digest(key, snapshot.section(key))) for key in unique
        ),
        safety=repair.safety,
        owner=repair.owner,
        overwritten=repair.overwritten,
        lasting=repair.lasting,
        effect=repair.effect,
        checks=finding.notes,
    )


def _touched(change: Change) -> SectionKey:
    """Return the section that a change edits."""
    match change:
        case SysctlSet():
            section = "sysctls"
        case RouteAdd() | RouteDelete():
            section = "routes"
        case LinkSet():
            section = "links"
        case AddressAdd() | AddressDelete():
            section = "addresses"
        case FdbAdd() | FdbDelete():
            section = "fdb"
        case NeighbourAdd() | NeighbourDelete():
            section = "neighbours"
        case IpvsServiceAdd() | IpvsServiceDelete() | IpvsDestAdd() | IpvsDestDelete() | IpvsDestSet():
            section = "ipvs"
        case IpsetCreate() | IpsetDestroy() | IpsetEntryAdd() | IpsetEntryDelete():
            section = "ipsets"
        case ConntrackDelete():
            section = "conntrack"
        case RecentAdd() | RecentDelete():
            section = "recent"
        case _:
            section = f"xt/{change.backend}/{change.table}/{change.chain}"
    return SectionKey(change.netns, section)


def load_plan(path: Path) -> RepairPlan:
    """Read a plan that ``repair plan -o json=FILE`` wrote; UserError if it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RepairPlan)
    except OSError as error:
        raise UserError(f"cannot read the plan: {error.strerror}", where=str(path)) from error
    except msgspec.DecodeError as error:
        raise UserError(
            f"not a repair plan: {error}", where=str(path), hint="make one with `repair plan`"
        ) from error


# --- apply -----------------------------------------------------------------------------


def apply(
    context: Context,
    planned: RepairPlan,
    *,
    confirm_within: float | None = None,
    with_probe: bool = True,
    consent: bool = False,
    on_event: Callable[[str], None] = lambda _: None,
) -> RepairReport:
    """
    Apply a plan, prove it, and take it back if it does not help.

    Refuses (UserError) if the state changed since the plan was made, if the plan is for
    another source, and if a change cannot be undone and *consent* is not given.
    *confirm_within*: seconds until it is undone by a process of its own, unless confirmed.
    """
    _check(context, planned, consent=consent)
    book = journal()
    handles = {change.netns: context.path(change.netns) for change in planned.changes}
    entry = apply_plan(planned, handles, book, confirm_within=confirm_within)
    on_event(f"applied: {entry.id}")
    try:
        report = _prove(context.again(), planned, entry, with_probe=with_probe, on_event=on_event)
    except BaseException as error:
        # Not proven is not kept: whatever stopped the proof, an interrupt or a namespace that went.
        roll_back(entry, book, final="rolled-back", note=f"not proven: {type(error).__name__}")
        raise
    if report.kept:
        return report
    return replace(report, entry=roll_back(entry, book, final="rolled-back", note=report.reason))


#: How a connection ends that joins a neighbour's last solicitation, sent before the change and lost; the
#: next one asks anew (neigh_timer_handler(), net/core/neighbour.c).
_UNASKED = "EHOSTUNREACH"


def _prove(
    context: Context,
    planned: RepairPlan,
    entry: JournalEntry,
    *,
    with_probe: bool,
    on_event: Callable[[str], None],
) -> RepairReport:
    """Walk the plan's flow again and make real connections; ``kept`` says whether both went well."""
    walked, met = _judge(context, planned)
    on_event(f"walked: {walked.outcome.value}")
    if not met:
        reason = f"walked again, the goal is not met: {walked.outcome.value}"
        return RepairReport(entry=entry, kept=False, walk=walked, goal_met=False, reason=reason)
    observed = None
    reason = ""
    if with_probe and planned.flow.origin.device is None:
        observed = probe(context, walked, count=_tries(walked), sport=_pinned(context, planned))
        if walked.outcome is Outcome.CONNECTED and any(a.errno == _UNASKED for a in observed.attempts):
            observed = probe(context, walked, count=_tries(walked), sport=_pinned(context, planned))
        seen = ", ".join(f"{outcome.value} {times}" for outcome, times in sorted(observed.outcomes.items()))
        on_event(f"probed: {seen} of {len(observed.attempts)}")
        bad = sorted({o.value for o in observed.outcomes if o is not Outcome.CONNECTED})
        if bad and walked.outcome is Outcome.CONNECTED:
            reason = f"real connections still end in {', '.join(bad)}"
    return RepairReport(
        entry=entry, kept=not reason, walk=walked, goal_met=met, observed=observed, reason=reason
    )


def _check(context: Context, planned: RepairPlan, *, consent: bool) -> None:
    if not context.live:
        raise UserError(
            "a snapshot file cannot be repaired", where=context.label, hint="run it on the node, or --lab"
        )
    if planned.context != context.label:
        raise UserError(
            f"this plan is for {planned.context}, not for {context.label}",
            hint="name the same source as for the plan",
        )
    if planned.safety is Safety.ADVICE:
        raise UserError(f"{planned.cause} is not nettrace's to change", hint=planned.lasting)
    final = [c for c in planned.changes if isinstance(c.undo, NoUndo)]
    if final and not consent:
        raise UserError(
            f"cannot be undone: {final[0].command}",
            where=final[0].netns,
            hint="--allow-no-undo applies it all the same",
        )
    fresh = context.again()
    for condition in planned.preconditions:
        section = _section(fresh, condition.key)
        if digest(condition.key, section) != condition.digest:
            raise UserError(
                f"{condition.key} has changed since the plan was made",
                where=condition.key.netns,
                hint="plan again: `nettrace repair plan " + planned.cause + "`",
            )


def _section(context: Context, key: SectionKey) -> Any:
    """Read one section, and for a chain the levels above it first."""
    parts = key.name.split("/")
    if parts[0] in XT_SECTIONS:
        context.read([SectionKey(key.netns, "/".join(parts[:2]))])
    context.read([key])
    return context.snapshot.section(key)


def _judge(context: Context, planned: RepairPlan) -> tuple[Walk, bool]:
    """Walk the plan's flow again and hold it against its goal."""
    walked = ask(context, lambda snapshot: walk(snapshot, planned.flow))
    owed = owed_state(context)
    connected = planned.goal == CONNECTED
    judged = ask(
        context, lambda snapshot: diagnose(snapshot, walked, owed=owed, causes=(), connected=connected)
    )
    return walked, judged.met is True


def _tries(walked: Walk) -> int:
    return 3 if len(walked.paths) == 1 else PROBES


def _pinned(context: Context, planned: RepairPlan) -> int | None:
    """Return the source port that was asked for; None for any, and where a socket of somebody has it."""
    packet = planned.flow.packet
    port = packet.sport.single if packet.sport is not None else None
    if port is None:
        return None
    sockets = _section(context, SectionKey(planned.flow.origin.netns, "sockets"))
    held = sockets.value if isinstance(sockets, Known) else ()
    return None if any(one.proto == packet.proto == "udp" and one.port == port for one in held) else port


# --- back ------------------------------------------------------------------------------


def undo(identity: str | None = None, *, label: str | None = None) -> JournalEntry:
    """Take back the repair *identity* (an id or its beginning), or the last of *label* in force."""
    book = journal()
    if identity is not None:
        return roll_back(book.find(identity), book)
    standing = [
        entry
        for entry in book.entries()
        if entry.state in (*IN_FORCE, *OPEN, "failed") and label in (None, entry.plan.context)
    ]
    if not standing:
        where = f" on {label}" if label else ""
        raise UserError(f"there is no repair to undo{where}", hint="nettrace repair history")
    return roll_back(standing[-1], book)


def confirm(identity: str) -> JournalEntry:
    """Keep a repair for good: the rollback that waits for it is called off."""
    return journal().confirm(identity)


def history() -> tuple[JournalEntry, ...]:
    """Return all repairs in the journal, the oldest first."""
    return tuple(journal().entries())
