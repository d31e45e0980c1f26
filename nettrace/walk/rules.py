"""
Walking the rules of a table's chain, from a hook to a verdict.

Lives here: jump, goto, return, policy; the draw of ``statistic``; what follows when a match
cannot be told.
Not here: matches (matches), what targets do (targets), which chains a hook has (hooks).
Sources: net/ipv4/netfilter/ip_tables.c (ipt_do_table), net/netfilter/nf_tables_core.c.
"""

from fractions import Fraction

from nettrace.model.packet import Packet
from nettrace.model.section import Missing, Section, SectionKey
from nettrace.model.step import Stage, Verdict
from nettrace.model.xt import XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import Statistic
from nettrace.model.xt_target import Accept, Drop, Jump, Log, Nflog, PassThrough, Return
from nettrace.parse.iptables import rule_text
from nettrace.walk.context import Run, Wanted, ended, undecided
from nettrace.walk.index import candidates
from nettrace.walk.matches import header_matches, match_matches
from nettrace.walk.memory import derived
from nettrace.walk.point import HookPoint, Unsure
from nettrace.walk.skb import Skb
from nettrace.walk.targets import Place, apply_target, target_word

__all__ = ["dropped", "run_chain"]

#: A dispatch chain with more targets than this is not read ahead of the packet.
_FEW = 32

#: Targets that leave the packet as it is: whether their rule matches does not matter.
_HARMLESS = (Log, Nflog, PassThrough)

_STATISTIC_UNIT = 1 << 31


def read_chain(run: Run, point: HookPoint, backend: str, table: str, chain: str) -> XtChain | None:
    """Return a chain of a known table, None if it does not exist; Wanted or Undecided if missing."""
    holder = _table(run, point, backend, table)
    if holder is None:
        return None
    found = holder.chains.get(chain)
    if found is None:
        return None
    if isinstance(found, Missing):
        run.missing(SectionKey(point.ns.name, f"{point.xt}/{backend}/{table}/{chain}"), found)
    return found.value


def _table(run: Run, point: HookPoint, backend: str, table: str) -> XtTable | None:
    netns = point.ns.name
    where = run.snapshot.namespaces[netns]
    ruleset: Section[XtRuleset] = getattr(where, f"{point.xt}_{backend}")
    if isinstance(ruleset, Missing):
        run.missing(SectionKey(netns, f"{point.xt}/{backend}"), ruleset)
    section = ruleset.value.tables.get(table)
    if section is None:
        return None
    if isinstance(section, Missing):
        run.missing(SectionKey(netns, f"{point.xt}/{backend}/{table}"), section)
    return section.value


def run_chain(run: Run, skb: Skb, point: HookPoint, place: Place) -> None:
    """
    Walk the built-in chain that *place* names; returns when the packet may go on to the next one.

    Ends the leg at DROP and REJECT; undecided where a match is and that matters.
    """
    name = place.chain
    chain = read_chain(run, point, place.backend, place.table, name)
    if chain is None:
        return
    stack: list[tuple[str, XtChain, int]] = []
    start = 0
    while True:
        went = None
        for number in candidates(chain, skb.packet, start):
            run.rules += 1
            if run.rules > run.limits.rules:
                undecided(f"more than {run.limits.rules} rules were tested; chains may jump in a circle")
            rule = chain.rules[number]
            here = Place(place.backend, place.table, name, number + 1)
            if not _matches(run, skb, point, rule, here):
                continue
            target = rule.target
            before = skb.packet
            if isinstance(target, Jump):
                _record(run, skb, point, here, rule, target.chain)
                if not target.goto:
                    stack.append((name, chain, number + 1))
                went = target.chain
                break
            if isinstance(target, Accept):
                _record(run, skb, point, here, rule, "ACCEPT")
                return
            if isinstance(target, Return):
                _record(run, skb, point, here, rule, "RETURN")
                break
            if isinstance(target, Drop):
                _record(run, skb, point, here, rule, "DROP", stops=True)
                dropped(run, skb, point, f"{name} rule {number + 1} of {place.table} drops it")
            effect = apply_target(run, skb, point, here, rule)
            _record(
                run,
                skb,
                point,
                here,
                rule,
                target_word(target),
                before=before,
                note=effect.note,
                stops=effect.ends is not None,
            )
            if effect.ends is not None:
                told = "EPERM" if _tells_sender(run, skb, point) else None
                ended(effect.ends, f"{name} rule {number + 1} of {place.table}: {effect.note}", told)
            if effect.bound:
                return
        if went is not None:
            chain = _jumped_to(run, point, place, went, chain)
            name, start = went, 0
            if len(stack) > 100:
                undecided(f"chains of {place.table} jump into each other", _ref(point, place))
            continue
        if stack:
            name, chain, start = stack.pop()
            continue
        break
    _policy(run, skb, point, place)


