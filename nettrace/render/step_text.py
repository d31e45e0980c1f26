"""
Steps in lines: what a leg of a walk looks like on a page.

A row stands for one step, or for the rules of one table at one hook that led from chain to
chain without touching the packet.  Steps that every packet takes and that change nothing are
left out unless everything is wanted.
Lives here: rows.  Not here: legs and branches (nettrace.render.walk_text).
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from nettrace.model.step import Stage
from nettrace.render.contract import LegView, StepView
from nettrace.render.packet_text import changes, ends

__all__ = ["Row", "rows"]

#: Targets that end a table's way at a hook or act on the packet; any other word is a chain.
_TARGETS = frozenset(
    (
        *("ACCEPT", "DROP", "REJECT", "RETURN", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "MARK"),
        *("CONNMARK", "CT", "NOTRACK", "LOG", "NFLOG", "TCPMSS"),
    )
)

#: Stages that every packet passes: shown only where they stop or change it.
_PASSING = frozenset({Stage.CONNTRACK, Stage.FORWARD, Stage.NEIGHBOUR, Stage.TRANSMIT, Stage.BRIDGE})

#: kube-proxy's chains end in a hash of 16 characters; its first four tell them apart.
_HASHED = re.compile(r"\b(KUBE-(?:SVC|SVL|SEP|EXT|FW|XLB)-[A-Z2-7]{4})[A-Z2-7]{12}\b")


class Row(Struct, frozen=True, kw_only=True):
    """
    One line of a leg.

    ``mark``: ``x`` where the leg ended without arriving, ``!`` where the fault is.  ``place``
    is a device, a hook or a stage; ``effects`` what happens to the packet; ``ref`` the state
    that decided, for the wide form.
    """

    node: str
    netns: str
    mark: str
    place: str
    text: str
    effects: tuple[str, ...] = ()
    ref: str = ""


def rows(leg: LegView, *, failed: bool, culprit: StepView | None, wide: bool) -> list[Row]:
    """
    Return the rows of a leg, in order.

    *failed* says whether this is the leg that failed; *culprit* is marked if it is in here.
    """
    found: list[Row] = []
    pending: list[StepView] = []  # rules of one table and hook that only led on
    for step in leg.steps:
        mark = "x" if step.stops and failed else "!" if step is culprit else ""
        if wide:
            found.append(_single(step, mark, wide=True))
            continue
        if pending and not _same_table(pending[-1], step):
            found.append(_chain_row(pending, ""))
            pending = []
        if step.stage is Stage.HOOK and step.table is not None:
            if _boring_policy(step) and not mark and not pending:
                continue
            pending.append(step)
            if mark or _ends_row(step):
                found.append(_chain_row(pending, mark))
                pending = []
        elif mark or not _quiet(step):
            found.append(_single(step, mark, wide=False))
    if pending:
        found.append(_chain_row(pending, ""))
    return found


def _same_table(one: StepView, other: StepView) -> bool:
    return (one.netns, one.hook, one.backend, one.table) == (
        other.netns,
        other.hook,
        other.backend,
        other.table,
    )


def _boring_policy(step: StepView) -> bool:
    """Is this the end of a base chain that lets the packet pass?"""
    return not step.rule and step.verdict.lower() in ("policy accept", "accept", "continue")


def _ends_row(step: StepView) -> bool:
    """Does this rule do something, beside leading to another chain or back?"""
    if step.stops or changes(step.before, step.after):
        return True
    word = step.verdict.split()[0] if step.verdict else ""
    return word in _TARGETS - {"RETURN", "LOG", "NFLOG"} or word == "policy"


def _quiet(step: StepView) -> bool:
    return step.stage in _PASSING and not step.stops and not changes(step.before, step.after)


def _chain_row(steps: Sequence[StepView], mark: str) -> Row:
    """Make one row of rules: ``nat  KUBE-SERVICES 7 > KUBE-NODEPORTS 1  MARK``."""
    last = steps[-1]
    path = []
    for step in steps:
        built_in = step.chain is not None and step.chain.lower() == step.hook
        if built_in and step is not last:
            continue  # the hook's own chain goes without saying when it only leads on
        name = "" if built_in else _short(step.chain or "")
        number = "" if not step.rule else str(step.rule) if name else f"rule {step.rule}"
        words = " ".join(part for part in (name, number) if part)
        if step.note and step is not last:
            words += f" ({step.note})"
        if words:
            path.append(words)
    verdict = last.verdict
    if not _is_jump(verdict) or last.stops:
        path.append(verdict if not path else "")
        said = " > ".join(part for part in path if part)
        text = said if said == verdict else f"{said}  {_short(verdict)}"
    else:
        text = " > ".join([*path, _short(verdict.split()[-1])])
    if last.note:
        text += f"  ({last.note})"
    return Row(
        node=last.node,
        netns=last.netns,
        mark=mark,
        place=(last.hook or "").upper(),
        text=f"{last.table}  {text}" + ("  (legacy)" if last.backend == "legacy" else ""),
        effects=changes(steps[0].before, last.after),
    )


def _is_jump(verdict: str) -> bool:
    words = verdict.split()
    return bool(words) and words[0] not in _TARGETS and words[0] != "policy" and words[-1].isupper()


def _short(name: str) -> str:
    return _HASHED.sub(r"\1", name)


def _single(step: StepView, mark: str, *, wide: bool) -> Row:
    """Make the row of one step."""
    effects: tuple[str, ...] = changes(step.before, step.after, wide=wide)
    packet = step.after or step.before
    if step.stage is Stage.SEND and packet is not None:
        effects = (ends(packet),)
    place = {Stage.ROUTE: "route", Stage.CONNTRACK: "conntrack", Stage.FORWARD: "forward"}.get(step.stage)
    if step.stage is Stage.HOOK:
        place = (step.hook or "").upper()
    return Row(
        node=step.node,
        netns=step.netns,
        mark=mark,
        place=place or step.device or step.stage.value,
        text=_words(step, wide=wide),
        effects=effects,
        # a rule's place is its words already
        ref=step.why.ref if step.why is not None and step.chain is None else "",
    )


def _words(step: StepView, *, wide: bool) -> str:
    """Say what happens at a step that is not one of several rules."""
    why = step.why.text if step.why is not None else ""
    rule = " ".join(
        str(part) for part in (step.backend, step.table, step.chain, step.rule) if part is not None
    )
    plain = {Stage.SEND: "leaves", Stage.RECEIVE: "arrives", Stage.TRANSMIT: "sent"}.get(step.stage)
    if plain is not None and step.verdict in ("accept", "ok", "", plain) and not step.stops:
        said = [plain, step.note]
    elif step.stage is Stage.ROUTE and not step.stops:
        said = [why or step.verdict, step.note]
    elif step.stage is Stage.HOOK:
        said = [rule, step.verdict, step.note]
        if wide and why:
            said.append(why)
    else:
        said = [step.verdict, step.note, why]
    return "  ".join(dict.fromkeys(part for part in said if part))
