"""
Steps in lines: what a leg of a walk looks like on a page.

A row stands for one step, or for the rules of one table at one hook that led from chain to
chain until one of them did something.  What every packet passes without being touched is
left out unless everything is wanted: chains that end in their policy ACCEPT, neighbours that
are known, namespaces that only bridge.
Lives here: rows.  Not here: legs (nettrace.render.leg_text), branches (nettrace.render.walk_text).
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from nettrace.model.step import Stage
from nettrace.render.contract_walk import LegView, PacketView, StepView
from nettrace.render.packet_text import changes, ends, inner_ends

__all__ = ["Row", "rows"]

#: Targets that end a table's way at a hook or act on the packet; any other word is a chain.
_TARGETS = frozenset(
    (
        *("ACCEPT", "DROP", "REJECT", "RETURN", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "MARK"),
        *("CONNMARK", "CT", "NOTRACK", "LOG", "NFLOG", "TCPMSS"),
    )
)

#: Rules of these targets are followed by the conntrack step that does what they ask for.
_NAT = frozenset({"DNAT", "SNAT", "MASQUERADE", "REDIRECT"})

#: Stages that every packet passes: shown only where they stop or change it.
_PASSING = frozenset({Stage.CONNTRACK, Stage.FORWARD, Stage.NEIGHBOUR, Stage.TRANSMIT, Stage.BRIDGE})

#: What a switch does with a frame.
_SWITCHING = frozenset({Stage.RECEIVE, Stage.BRIDGE, Stage.TRANSMIT})

#: kube-proxy's chains end in a hash of 16 characters; its first four tell them apart.
_HASHED = re.compile(r"\b(KUBE-(?:SVC|SVL|SEP|EXT|FW|XLB)-[A-Z2-7]{4})[A-Z2-7]{12}\b")


#: xt_statistic's random mode, as iptables-save writes it.
_PROBABILITY = re.compile(r"--mode random --probability ([0-9.]+)")


class Row(Struct, frozen=True, kw_only=True):
    """
    One line of a leg.

    ``mark``: ``x`` where the leg ended without arriving, ``!`` where the fault is
    (``is_culprit``, which may be the same step).  ``place`` is a device, a hook or a stage;
    ``effects`` what happens to the packet; ``ref`` the state that decided, for the wide form.
    ``seen``: did a real packet do so?  None where nobody looked or nothing is to be seen.
    ``steps`` are the steps that the row stands for, the deciding one last.
    """

    node: str
    netns: str
    mark: str
    place: str
    text: str
    effects: tuple[str, ...] = ()
    ref: str = ""
    is_culprit: bool = False
    seen: bool | None = None
    steps: tuple[StepView, ...] = ()


def rows(
    leg: LegView,
    *,
    failed: bool,
    culprit: StepView | None,
    wide: bool,
    checked: Sequence[bool | None] = (),
) -> list[Row]:
    """
    Return the rows of a leg, in order.

    *failed* says whether this is the leg that failed; *culprit* is marked if it is in here.
    *checked* tells of each step whether a real packet took it.
    """
    by_step = {id(step): seen for step, seen in zip(leg.steps, checked, strict=False)}

    def mark(step: StepView) -> str:
        return "x" if step.stops and failed else "!" if step is culprit else ""

    def is_it(row: Row, step: StepView) -> Row:
        return replace(row, is_culprit=True) if step is culprit else row

    if wide:
        return [
            replace(
                is_it(_single(step, mark(step), _next_device(leg.steps, index), wide=True), step),
                seen=by_step.get(id(step)),
            )
            for index, step in enumerate(leg.steps)
        ]
    told = _Telling(by_step)
    for index, step in enumerate(leg.steps):
        if _only_switched(leg.steps, index, culprit):
            continue
        told.take(step, mark(step), _next_device(leg.steps, index))
        if step is culprit and told.rows:
            told.rows[-1] = is_it(told.rows[-1], step)
    told.close()
    return told.rows


class _Telling:
    """The rows so far, and the rules of one table and hook that only led on."""

    def __init__(self, checked: Mapping[int, bool | None]) -> None:
        self.rows: list[Row] = []
        self._checked = checked  # by the id of the step
        self._pending: list[StepView] = []
        self._last: StepView | None = None  # the step before

    def take(self, step: StepView, mark: str, device: str) -> None:
        """Tell one more step."""
        before, self._last = self._last, step
        if self._pending and not _same_table(self._pending[-1], step):
            self.close()
        if step.stage is Stage.HOOK and step.table is not None:
            self._rule(step, mark)
        elif not mark and _does_what_was_asked(before, step):
            row = self.rows[-1]
            seen = _together((row.seen, self._checked.get(id(step))))
            self.rows[-1] = replace(row, effects=changes(step.before, step.after), seen=seen)
        elif not mark and _says_nothing(before, step):
            return
        else:
            row = _single(step, mark, device, wide=False)
            self.rows.append(replace(row, seen=self._checked.get(id(step))))

    def _rule(self, step: StepView, mark: str) -> None:
        chains = [one.chain for one in self._pending]
        if step.chain in chains:  # back from the chains that were called since
            del self._pending[chains.index(step.chain) :]
        self._pending.append(step)
        if mark or _acts(step):
            seen = _together([self._checked.get(id(one)) for one in self._pending])
            self.rows.append(replace(_chain_row(self._pending, mark), seen=seen))
            self._pending = []
        elif _passes(step):
            self._pending = []

    def close(self) -> None:
        """Drop the rules that led to nothing."""
        self._pending = []


def _together(seen: Sequence[bool | None]) -> bool | None:
    """Was all of it seen, or was something else; None if nothing of it is to be seen."""
    return False if False in seen else True if True in seen else None


def _same_table(one: StepView, other: StepView) -> bool:
    return (one.netns, one.hook, one.backend, one.table) == (
        other.netns,
        other.hook,
        other.backend,
        other.table,
    )


def _passes(step: StepView) -> bool:
    """Is this the end of a base chain that lets the packet pass?"""
    return not step.rule and step.verdict.lower() == "policy accept"


def _acts(step: StepView) -> bool:
    """Does this rule do something, beside leading to another chain or back?"""
    if step.stops or changes(step.before, step.after):
        return True
    word = step.verdict.split()[0] if step.verdict else ""
    return word in _TARGETS - {"RETURN", "LOG", "NFLOG"} or (word == "policy" and not _passes(step))


def _does_what_was_asked(before: StepView | None, step: StepView) -> bool:
    """Is this the conntrack step that carries out the NAT rule before it?"""
    return (
        step.stage is Stage.CONNTRACK
        and not step.stops
        and before is not None
        and before.table == "nat"
        and before.verdict.split()[:1] != []
        and before.verdict.split()[0] in _NAT
        and (before.netns, before.hook) == (step.netns, step.hook)
    )


def _says_nothing(before: StepView | None, step: StepView) -> bool:
    """Is this a step that every packet takes, and that did nothing to this one?"""
    if step.stops:
        return False
    if step.stage in _PASSING:
        return not changes(step.before, step.after) or step.stage is Stage.FORWARD
    if step.stage is Stage.ROUTE:
        return step.verdict == "local"  # said by the delivery, or by the tunnel that takes it
    # a packet out of a tunnel arrives at the tunnel's device, as the tunnel's row says
    return step.stage is Stage.RECEIVE and before is not None and before.stage is Stage.TUNNEL


def _only_switched(steps: Sequence[StepView], index: int, culprit: StepView | None) -> bool:
    """Does the namespace of this step do nothing but pass the frame on, as a switch does?"""
    first = last = index
    while first > 0 and steps[first - 1].netns == steps[index].netns:
        first -= 1
    while last + 1 < len(steps) and steps[last + 1].netns == steps[index].netns:
        last += 1
    visit = steps[first : last + 1]
    return (
        first > 0
        and last + 1 < len(steps)
        and any(step.stage is Stage.BRIDGE for step in visit)
        and all(step.stage in _SWITCHING and not step.stops and step is not culprit for step in visit)
    )


def _next_device(steps: Sequence[StepView], index: int) -> str:
    """Return the device by which a packet that is sent here leaves."""
    here = steps[index].netns
    for step in steps[index:]:
        if step.netns != here:
            break
        if step.device and step.stage in (Stage.ROUTE, Stage.TRANSMIT):
            return step.device
    return steps[index].device or ""


def _chain_row(steps: Sequence[StepView], mark: str) -> Row:
    """Make one row of rules: ``nat  KUBE-SERVICES 7 > KUBE-MARK-MASQ 1  MARK``."""
    last = steps[-1]
    path = []
    for step in steps:
        built_in = step.chain is not None and step.chain.lower() == step.hook
        if built_in and step is not last:
            continue  # the hook's own chain goes without saying when it only leads on
        name = "" if built_in else _short(step.chain or "")
        number = "" if not step.rule else str(step.rule) if name else f"rule {step.rule}"
        path.append(" ".join(part for part in (name, number, _drawn(step)) if part))
    if _is_jump(last.verdict) and not last.stops:
        text = " > ".join([*(part for part in path if part), _short(last.verdict.split()[-1])])
    else:
        text = "  ".join(part for part in (" > ".join(part for part in path if part), last.verdict) if part)
    effects = changes(steps[0].before, last.after)
    if last.note and not effects and last.verdict not in _NAT:
        text += f"  ({last.note})"
    return Row(
        node=last.node,
        netns=last.netns,
        mark=mark,
        place=(last.hook or "").upper(),
        text=f"{last.table}  {text}" + ("  (legacy)" if last.backend == "legacy" else ""),
        effects=effects,
        steps=tuple(steps),
    )


def _drawn(step: StepView) -> str:
    """``(1/3)`` where the rule matches by chance."""
    found = _PROBABILITY.search(step.why.text) if step.why is not None else None
    if found is None:
        return ""
    share = float(found.group(1))
    parts = round(1 / share) if share else 0
    return f"(1/{parts})" if parts and abs(share - 1 / parts) < 1e-6 else f"({share:.2g})"


def _is_jump(verdict: str) -> bool:
    words = verdict.split()
    return bool(words) and words[0] not in _TARGETS and words[0] != "policy" and words[-1].isupper()


def _short(name: str) -> str:
    return _HASHED.sub(r"\1", name)


def _single(step: StepView, mark: str, device: str, *, wide: bool) -> Row:
    """Make the row of one step."""
    place = {Stage.ROUTE: "route", Stage.CONNTRACK: "conntrack", Stage.FORWARD: "forward"}.get(step.stage)
    if step.stage is Stage.IPVS:
        place = "IPVS"
    if step.stage is Stage.HOOK:
        place = (step.hook or "").upper()
    elif step.stage is Stage.SEND:
        place = device
    return Row(
        node=step.node,
        netns=step.netns,
        mark=mark,
        place=place or step.device or step.stage.value,
        text=_words(step, wide=wide),
        effects=_effects(step, step.after or step.before, wide=wide),
        # a rule's place is its words already
        ref=step.why.ref if step.why is not None and step.chain is None else "",
        steps=(step,),
    )


def _effects(step: StepView, packet: PacketView | None, *, wide: bool) -> tuple[str, ...]:
    """Say what the step does to the packet; where it is new or unpacked, what the packet is."""
    if step.stops or packet is None:
        return ()
    if step.stage is Stage.SEND:
        return (ends(packet),)
    if step.stage is Stage.TUNNEL and step.after is not None:
        return (inner_ends(packet) or ends(packet),)
    return changes(step.before, step.after, wide=wide)


def _words(step: StepView, *, wide: bool) -> str:
    """Say what happens at a step that is not one of several rules."""
    why = step.why.text if step.why is not None else ""
    if step.stops:
        said = [step.verdict, step.note, why]
    elif step.stage is Stage.HOOK:
        place = (step.backend, step.table, step.chain, step.rule)
        said = [" ".join(str(part) for part in place if part is not None), step.verdict, step.note]
        if wide:
            said.append(why)
    else:
        said = _passing_words(step, why, wide=wide)
    return "  ".join(dict.fromkeys(part for part in said if part))


def _passing_words(step: StepView, why: str, *, wide: bool) -> list[str]:
    """Say what happens at a step that lets the packet go on."""
    more = [step.note, why] if wide else []
    match step.stage:
        case Stage.SEND:
            return ["leaves", *more]
        case Stage.RECEIVE:
            return ["arrives", *more]
        case Stage.ROUTE:
            why = re.sub(r"^(0\.0\.0\.0|::)/0 ", "default ", why)
            return [
                why or step.verdict,
                step.note if wide or step.note.split()[-1:] != why.split()[-1:] else "",
            ]
        case Stage.CONNTRACK if not wide:
            return ["as the connection is bound"]
        case Stage.TUNNEL if not wide:
            return [step.note or ("out of the tunnel" if step.verdict == "decapsulate" else step.verdict)]
        case Stage.DELIVER:
            return [f"{step.verdict}ed" if step.verdict == "deliver" else step.verdict, step.note, why]
        case _:
            return [step.verdict, step.note, why]
