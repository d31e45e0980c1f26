"""
Rules of others on the packet's way: what causes about firewalls share.

Lives here: the rule that ended a branch, the rules that a branch passed, and the candidate that
takes such a rule away on the model only.  It is nobody's known or what people told a firewall, so it is
never offered.
"""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.diagnose.cause import NATIVE, Candidate, Context
from nettrace.diagnose.difference_xt import is_owed
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import rule_ref, step_text, subject_of, where
from nettrace.model.change import Change, PolicySet, RuleDelete, RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owner import Owner
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Negatable
from nettrace.model.xt_target import Accept

__all__ = ["NATIVE", "Culprit", "culprits", "passed", "rule_candidate", "told"]

_DROPS = (Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED)


class Culprit(Struct, frozen=True, kw_only=True):
    """
    One rule on the way of a failing branch.

    ``position`` counts from 1, 0 is the policy; ``rule`` is None for a policy and for rules of native
    nftables.  ``leg`` is the kind of leg that met it, ``words`` the rule as it is written, ``owner`` who
    writes the chain, if that is known.
    """

    netns: str
    place: str
    backend: str
    table: str
    chain: str
    position: int
    rule: XtRule | None
    words: str
    leg: str
    step: Step
    owner: Owner | None = None

    @property
    def tunnelled(self) -> bool:
        """Was it the outer packet of a tunnel?"""
        packet = self.step.before
        return packet is not None and innermost(packet) is not packet

    @property
    def native(self) -> bool:
        """Is it a rule of native nftables?"""
        return self.backend == NATIVE

    @property
    def is_named(self) -> bool:
        """Has another cause a name for it?"""
        if self.chain == "FORWARD" and (not self.position or "host-prohib" in self.words):
            return True
        return self.native or (self.chain == "INPUT" and self.leg in ("reply", "reply-data"))


def culprits(context: Context) -> Iterator[Culprit]:
    """
    Yield the rules that ended the failing branches, each once: nobody's known, and firewalls'.

    What an agent's own chain drops is that agent's to say.
    """
    seen: set[str] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict not in _DROPS or step is None or failure.leg is None:
            continue
        found = _culprit(context, step, failure.leg.kind)
        if found is not None and not _is_somebodys(context, found) and _ref(found) not in seen:
            seen.add(_ref(found))
            yield found


def _is_somebodys(context: Context, found: Culprit) -> bool:
    """Is the rule in a chain of an agent that is known, or owed by an owner as it stands?"""
    if found.owner is not None and not found.owner.told:
        return True
    rule = found.rule
    return rule is not None and is_owed(context.owed, found.netns, found.table, found.chain, rule)


def passed(context: Context, table: str) -> Iterator[Culprit]:
    """Yield the rules of iptables in *table* that the failing branches met, each once."""
    seen: set[str] = set()
    for failure in context.failures:
        for leg in failure.path.legs:
            for step in leg.steps:
                if step.table != table or not step.rule:
                    continue
                found = _culprit(context, step, leg.kind)
                if found is not None and found.rule is not None and _ref(found) not in seen:
                    seen.add(_ref(found))
                    yield found


def _ref(found: Culprit) -> str:
    return rule_ref(found.netns, found.backend, found.table, found.chain, found.position)


def _culprit(context: Context, step: Step, leg: str) -> Culprit | None:
    if step.stage is not Stage.HOOK or step.chain is None or step.table is None or step.backend is None:
        return None
    position = step.rule or 0
    chain = None
    if step.backend != NATIVE:
        chain = context.snapshot.chain(step.netns, step.backend, step.table, step.chain)
    rule = chain.rules[position - 1] if chain is not None and 0 < position <= len(chain.rules) else None
    text = step_text(step)
    words = text if text.startswith("-") or step.backend == NATIVE else f"{step.chain} {text}"
    return Culprit(
        netns=step.netns,
        place=where(context.snapshot, step.netns),
        backend=step.backend,
        table=step.table,
        chain=step.chain,
        position=position,
        rule=rule,
        words=words,
        leg=leg,
        step=step,
        owner=context.owner(step.netns, step.backend, step.table, step.chain),
    )


def told(firewall: Owner | None, step: Step) -> str:
    """Return the commands by which a firewall is told to let the packet pass; "" if it has none."""
    packet = step.before
    if firewall is None or packet is None:
        return ""
    words = firewall.lasting.get(step.hook or "", firewall.lasting.get("", ""))
    port = packet.dport.single if packet.dport is not None else None
    if port is None and "{dport}" in words:
        return ""
    return words.format(src=packet.src, dst=packet.dst, proto=packet.proto, dport=port)


def _let_through(found: Culprit, packet: Packet) -> Change:
    """An accept for this packet at the head of the hook's own chain."""
    bits = 128 if packet.family == 6 else 32
    rule = XtRule(
        src=Negatable(f"{packet.src}/{bits}"),
        dst=Negatable(f"{packet.dst}/{bits}"),
        proto=Negatable(packet.proto),
        target=Accept(),
    )
    return RuleInsert(
        netns=found.netns,
        backend=found.backend,
        table=found.table,
        chain=(found.step.hook or "").upper(),
        position=1,
        rule=rule,
    )


def rule_candidate(context: Context, found: Culprit, cause: str, message: str, lasting: str) -> Candidate:
    """
    Return the candidate that the branch would go on without the rule: proven on the model, advice only.

    A firewall often drops twice what it was not told to let through, so what is tried there is an accept
    before all its rules; its own commands are the lasting repair.  Rules of native nftables are named and
    not tried: no Change edits them.
    """
    changes: tuple[Change, ...] = ()
    kind = {"netns": found.netns, "backend": found.backend, "table": found.table, "chain": found.chain}
    if found.owner is not None and not found.native and found.step.before is not None:
        changes = (_let_through(found, found.step.before),)
    elif found.rule is not None:
        changes = (RuleDelete(**kind, position=found.position, rule=found.rule),)
    elif not found.position and not found.native:
        changes = (PolicySet(**kind, policy="ACCEPT"),)
    packet, firewall = found.step.before, found.owner
    met = f"met by {packet.ends()}" if packet is not None else "met by the packet"
    return Candidate(
        cause=cause,
        netns=found.netns,
        where=found.place,
        subject=subject_of(context.snapshot, found.netns),
        message=message,
        changes=changes,
        evidence=(
            Evidence(
                ref=found.step.why.ref if found.step.why is not None else "",
                text=f"{found.table} {found.chain}: {found.words}",
                note=f"{met}, in {found.step.hook}",
            ),
        ),
        safety=Safety.ADVICE,
        owner=firewall.name if firewall is not None else "whoever wrote the rule",
        overwritten=firewall.overwritten if firewall is not None else "",
        lasting=told(firewall, found.step) or lasting,
    )