def _jumped_to(run: Run, point: HookPoint, place: Place, name: str, origin: XtChain) -> XtChain:
    """Read the chain that a rule jumps to; with it, what its siblings of a short chain jump to."""
    try:
        found = read_chain(run, point, place.backend, place.table, name)
    except Wanted as wanted:
        raise Wanted((*wanted.keys, *_siblings(run, point, place, name, origin))) from None
    if found is None:
        undecided(
            f"a rule of {place.table} jumps to {name}, which is not in the snapshot",
            f"{point.ns.name}/{point.xt}/{place.backend}/{place.table}/{name}",
        )
    return found


def _siblings(run: Run, point: HookPoint, place: Place, name: str, origin: XtChain) -> list[SectionKey]:
    names = {rule.target.chain for rule in origin.rules if isinstance(rule.target, Jump)} - {name}
    if len(names) > _FEW:
        return []
    keys = [
        SectionKey(point.ns.name, f"{point.xt}/{place.backend}/{place.table}/{one}") for one in sorted(names)
    ]
    return [key for key in keys if run.unread(key)]


def _policy(run: Run, skb: Skb, point: HookPoint, place: Place) -> None:
    chain = read_chain(run, point, place.backend, place.table, place.chain)
    policy = (chain.policy if chain is not None else None) or "ACCEPT"
    drops = policy == "DROP"
    run.step(
        skb,
        Stage.HOOK,
        f"policy {policy}",
        device=point.device,
        hook=point.hook,
        backend=place.backend,
        table=place.table,
        chain=place.chain,
        rule=0,
        ref=_ref(point, Place(place.backend, place.table, place.chain, 0)),
        text=f"-P {place.chain} {policy}",
        stops=drops,
    )
    if drops:
        dropped(run, skb, point, f"the policy of {place.chain} in {place.table} is DROP")


def dropped(run: Run, skb: Skb, point: HookPoint, reason: str) -> None:
    """End the leg at a DROP: the sender learns of it only where it sits in the same namespace."""
    if _tells_sender(run, skb, point):
        ended(Verdict.DENIED, reason, "EPERM")
    ended(Verdict.DROPPED_BY_RULE, reason)


def _tells_sender(run: Run, skb: Skb, point: HookPoint) -> bool:
    """Does the send call of the client itself fail (EPERM)?"""
    if skb.ipvs:
        return False  # IPVS sent it on and told the sender that all is well
    return skb.own and run.leg == "request" and point.hook in ("output", "postrouting")


def _ref(point: HookPoint, place: Place) -> str:
    return f"{point.ns.name}/{point.xt}/{place.backend}/{place.table}/{place.chain}/{place.rule}"


def _record(
    run: Run,
    skb: Skb,
    point: HookPoint,
    place: Place,
    rule: XtRule,
    word: str,
    *,
    before: Packet | None = None,
    note: str = "",
    stops: bool = False,
) -> None:
    run.step(
        skb,
        Stage.HOOK,
        word,
        device=point.device,
        hook=point.hook,
        backend=place.backend,
        table=place.table,
        chain=place.chain,
        rule=place.rule,
        before=before,
        ref=_ref(point, place),
        text=f"-A {place.chain} {derived(rule_text, rule)}",
        note=note,
        stops=stops,
    )


def _matches(run: Run, skb: Skb, point: HookPoint, rule: XtRule, place: Place) -> bool:
    """
    Does the rule match?  Where that cannot be told and the target changes nothing, a step says so.

    A draw is made only when everything else matches.
    """
    if not header_matches(skb, point, rule):
        return False
    unsure: Unsure | None = None
    draws: list[Statistic] = []
    for match in rule.matches:
        if isinstance(match, Statistic):
            draws.append(match)
            continue
        answer = match_matches(run, skb, point, match)
        if answer is False:
            return False
        if isinstance(answer, Unsure):
            unsure = unsure or answer
    if unsure is not None:
        if isinstance(rule.target, _HARMLESS):
            _record(
                run, skb, point, place, rule, target_word(rule.target), note=f"if it matches: {unsure.reason}"
            )
            return False
        undecided(
            f"rule {place.rule} of {place.chain} in {place.table} may match or not: {unsure.reason}",
            _ref(point, place),
            f"-A {place.chain} {derived(rule_text, rule)}",
        )
    return all(_drawn(run, point, match, place) for match in draws)


def _drawn(run: Run, point: HookPoint, match: Statistic, place: Place) -> bool:
    """
    Draw for ``-m statistic`` (xt_statistic.c).

    ``random``: a number of 31 bits is below the probability.  ``nth``: one packet of every so
    many, counted from a place that no dump shows.
    """
    if match.mode == "random":
        share = Fraction(min(match.probability or 0, _STATISTIC_UNIT), _STATISTIC_UNIT)
        words = f"{match.probability}/{_STATISTIC_UNIT}"
    else:
        share = Fraction(1, match.every or 1)
        words = f"1/{match.every}"
    if match.invert:
        share = 1 - share
        words = f"not {words}"
    where = f"{place.chain} rule {place.rule}"
    options = [(share, f"{where}: {words}"), (1 - share, f"{where}: passed over, {words}")]
    before = len(run.taken)
    matches = run.choose(options, f"{point.ns.name} {point.hook} {place} {match.mode}") == 0
    if len(run.taken) > before:
        run.drawn_in.add(point.ns.name)
    return matches
